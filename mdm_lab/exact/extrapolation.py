"""SER at lengths beyond the recursion, and of the two languages that have a law of their own."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from mdm_lab.checks import check_positive_int
from mdm_lab.schedules import widths

NOISE = 1e-14  # rounding in an increment of log(1 - SER), relative to its size or to 1


@dataclass(frozen=True)
class Extrapolation:
    """log(1 - SER) = offset - rate * length at a long length, nats; error estimates |true - value|.

    The estimate is from how fast the increments settle, and is not a proved bound.
    """

    value: float
    error: float
    rate: float
    offset: float


def extrapolate(log_valid, length, tolerance=1e-6):
    """Carry log(1 - SER) of the lengths 1..M, (M,), on to a greater `length`.

    For a primitive chain log(1 - SER) = offset - rate L + O(tau^L) with tau < 1 (thm-line); tau is
    not known beforehand. The last increment is -rate; the error sums what the increments have still
    to move, if they go on settling as in the last two quarters of lengths.
    Raises ValueError when the error exceeds `tolerance` (nats), as it does where M is too small or
    the increments do not settle: those of a periodic chain may never do (prop-two-phases).
    """
    log_valid = np.asarray(log_valid, dtype=np.float64)
    if log_valid.ndim != 1 or len(log_valid) < 8 or not np.isfinite(log_valid).all():
        raise ValueError("log_valid must hold log(1 - SER), finite, of the lengths 1..M, M >= 8")
    known = len(log_valid)
    length = check_positive_int(length, "length")
    if length <= known:
        raise ValueError(f"length {length} is known exactly: read log_valid[{length - 1}]")
    increments = np.diff(log_valid)
    moves, quarter = np.abs(np.diff(increments)), known // 4
    late, early = moves[-quarter:].max(), moves[-2 * quarter : -quarter].max()
    noise = NOISE * max(1.0, np.abs(log_valid).max())
    if late <= noise:
        tail = 4 * noise
    elif late < early:
        tail = late / (1 - (late / early) ** (1 / quarter))
    else:
        tail = np.inf
    error = (length - known) * tail
    if not error <= tolerance:
        raise ValueError(
            f"log_valid has not settled enough: the error at length {length} would be {error:.2g} "
            f"nats, above the tolerance {tolerance:.2g}. Use more lengths or a larger tolerance; "
            "for a periodic chain the increments may never settle"
        )
    rate = -increments[-1]
    offset = log_valid[-1] + rate * known
    return Extrapolation(*map(float, (offset - rate * length, error, rate, offset)))


def pairs_sequence_error_rate(vocab_size, length, reveal):
    r"""SER of `pairs(vocab_size)` with the exact denoiser, any schedule, in closed form.

    The two tokens of a pair fall into one step with chance \sum_k w_k^2, and are then drawn apart
    with chance 1 - 1/V; otherwise the second copies the first. Pairs are independent:
        SER = 1 - (1 - (1 - 1/V) \sum_k w_k^2)^{floor(L/2)}                       (prop-pairs-law).
    A last token without a partner is never wrong.
    """
    v = check_positive_int(vocab_size, "vocab_size", minimum=2)
    blocks = check_positive_int(length, "length") // 2
    same_step = (widths(reveal) ** 2).sum()
    return float(-np.expm1(blocks * np.log1p(-(1 - 1 / v) * same_step)))


def shared_bits_sequence_error_rate(reach, length, steps):
    r"""SER of shared bits with the exact denoiser and `steps` steps of equal width (eq-bits).

        SER = 1 - E 2^{-D}, D the number of pairs of tokens at most `reach` apart that share a step.
    From left to right, with the chance of each pattern of equal steps among the last `reach`
    tokens: O(length) for a given reach. reach = 1, ..., 6: beyond 3 the language has no HMM here
    (`shared_bits`), but the formula holds; beyond 6 the patterns are too many.
    """
    reach = check_positive_int(reach, "reach")
    if reach > 6:
        raise ValueError(f"reach must be 1, ..., 6, else the patterns are too many; got {reach}")
    steps = check_positive_int(steps, "steps")
    right = {(): 1.0}  # chance of a possible text so far, by the pattern, numbered from 0
    for _ in range(check_positive_int(length, "length")):
        ahead = defaultdict(float)
        for last, chance in right.items():
            seen = len(set(last))
            for step in range(seen):  # the new token shares one of the steps seen
                ahead[_pattern(last, step, reach)] += chance / steps * 0.5 ** last.count(step)
            ahead[_pattern(last, seen, reach)] += chance * max(0.0, 1 - seen / steps)
        right = ahead
    return float(max(0.0, 1 - sum(right.values())))


def _pattern(last, step, reach):
    """The last `reach` of (*last, step), renumbered 0, 1, ... in the order of appearance."""
    number = {}
    return tuple(number.setdefault(s, len(number)) for s in (*last, step)[-reach:])
