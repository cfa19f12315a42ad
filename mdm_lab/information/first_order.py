r"""The sampler's true law to first order in the widths: how often a pair is drawn impossible.

To first order one pair of tokens shares a step. It is then drawn from the product of its marginals
given what is visible, and lost where that product puts mass outside the pair's own support:

    M_ij(S) = E sum_{(a,b): q(a,b | x_S) = 0} q_i(a | x_S) q_j(b | x_S).

For N uniform steps both SER and KL(q || p) are K1/N + O(1/N^2), with
K1 = \int_0^1 sum_{i<j} E M_ij(S_u) du (thm-first-order, chapter *Factorisation error*). It is 0
exactly if the possible sequences are a product of sets, one for each position, as at full support
(prop-product-support); then SER is 0, and KL(q || p) is O(1/N^2).
"""

from math import comb

import numpy as np

from mdm_lab.checks import check_positive_int, check_range
from mdm_lab.information.chain import powers, require_chain
from mdm_lab.information.curve import enumerated, subset_marginals

SETTLED = 1e-14  # how close a row of P^d must be to the stationary law to count as equal to it
MAX_DISTANCE = 2000


def impossible_pair_mass(lang, length):
    r"""K1 = kappa_L L of a world that can be enumerated: lim N SER = lim N KL(q || p).

    For N uniform steps. A single token has no pair, hence 0; too large a world is a ValueError.
    The integral of `impossible_pair_curve`: a set of s other tokens is visible, and these two
    masked, with chance \int u^s (1-u)^{length-2-s} du = 1 / ((length-1) comb(length-2, s)).
    """
    sums = _pair_sums(lang, length)
    weights = [(length - 1) * comb(length - 2, s) for s in range(len(sums))]
    return float((sums / weights).sum()) if len(sums) else 0.0


def impossible_pair_curve(lang, length, u):
    """g(u) = sum_{i<j} E M_ij(S_u), S_u each other token with chance u; in the shape of u.

    With max_k w_k -> 0 both SER and KL(q || p) are sum_k w_k^2 g(u_k) to first order
    (thm-first-order). Never above `pair_information` (prop-mismatch). Worlds that can be
    enumerated; else a ValueError.
    """
    u = check_range(u, "u", 0, 1)
    sums = _pair_sums(lang, length)
    sizes = np.arange(len(sums))
    return u[..., None] ** sizes * (1 - u[..., None]) ** (length - 2 - sizes) @ sums


def _pair_sums(lang, length):
    """(length-1,): the sum of M_ij(S) over all pairs and all sets S of s others, s = 0, 1, ..."""
    total = np.zeros(check_positive_int(length, "length") - 1)
    for law in subset_marginals(enumerated(lang, length)):
        if law.ndim >= 2:
            pairs = ((i, j) for j in range(law.ndim) for i in range(j))
            total[law.ndim - 2] += sum(_outside(law, i, j) for i, j in pairs)
    return total


def _outside(law, i, j):
    """M_ij(S) from the joint law of the tokens i, j and S."""
    v = len(law)
    joint = np.moveaxis(law, (i, j), (0, 1)).reshape(v, v, -1)
    given = joint.sum(axis=(0, 1))
    product = joint.sum(axis=1)[:, None] * joint.sum(axis=0)
    inverse = np.divide(1, given, out=np.zeros_like(given), where=given > 0)
    return (np.where(joint == 0, product, 0) @ inverse).sum()


def kappa(lang):
    """lim K1 / length of a primitive chain (NGram with n = 2), whatever its start; per token.

    SER of N = length / lambda uniform steps tends to 1 - exp(-kappa lambda) (thm-scaling).
    A pair at distance d, with the nearest visible tokens at distances a and b outside it, has
    weight 2/(m(m+1)(m+2)), m = a+b+d-2 (prop-kappa). The double sum over a and b is complete: from
    the distance at which P^d equals its limit to 1e-14 the terms are constant and their weights
    telescope. Only the d for which P^d has zeros count. Tokens that the stationary law does not
    use are left out (the theorems ask that there are none). ValueError for periodic or slow chains.
    """
    _, transition = require_chain(lang, "kappa", "use impossible_pair_mass in small worlds")
    law = lang.stationary()
    kept = law > 0
    law, transition = law[kept], transition[np.ix_(kept, kept)]
    far = _settling_distance(transition, law)
    allowed, count = transition > 0, 1
    while not allowed.all():
        allowed, count = (allowed @ (transition > 0)), count + 1
    p = powers(transition, far + 2)  # P^{far+1} stands for all longer distances
    total, allowed = 0.0, transition > 0
    for d in range(1, count):
        total += _pairs_at_distance(p, law, ~allowed, d)
        allowed = allowed @ (transition > 0)
    return float(total)


def _settling_distance(transition, law):
    power = transition
    for d in range(1, MAX_DISTANCE + 1):
        if np.abs(power - law).max() <= SETTLED:
            return d
        power = power @ transition
    raise ValueError(
        f"lang must be a primitive chain that forgets within {MAX_DISTANCE} tokens: "
        "it is periodic, or mixes too slowly, so that kappa is not defined or not within reach"
    )


def _pairs_at_distance(p, law, forbidden, d):
    """The part of kappa from pairs at distance d; the last of `p` (far+2, V, V) is the limit."""
    top = len(p) - 1
    b = np.arange(1, top + 1)
    total = 0.0
    for a in b:
        m = a + b + d - 2
        weight = np.where((a < top) & (b < top), 2 / (m * (m + 1) * (m + 2)), 1 / (m * (m + 1)))
        if a == top:
            weight[-1] = 1 / m[-1]
        # [b, l, r, x] and [b, l, r, y]: the chance of each token, times that of r, given l
        first = p[a][:, None] * p[np.minimum(b + d, top)].transpose(0, 2, 1)[:, None]
        second = p[min(a + d, top)][:, None] * p[b].transpose(0, 2, 1)[:, None]
        lost = ((first @ forbidden) * second).sum(axis=-1)
        span = p[np.minimum(a + b + d, top)]
        inverse = np.divide(1, span, out=np.zeros_like(span), where=span > 0)
        total += weight @ np.einsum("l,blr,blr->b", law, lost, inverse)
    return total
