"""Exact laws of the sampler with the exact denoiser whose order is given beforehand."""

import numpy as np

from mdm_lab.exact.bridges import neighbour_masses
from mdm_lab.information.chain import is_chain
from mdm_lab.orders import check_order


def law_in_order(lang, steps):
    """p_sigma of every sequence, by enumeration: x (V^L, L) as lang.enumerate, p (V^L,).

    steps (L,): the step of each token (`mdm_lab.orders`). ValueError where the world is too large.
    """
    steps = check_order(steps)
    x, _ = lang.enumerate(len(steps))
    p = np.ones(len(x))
    for step in np.unique(steps):
        probs = lang.posterior(np.where(steps < step, x, lang.mask_id), off_support="local")
        for i in np.flatnonzero(steps == step):
            p *= probs[np.arange(len(x)), i, x[:, i]]
    return x, p


def sequence_error_rate_in_order(lang, steps):
    """P(the output is off the support) for the order `steps` (L,): a float, no sampling.

    A chain (NGram with n = 2): O(L V^4 + L V^3), at any length; any other language by
    `law_in_order`, which raises ValueError where the world is too large.
    """
    steps = check_order(steps)
    if is_chain(lang):
        return float(max(0.0, 1 - _chain_valid(lang, steps)))
    x, p = law_in_order(lang, steps)
    return float(p[np.isneginf(lang.log_prob(x))].sum())


def _chain_valid(lang, steps):
    """The chance of a possible output, from the last step back to the first.

    `valid` holds, for neighbouring revealed places i < j, the chance (V+1, V+1) that what lies
    between them becomes possible, given their tokens (symbol V: the start, the end). Taking a step
    back hides its tokens again; each is drawn from the bridge between the places that stay.
    """
    length, v = len(steps), lang.vocab_size
    ahead, behind, mass = neighbour_masses(lang, length)
    inverse = np.divide(1, mass, out=np.zeros_like(mass), where=mass > 0)
    edges = np.arange(length + 2)
    valid = [(mass[0] > 0).astype(float)] * (length + 1)
    when = np.concatenate([[-1], steps, [-1]])
    for step in np.unique(steps)[::-1]:
        stay = np.flatnonzero(when[edges] < step)
        merged = []
        for left, right in zip(stay, stay[1:], strict=False):
            merged.append(_fill(edges[left : right + 1], valid[left:right], ahead, behind, inverse))
        edges, valid = edges[stay], merged
    return valid[0][v, v]


def _fill(places, valid, ahead, behind, inverse):
    """Chance that the inside of places[0]..places[-1] becomes possible, all of it in one step."""
    if len(places) == 2:
        return valid[0]
    v = ahead.shape[2]
    first, last = places[0], places[-1]
    reached = None  # [a, b, c]: the last token drawn is c, and all to its left becomes possible
    for place, chance in zip(places[1:-1], valid[:-1], strict=True):
        both = ahead[place - first - 1][:, None] * behind[last - place - 1].T[None]
        bridge = both * inverse[last - first - 1][:, :, None]
        if reached is None:
            reached = chance[:, None, :v] * bridge
        else:
            reached = (reached @ chance[:v, :v]) * bridge
    return np.einsum("abc,cb->ab", reached, valid[-1][:v])
