"""Orders of revealing that are chosen beforehand: which token in which step.

An order is an int64 array `steps` (length,): token i is revealed in step `steps[i]`, tokens with
the same number together, from one evaluation of the denoiser. It does not look at the text, but
unlike the steps that a sampler draws (`mdm_lab.schedules`) it looks at the positions, and so it can
keep apart what depends on each other. Chapter: book/theory/what-the-theorems-do-not-say.
"""

import numpy as np

from mdm_lab.checks import check_positive_int


def check_order(steps, name="steps"):
    """Return `steps` as int64 (length,): whole numbers >= 0, at least one."""
    steps = np.asarray(steps)
    if steps.ndim != 1 or steps.size == 0 or steps.dtype.kind not in "iu" or steps.min() < 0:
        raise ValueError(f"{name} must be a list of whole numbers >= 0, one for each token")
    return steps.astype(np.int64)


def odd_even(length):
    """Two steps: the tokens at positions 1, 3, 5, ... (counted from 1), then all the others."""
    return np.arange(check_positive_int(length, "length")) % 2


def bisection(length, run=1):
    r"""Middle first, then the middles of what is left: steps (length,), prop-bisection.

    Between any two tokens of a step lies a token of an earlier one, so a first-order chain is
    written exactly, in ceil(log2(length + 1)) steps. With `run` = n - 1 the same is done with runs
    of n - 1 tokens, each written from left to right, one token a step: exact for an n-gram, in at
    most (n-1) ceil(log2(ceil(length/(n-1)) + 1)) steps (prop-separators).
    """
    length, run = check_positive_int(length, "length"), check_positive_int(run, "run")
    runs = -(-length // run)
    level = np.zeros(runs, dtype=np.int64)
    parts = [(0, runs, 0)]  # the runs low..high-1 are still to come, from this depth on
    while parts:
        low, high, depth = parts.pop()
        if low < high:
            middle = (low + high) // 2
            level[middle] = depth
            parts += [(low, middle, depth + 1), (middle + 1, high, depth + 1)]
    position = np.arange(length)
    return level[position // run] * run + position % run
