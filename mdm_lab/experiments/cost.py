r"""What text costs: expected calls of the network, floating point operations, and seconds.

A call costs an overhead, whatever it computes, and its work at the machine's pace:

    seconds = overhead + FLOPs / pace

Masked diffusion makes few calls that each read the whole text, an autoregressive model one small
call a token. Chapter: book/experiments/wall-clock.
"""

import numpy as np

from mdm_lab.checks import check_positive_int
from mdm_lab.schedules import expected_nfe, reveal_probabilities
from mdm_lab.transformer import flops


def autoregressive_flops(shape, length):
    """FLOPs of a text that is drawn token by token from a cache (thm-work); `Shape`, tokens."""
    length = check_positive_int(length, "length")
    return sum(flops(shape, read, cached=True) for read in range(1, length + 1))


def occupied_law(steps, length):
    """The law of the number of steps that a text needs: float64 (min(steps, length) + 1,).

    Entry m is the chance that `length` tokens fall into exactly m of `steps` equal steps. Its mean
    is `schedules.expected_nfe` of the linear schedule.
    """
    steps, length = check_positive_int(steps, "steps"), check_positive_int(length, "length")
    m = np.arange(min(steps, length) + 1)
    law = np.where(m == 0, 1.0, 0.0)
    for _ in range(length):
        law = law * (m / steps) + np.append(0.0, law[:-1] * (1 - m[:-1] / steps))
    return law


def batch_calls(steps, length, batch):
    """Expected calls of a batch in which each text takes its own steps: those of the busiest.

    `steps` equal steps, linear schedule; what `samplers.sample` needs for `batch` texts.
    """
    law = occupied_law(steps, length)
    return float((1 - law.cumsum().clip(max=1) ** check_positive_int(batch, "batch")).sum())


def run_seconds(call_seconds, steps, length):
    """Expected seconds of a diffusion run that skips empty steps: expected calls times seconds."""
    return call_seconds * expected_nfe(reveal_probabilities("linear", steps), length)


def most_steps(call_seconds, length, seconds):
    """The most steps whose expected run takes at most `seconds`; inf if any number does, 0 if none.

    Expected calls rise with the steps, from 1 towards `length`.
    """
    if call_seconds * length <= seconds:
        return np.inf
    low, high = 0, 1
    while run_seconds(call_seconds, high, length) <= seconds:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if run_seconds(call_seconds, middle, length) <= seconds:
            low = middle
        else:
            high = middle
    return low


def autoregressive_seconds(contexts, seconds, length):
    """Seconds of `length` tokens, one after another, from those of a token after some contexts.

    contexts  increasing numbers of tokens read before; seconds  of one more token after each.
    Between them the seconds are interpolated, beyond them they stay as they are.
    """
    contexts, seconds = np.asarray(contexts), np.asarray(seconds)
    if contexts.shape != seconds.shape or (np.diff(contexts) <= 0).any():
        raise ValueError("contexts must increase, with one entry of seconds for each")
    return float(np.interp(np.arange(length), contexts, seconds).sum())


def fit_pace(flops, seconds):
    """(overhead, pace) of seconds = overhead + flops / pace, by least squares on relative errors.

    flops, seconds (num,): calls of at least two sizes. Raises ValueError where the best line is no
    such law: an overhead below 0 or more seconds for less work.
    """
    flops, seconds = np.asarray(flops, dtype=float), np.asarray(seconds, dtype=float)
    if flops.ndim != 1 or flops.shape != seconds.shape or len(np.unique(flops)) < 2:
        raise ValueError("flops and seconds must have one shape (num,), and two sizes of calls")
    scale = flops.max()
    terms = np.stack([1 / seconds, flops / scale / seconds], axis=1)
    overhead, slope = np.linalg.lstsq(terms, np.ones(len(seconds)), rcond=None)[0]
    if overhead < 0 or slope <= 0:
        raise ValueError("seconds must grow with flops, from an overhead that is not below 0")
    return float(overhead), float(scale / slope)


def fit_constant(calls, seconds):
    """Seconds of a call, the same for all: seconds = constant * calls, least squares as above."""
    ratio = np.asarray(calls, dtype=float) / np.asarray(seconds, dtype=float)
    return float(ratio.sum() / (ratio @ ratio))


def cross_over(steps, ratio):
    """The length from which `steps` steps are faster where every call costs the same.

    ratio  seconds of a diffusion call over those of an autoregressive one, above 1. Returns the
    real length L with expected calls / L = 1 / ratio (thm-cross-over), to float precision.
    """
    if check_positive_int(steps, "steps") < 2 or not 1 < ratio < np.inf:
        raise ValueError("steps must be 2 or more, and ratio above 1 and finite")
    low, high = 0.0, steps * ratio  # expected calls are below `steps`
    for _ in range(200):
        middle = (low + high) / 2
        calls = -steps * np.expm1(middle * np.log1p(-1 / steps))
        low, high = (middle, high) if calls * ratio > middle else (low, middle)
    return (low + high) / 2


def break_even_batch(calls, length, diffusion, autoregressive):
    """The batch below which diffusion is faster (prop-break-even): a real number, 0 or below: none.

    calls           evaluations of a text; each reads `length` tokens
    diffusion, autoregressive  (overhead, pace, FLOPs of a text's one pass or of all its tokens)
    Raises ValueError where the work of diffusion does not take longer: then no batch is too large.
    """
    (overhead, pace, work), (other, other_pace, other_work) = diffusion, autoregressive
    longer = calls * work / pace - other_work / other_pace
    if longer <= 0:
        raise ValueError("calls must be so many that the work of diffusion takes longer")
    return (length * other - calls * overhead) / longer
