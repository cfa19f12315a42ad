r"""The information curve f(u) = sum_i E H(X_i | each other token visible with chance u), nats.

Everything here follows from one identity (chapter *Factorisation error*). Let S_u hold each
token with chance u, independently, and F(u) = E H(X_{S_u}). Then

    f(u) = F'(u),   so that   \int_0^1 f(u) du = F(1) - F(0) = H(X),

because raising u adds one token at a time, at the rate H(X_i | X_S) each. So f needs no posteriors
where the entropies of subsets are known: on a chain, where they are sums over neighbours, and in
worlds small enough to enumerate.
"""

from math import comb

import numpy as np

from mdm_lab.checks import check_positive_int, check_range
from mdm_lab.information.chain import entropy, is_chain, powers, require_chain
from mdm_lab.languages import NGram

MAX_MARGINALS = 2**24  # the largest total size (V+1)^L of all marginals of a world
ESTIMATE = "use information_curve_estimate(lang, length, u, num, rng)"


def information_curve(lang, length, u):
    """f(u), nats, in the shape of u (numbers in [0, 1]); exact.

    A chain (NGram with n = 2, any start): O(length V^3 + length |u|). Worlds with (V+1)^length up
    to 2^24: by enumeration. Any n-gram at the end points: f(0) = sum_i H(X_i) and
    f(1) = sum_i H(X_i | all others). Else a ValueError that names the estimate.
    """
    u = check_range(u, "u", 0, 1)
    if is_chain(lang):
        return _chain_curve(lang, length, u)
    if is_small(lang, length):
        return information_curve_enumerated(lang, length, u)
    if isinstance(lang, NGram) and np.isin(u, (0, 1)).all():
        first, last = end_points(lang, length)
        return np.where(u == 0, first, last)
    raise ValueError(
        f"the information curve of this language is not known exactly at length {length} "
        f"(vocab_size {lang.vocab_size}): {ESTIMATE}"
    )


def is_small(lang, length):
    """Whether all marginals of the world can be enumerated: (V+1)^length <= 2^24."""
    return (lang.vocab_size + 1) ** check_positive_int(length, "length") <= MAX_MARGINALS


def _chain_sums(lang, length):
    """alone (L,): H(X_d) at position d = 1..L; pairs (L-1,): sum_i H(X_{i+d} | X_i), d = 1..L-1."""
    initial, transition = require_chain(lang, "the closed form", ESTIMATE)
    p = powers(transition, check_positive_int(length, "length"))
    laws = initial @ p
    pairs = (np.cumsum(laws, axis=0)[::-1] * entropy(p)).sum(axis=1)
    return entropy(laws), pairs[1:]


def _chain_curve(lang, length, u):
    """F' where F(u) = sum_d alone_d u (1-u)^{d-1} + pairs_d u^2 (1-u)^{d-1}.

    A visible token at distance d from the visible token before it, or from the start, brings the
    entropy pairs_d, or alone_d, provided that the d-1 tokens between are masked.
    """
    alone, pairs = _chain_sums(lang, length)
    d = np.arange(1, length + 1)
    out = np.empty(u.size)
    for k, visible in enumerate(u.ravel()):
        hidden = (1 - visible) ** (d - 1)
        slope = np.concatenate([[0.0], -d[:-1] * hidden[:-1]])  # of (1-u)^{d-1}
        out[k] = alone @ (hidden + visible * slope)
        out[k] += visible * (pairs @ (2 * hidden + visible * slope)[:-1])
    return out.reshape(u.shape)


def subset_marginals(table):
    """Yield the marginal law (V,)*|S| of every set S of tokens of `table` (V,)*L. O((V+1)^L)."""

    def visit(law, axis):
        if axis == law.ndim:
            yield law
        else:
            yield from visit(law, axis + 1)
            yield from visit(law.sum(axis=axis), axis)

    yield from visit(table, 0)


def enumerated(lang, length):
    """q as a table (V,)*length; ValueError when its marginals are too many."""
    if not is_small(lang, length):
        raise ValueError(
            f"length {length} with vocab_size {lang.vocab_size} is too large to enumerate: "
            f"({lang.vocab_size}+1)^{length} may be at most 2^24"
        )
    return lang.enumerate(length)[1].reshape((lang.vocab_size,) * length)


def _subset_entropies(lang, length):
    """(length+1,): the mean of H(X_S) over the sets S of s tokens, s = 0..length."""
    total = np.zeros(length + 1)
    for law in subset_marginals(enumerated(lang, length)):
        total[law.ndim] += entropy(law.ravel())
    return total / [comb(length, s) for s in range(length + 1)]


def information_curve_enumerated(lang, length, u):
    """f(u) of any language by the entropies of all subsets of tokens; (V+1)^length <= 2^24."""
    u = check_range(u, "u", 0, 1)
    gains = np.diff(_subset_entropies(lang, length))
    sizes = np.arange(length)
    ways = np.array([comb(length - 1, s) for s in sizes], dtype=np.float64)
    seen = u[..., None] ** sizes * (1 - u[..., None]) ** (length - 1 - sizes)
    return length * (seen * ways) @ gains


def total_entropy(lang, length):
    """H(X) of `length` tokens, nats, exactly; ValueError when it is not known."""
    try:
        return lang.entropy(length)
    except NotImplementedError:
        return float(entropy(enumerated(lang, length).ravel()))


def pair_information(lang, length, u=0.0):
    """sum_{i<j} E I(X_i; X_j | each other token visible with chance u) = -f'(u) / 2, nats, exactly.

    In the shape of u (prop-slope). For chains and enumerable worlds; else a ValueError.
    """
    u = check_range(u, "u", 0, 1)
    if is_chain(lang):
        return _chain_pair_information(lang, length, u)
    bends = np.diff(_subset_entropies(lang, length), 2)
    sizes = np.arange(len(bends))
    ways = np.array([comb(length - 2, s) for s in sizes], dtype=np.float64)
    seen = u[..., None] ** sizes * (1 - u[..., None]) ** (length - 2 - sizes)
    return -comb(length, 2) * (seen * ways) @ bends


def _chain_pair_information(lang, length, u):
    """-F''/2, where F is that of `_chain_curve`."""
    alone, pairs = _chain_sums(lang, length)
    d, visible = np.arange(length), u[..., None]  # d tokens are hidden in between
    hidden = (1 - visible) ** d
    first = np.where(d > 0, -d * (1 - visible) ** np.maximum(d - 1, 0), 0)
    second = np.where(d > 1, d * (d - 1) * (1 - visible) ** np.maximum(d - 2, 0), 0)
    out = (2 * first + visible * second) @ alone
    bend = 2 * hidden + 4 * visible * first + visible**2 * second
    return -(out + bend[..., :-1] @ pairs) / 2


def end_points(lang, length):
    """(f(0), f(1)) exactly: any n-gram, O(length V^n + V^{2n-1}), and enumerable worlds."""
    if not isinstance(lang, NGram):
        return tuple(map(float, information_curve(lang, length, np.array([0.0, 1.0]))))
    length, n, transition = check_positive_int(length, "length", lang.n), lang.n, lang.transition
    given = _entropies_given_context(transition)
    law, first, last = lang.initial, 0.0, 0.0
    for i in range(n - 1):
        others = tuple(j for j in range(n - 1) if j != i)
        first += entropy(law.sum(axis=others))
        last += _entropy_given_rest(_prefix(lang, min(length, i + n)), i)
    for i in range(n - 1, length):
        last += (law * given[min(n - 1, length - 1 - i)]).sum()
        law = (law[..., None] * transition).sum(axis=0)
        first += entropy(law.reshape(-1, lang.vocab_size).sum(axis=0))
    return float(first), float(last)


def _entropies_given_context(transition):
    """[r] (V,)*(n-1): H(X_i | the n-1 tokens before it = c, the r tokens after it), r = 0..n-1."""
    n, joint, out = transition.ndim, transition, []
    for r in range(n):
        if r:
            joint = joint[..., None] * transition
        rest = joint.sum(axis=n - 1)
        shape = (*transition.shape[:-1], -1)
        out.append(entropy(joint.reshape(shape)) - entropy(rest.reshape(shape)))
    return out


def _prefix(lang, count):
    """(V,)*count: the joint law of the first `count` >= n-1 tokens."""
    law = lang.initial
    while law.ndim < count:
        law = law[..., None] * lang.transition
    return law


def _entropy_given_rest(joint, axis):
    return entropy(joint.ravel()) - entropy(joint.sum(axis=axis).ravel())
