r"""What the two theorems promise, as numbers: steps that suffice, and error rates that bound.

All in nats. `epsilon` of a denoiser is the Assumption's epsilon_learning: a bound on
KL(q(x_0^i | x_t) || p_theta(x_0^i | x_t)) (eq-learning). Chapters: book/theory/ter-theorem,
book/theory/ser-sufficient-steps and book/theory/ser-lower-bound.
"""

import math
import sys

import numpy as np

from mdm_lab.checks import check_positive_int, check_range
from mdm_lab.schedules import widths


def ngram_steps(n, epsilon):
    """The talk's step count with the constant 1: N = ceil((n-1) / epsilon^{n+1/2}) (thm-ter-ngram).

    n >= 2, 0 < epsilon <= 1/4. It does not depend on the length. ValueError when it is too large
    for a float.
    """
    n = check_positive_int(n, "n", minimum=2)
    return _count(n - 1, _quarter(epsilon) ** (n + 0.5))


def ngram_excess_bound(n, epsilon, vocab_size):
    """(3 epsilon + 1/N) ln V, nats per token, for N = ngram_steps(n, epsilon) (thm-ter-ngram)."""
    vocab_size = check_positive_int(vocab_size, "vocab_size")
    return (3 * epsilon + 1 / ngram_steps(n, epsilon)) * math.log(vocab_size)


def steps_for_excess(epsilon):
    """ceil(1 / (4 epsilon)): equal steps that keep every language within 4 epsilon ln V a token.

    epsilon > 0 (thm-ter-every). ValueError when it is too large for a float.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be above 0 and finite; got {epsilon!r}")
    return _count(1, 4 * epsilon)


def sequence_error_bound(length, reveal, total_information, epsilon=0.0):
    """1 - exp(-(L epsilon + max_k w_k sum_i I)), a bound on SER for every language (thm-ser-steps).

    total_information is sum_i I(X_i; all others) = f(0) - f(1) in nats, or L ln V for want of
    better; reveal is r_0 .. r_{N-1}.
    """
    length = check_positive_int(length, "length")
    _at_least_zero(total_information, "total_information")
    _at_least_zero(epsilon, "epsilon")
    return -math.expm1(-(length * epsilon + float(widths(reveal).max()) * total_information))


def steps_for_sequence_error(delta, length, total_information, epsilon=0.0):
    """The least N for which `sequence_error_bound` of N uniform steps is at most delta.

    N = ceil(sum_i I / (ln(1/(1 - delta)) - L epsilon)). ValueError when the learning error alone
    uses delta up: L epsilon must be below ln(1/(1 - delta)).
    """
    length = check_positive_int(length, "length")
    _at_least_zero(total_information, "total_information")
    _at_least_zero(epsilon, "epsilon")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1; got {delta!r}")
    left = -math.log1p(-delta) - length * epsilon
    if left <= 0:
        raise ValueError(
            f"epsilon = {epsilon:g} is too large: length * epsilon must be below "
            f"ln(1/(1 - delta)) = {-math.log1p(-delta):.4g}, here it is {length * epsilon:.4g}"
        )
    return max(1, math.ceil(total_information / left))


def birthday_steps(length, delta):
    """The least N for which two of L tokens share one of N uniform steps with chance at most delta.

    1 - prod_{j<L} (1 - j/N) <= delta: of order L^2 / (2 ln(1/(1 - delta))).
    """
    length = check_positive_int(length, "length")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1; got {delta!r}")
    place = np.arange(length)

    def too_few(steps):
        return steps < length or np.log1p(-place / steps).sum() < math.log1p(-delta)

    low, high = 0, 1
    while too_few(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if too_few(middle) else (low, middle)
    return high


def worst_law(vocab_size, epsilon):
    """The law P (V,) with KL(uniform || P) = epsilon whose two draws agree most often (lem-ball).

    P = (a, b, ..., b) with a >= b: the one law, up to the order of its entries, that makes
    sum_a P_a^2 largest. epsilon lies in [0, 10], in nats.
    """
    rest = _rest(vocab_size, epsilon)
    law = np.full(vocab_size, rest / (vocab_size - 1))
    law[0] = max(1 - rest, law[1])  # 1 - rest loses digits, and is never the smaller one
    return law


def least_mismatch(vocab_size, epsilon):
    """mu: the least chance that draws from two laws P, Q with KL(uniform || .) <= epsilon differ.

    1 - sum_a P_a^2 of `worst_law` (lem-ball), without loss of digits where that is nearly 1.
    """
    rest = _rest(vocab_size, epsilon)
    return rest * (2 - rest * vocab_size / (vocab_size - 1))


def pairs_lower_bound(vocab_size, length, reveal, epsilon=0.0):
    """1 - (1 - mu sum_k w_k^2)^{floor(L/2)}: no denoiser within epsilon has a smaller SER on PAIRS.

    On `pairs(vocab_size)`, for every reveal list (it ends in 1, so that no mask is left over)
    (thm-ser-lower); attained by the denoiser of prop-attained. A single token is never wrong.
    """
    blocks = check_positive_int(length, "length") // 2
    wrong = least_mismatch(vocab_size, epsilon) * float((widths(reveal) ** 2).sum())
    return -math.expm1(blocks * math.log1p(-wrong))


def steps_per_token(vocab_size, epsilon):
    """C = mu / (2 ln 2): with N <= C L steps SER > 1/2 on PAIRS at every even L (cor-half)."""
    return least_mismatch(vocab_size, epsilon) / (2 * math.log(2))


def _rest(vocab_size, epsilon):
    """1 - a = (V - 1) b of `worst_law`: the share of the entries that are not the largest."""
    v = check_positive_int(vocab_size, "vocab_size", minimum=2)
    epsilon = float(check_range(epsilon, "epsilon", 0, 10))
    if epsilon == 0:
        return (v - 1) / v

    def divergence(log_rest):  # of log_rest, since rest itself may be too small for a float
        others = (v - 1) * (log_rest - math.log(v - 1))
        return -(math.log1p(-math.exp(log_rest)) + others) / v - math.log(v)

    low, high = -v * (epsilon + math.log(v)) - 40, math.log((v - 1) / v)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle) > epsilon else (low, middle)
    return math.exp(high)


def _count(above, below):
    """ceil(above / below), a number of steps."""
    if below * sys.float_info.max < above:
        raise ValueError("epsilon is too small: the number of steps is too large for a float")
    return math.ceil(above / below)


def _quarter(epsilon):
    if not 0 < epsilon <= 0.25:
        raise ValueError(
            f"epsilon must lie in (0, 1/4]; got {epsilon!r}: above 1/4 a single step is enough"
        )
    return epsilon


def _at_least_zero(value, name):
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite; got {value!r}")
