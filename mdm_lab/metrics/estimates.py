"""Values with intervals, over sequences."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch

from mdm_lab.checks import check_positive_int


@dataclass(frozen=True, repr=False)
class Estimate:
    """A value with the interval [low, high], from `num` sequences."""

    value: float
    low: float
    high: float
    num: int
    confidence: float

    def __repr__(self):
        interval = f"{100 * self.confidence:.6g}% interval {self.low:.4g} to {self.high:.4g}"
        return f"{type(self).__name__} {self.value:.4g} ({interval}; {self.num} sequences)"


def clopper_pearson(successes, num, confidence=0.95):
    """The exact interval (low, high) for a probability after `successes` of `num` trials.

    low makes `successes` or more as rare as (1 - confidence)/2, high makes `successes` or fewer so.
    The tail of the binomial law is summed as it stands and solved by bisection.
    """
    num = check_positive_int(num, "num")
    if not 0 <= check_positive_int(successes, "successes", minimum=0) <= num:
        raise ValueError(f"successes must lie in 0..num = {num}; got {successes}")
    tail = (1 - _check_confidence(confidence)) / 2
    return _lower_limit(successes, num, tail), 1 - _lower_limit(num - successes, num, tail)


def _lower_limit(successes, num, tail):
    """The p at which `successes` or more of `num` have probability `tail`; 0 if successes = 0."""
    if successes == 0:
        return 0.0
    count = torch.arange(successes, num + 1, dtype=torch.float64)
    choose = math.lgamma(num + 1) - torch.lgamma(count + 1) - torch.lgamma(num - count + 1)
    low, high = 0.0, 1.0
    for _ in range(64):
        p = (low + high) / 2
        terms = choose + count * math.log(p) + (num - count) * math.log1p(-p) if p < 1 else choose
        if torch.logsumexp(terms, dim=0) < math.log(tail):
            low = p
        else:
            high = p
    return (low + high) / 2


def mean_estimate(values, confidence):
    """The mean over 2 sequences or more, a normal interval; infinite as soon as one value is."""
    z = NormalDist().inv_cdf((1 + _check_confidence(confidence)) / 2)
    mean = float(values.mean())
    margin = z * float(values.std()) / math.sqrt(len(values)) if math.isfinite(mean) else 0.0
    return Estimate(mean, mean - margin, mean + margin, len(values), confidence)


def exp_estimate(estimate):
    """The estimate of exp(value), interval and all."""
    value, low, high = (math.exp(v) for v in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.num, estimate.confidence)


def _check_confidence(confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1; got {confidence!r}")
    return confidence
