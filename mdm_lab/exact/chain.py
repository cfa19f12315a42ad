r"""Exact laws of the sampler on a first-order chain, at lengths that cannot be enumerated.

Given two visible tokens a and b with l masked positions between them, what happens inside is
independent of the rest of the sequence. So the law of the inside, from step k on, is a function of
(k, l, a, b) alone and follows from the one for k + 1 (thm-recursion):

- each inside position m is revealed in step k with chance r_k, its token drawn from
      q_m(c | a, b) = P^m[a, c] P^{l+1-m}[c, b] / P^{l+1}[a, b];
- the revealed ones cut the interval into smaller ones, and a sum over the revealed sets is a
  transfer from left to right.

The ends of the sequence are two more symbols: a start (symbol V on the left of an interval) whose
row is the initial law, and an end (symbol V on the right) that any token may precede and that
gives no evidence.
"""

import numpy as np

from mdm_lab.checks import check_positive_int, check_reveal, check_tokens
from mdm_lab.exact.bridges import neighbour_masses
from mdm_lab.exact.push_forward import push_forward
from mdm_lab.information.chain import is_chain, powers

CHUNK = 2**23  # array entries that log_prob may hold at a time


def sequence_error_rate(lang, length, reveal):
    """P(the sampler's output is off the support) with the exact denoiser: a float, no sampling.

    A chain (NGram with n = 2) by `valid_log_probabilities`; any other language by `push_forward`,
    which raises ValueError when the world is too large. Accurate to about 1e-13, absolute.
    """
    if is_chain(lang):
        return float(max(0.0, -np.expm1(valid_log_probabilities(lang, length, reveal)[-1])))
    x, p = push_forward(lang, length, reveal)
    return float(p[np.isneginf(lang.log_prob(x))].sum())


def valid_log_probabilities(lang, max_length, reveal):
    """log(1 - SER) of a chain for every length 1..max_length, from one pass: (max_length,), nats.

    O(N L^3 V^4 / 6) multiplications, as matrix products. Any start, zeros and reveal list.
    """
    recursion = _ValidRecursion(lang, max_length)
    for r in check_reveal(reveal)[::-1]:
        recursion.step_back(r)
    return recursion.log_valid()


def linear_valid_log_probabilities(lang, max_length, steps):
    """log(1 - SER) of a chain under the linear schedule: (len(steps), max_length), nats.

    `steps` lists the step counts N wanted. One pass serves them all, because without its first
    step the N-step linear schedule r_k = 1/(N-k) is the one with N-1 steps.
    """
    steps = [check_positive_int(n, "steps") for n in np.atleast_1d(steps).tolist()]
    recursion = _ValidRecursion(lang, max_length)
    rows = {}
    for n in range(1, max(steps) + 1):
        recursion.step_back(1 / n)
        if n in steps:
            rows[n] = recursion.log_valid()
    return np.stack([rows[n] for n in steps])


class _ValidRecursion:
    """Z(l; a, b): chance that, from a step on, l masked positions between a and b become valid.

    valid   (L+1, V+1, V+1)     Z of the step reached, [l, a, b]
    bridge  (L, V+1, V+1, L V)  [l-1, a, b, (m-1) V + c] = q_m(c | a, b); 0 for m > l and where
                                P^{l+1}[a, b] = 0, since the sequence is then invalid already
    """

    def __init__(self, lang, max_length):
        length = self.length = check_positive_int(max_length, "max_length")
        ahead, behind, mass = neighbour_masses(lang, length)
        v = self.v = lang.vocab_size
        inverse = np.divide(1, mass, out=np.zeros_like(mass), where=mass > 0)
        self.bridge = np.zeros((length, v + 1, v + 1, length * v))
        for m in range(1, length + 1):
            both = ahead[m - 1][:, None] * behind[: length + 1 - m].transpose(0, 2, 1)[:, None]
            self.bridge[m - 1 :, :, :, (m - 1) * v : m * v] = both * inverse[m:, ..., None]
        self.valid = np.zeros((length + 1, v + 1, v + 1))
        self.valid[0] = mass[0] > 0

    def step_back(self, r):
        """From Z of step k + 1 to Z of step k, whose reveal probability is r."""
        length, v = self.length, self.v
        none = (1 - r) ** np.arange(length + 1)[:, None, None]
        gap = none * self.valid  # [d-1]: nothing revealed over a distance d, and valid later on
        # stacked so that the last rows hold the distances d, d-1, ..., 1
        tokens = gap[:length][::-1, :v].reshape(length * v, v + 1)
        reached = np.empty_like(self.bridge)  # [l-1, a, b, (m, c)]: m is revealed as c, and the
        for m in range(1, length + 1):  # part of the inside left of it becomes valid
            last, here = (m - 1) * v, slice((m - 1) * v, m * v)
            before = np.ascontiguousarray(tokens[length * v - last :, :v])
            sums = reached[m - 1 :, :, :, :last] @ before + gap[m - 1, :, None, :v]
            reached[m - 1 :, :, :, here] = r * self.bridge[m - 1 :, :, :, here] * sums
        self.valid = gap
        for n in range(1, length + 1):
            inside = reached[n - 1, :, :, : n * v]
            self.valid[n] += np.einsum("abk,kb->ab", inside, tokens[(length - n) * v :])

    def log_valid(self):
        """log Z(l; start, end), l = 1..L."""
        return np.log(self.valid[1:, self.v, self.v])


def log_prob(lang, x, reveal):
    """log p(x), nats, (num,): the law of the sampler's output with the exact denoiser.

    x (num, L). On a chain O(num N L^4 / 12) by the same recursion with the tokens of x held fixed;
    any other language by `push_forward`, which raises ValueError when the world is too large.
    -inf where the sampler never ends. Sequences off the support may well have p(x) > 0; on the way
    to them the denoiser follows the local policy (ImpossibleEvidence).
    """
    reveal = check_reveal(reveal)
    x = check_tokens(x, lang.vocab_size, "x")
    length = check_positive_int(x.shape[1], "the length of x")
    with np.errstate(divide="ignore"):
        if not is_chain(lang):
            _, p = push_forward(lang, length, reveal)
            return np.log(p)[np.ravel_multi_index(x.T, (lang.vocab_size,) * length)]
        rows = max(1, CHUNK // (length * (length + 2) ** 2))
        parts = [x[i : i + rows] for i in range(0, len(x), rows)]
        return np.log(np.concatenate([np.zeros(0)] + [_chances(lang, x, reveal) for x in parts]))


def _chances(lang, x, reveal):
    """p(x), (num,). Arrays [m, i, j, row] belong to the interval between positions i and j.

    Positions are 1..L; 0 is the start and L+1 the end.
    """
    num, length = x.shape
    bridge = _bridges(lang, x)
    inside = np.maximum(np.arange(length + 2) - np.arange(length + 2)[:, None] - 1, 0)
    filled = np.repeat(np.eye(length + 2, k=1)[..., None], num, axis=2)  # no inside: nothing to do
    for r in reveal[::-1]:
        gap = ((1 - r) ** inside)[..., None] * filled
        filled = gap.copy()
        reached = np.zeros_like(bridge)
        for m in range(1, length + 1):
            left, right = slice(0, m), slice(m + 1, length + 2)
            sums = np.einsum("kijn,kn->ijn", reached[1:m, left, right], gap[1:m, m])
            sums += gap[left, m][:, None]
            reached[m, left, right] = r * bridge[m, left, right] * sums
            filled[left, right] += reached[m, left, right] * gap[m, right]
    return filled[0, length + 1]


def _bridges(lang, x):
    """(L+1, L+2, L+2, num): q_m(x_m | x_i, x_j) at [m, i, j] for i < m < j, else 0."""
    num, length = x.shape
    p = powers(lang.transition, length + 1)
    laws = lang.initial @ p
    link = np.zeros((length + 2, length + 2, num))  # [i, j]: chance of x_j given x_i
    link[:, length + 1] = 1
    for j in range(1, length + 1):
        link[0, j] = laws[j - 1, x[:, j - 1]]
        for i in range(1, j):
            link[i, j] = p[j - i, x[:, i - 1], x[:, j - 1]]
    bridge = np.zeros((length + 1, length + 2, length + 2, num))
    for m in range(1, length + 1):
        left, right = slice(0, m), slice(m + 1, length + 2)
        both = link[left, m][:, None] * link[m, right]
        given = link[left, right]
        alone = np.broadcast_to(link[left, m][:, None], both.shape)  # x_j contradicts x_i: cut
        bridge[m, left, right] = np.divide(both, given, out=alone.copy(), where=given > 0)
    return bridge


def true_excess(lang, length, reveal):
    """KL(q || p) / length, nats per token: log TER(p) - log TER(q) of the sampler's true law p.

    By enumeration of the support; ValueError when there are more than 2^20 sequences, or when the
    language is not a chain and the world is too large for `push_forward`.
    """
    x, q = lang.enumerate(length)
    x, q = x[q > 0], q[q > 0]
    return float(q @ (np.log(q) - log_prob(lang, x, reveal)) / length)


def true_excess_estimate(lang, x, reveal):
    """(value, standard error) of `true_excess` from sequences x (num, L) drawn from the language.

    Each term log q(x) - log p(x) is exact; only the average over x is sampled.
    """
    x = check_tokens(x, lang.vocab_size, "x")
    check_positive_int(len(x), "the number of rows of x", minimum=2)
    terms = (lang.log_prob(x) - log_prob(lang, x, reveal)) / x.shape[1]
    return float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(len(x)))
