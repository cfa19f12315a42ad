"""The factorisation error of one given order: sum over steps of a conditional total correlation."""

import numpy as np

from mdm_lab.information.chain import entropy, is_chain, powers
from mdm_lab.information.curve import enumerated, total_entropy
from mdm_lab.orders import check_order


def factorisation_error_in_order(lang, steps):
    """KL(q || p_sigma), nats for the whole sequence, exactly, for the order `steps` (length,).

    It is sum_i H(X_i | the tokens of earlier steps) - H(X) (thm-left-riemann). A chain (NGram with
    n = 2): O(length V^3). Any other language by enumeration; ValueError where that is too large.
    """
    steps = check_order(steps)
    given = _chain_given if is_chain(lang) else _enumerated_given
    return float(sum(given(lang, steps)) - total_entropy(lang, len(steps)))


def _chain_given(lang, steps):
    """H(X_i | l, r) = H(X_i | l) + H(r | X_i) - H(r | l), l and r the nearest tokens revealed."""
    length = len(steps)
    p = powers(lang.transition, length)
    laws, rows = lang.initial @ p, entropy(p)

    def forward(i, j):
        """H(X_j | X_i), i < j; -1 is the start, which tells nothing, length the end, of 0 nats."""
        if j == length:
            return 0.0
        return entropy(laws[j]) if i == -1 else laws[i] @ rows[j - i]

    for step in np.unique(steps):
        seen = np.concatenate([[-1], np.flatnonzero(steps < step), [length]])
        for i in np.flatnonzero(steps == step):
            left, right = seen[np.searchsorted(seen, i) + np.array([-1, 0])]
            yield forward(left, i) + forward(i, right) - forward(left, right)


def _enumerated_given(lang, steps):
    """H(X_i, tokens before) - H(tokens before), from the marginals of the table."""
    table = enumerated(lang, len(steps))

    def joint(kept):
        return entropy(table.sum(axis=tuple(np.flatnonzero(~kept))).ravel())

    for step in np.unique(steps):
        before = steps < step
        for i in np.flatnonzero(steps == step):
            yield joint(before | (np.arange(len(steps)) == i)) - joint(before)
