"""How a network is trained, as data, and the two formulas that follow from it."""

import math
from dataclasses import dataclass

import numpy as np

from mdm_lab.checks import check_positive_int, check_range

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on, besides the network, the objective and the data.

    steps, batch_size     updates, and sequences in each, over all devices together
    learning_rate         its peak: it rises from 0 over `warmup` of all steps, then falls to 0 as a
                          cosine
    betas, weight_decay   of AdamW
    clip                  the largest norm of a gradient; longer ones are shortened to it
    ema                   the decay of the moving average of the weights, which is what is evaluated
    precision             float32; bfloat16 (autocast: weights stay float32); auto: bfloat16 on a
                          GPU that has it, where it helps, float32 elsewhere
    compile               torch.compile the network: a minute at the start, faster steps
    seed                  of data order and masks; the weights have their own (`Transformer.reset`)
    report_every, validate_every, checkpoint_every    steps between two of each; 0: never
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup: float = 0.02
    betas: tuple = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "auto"
    compile: bool = False
    seed: int = 0
    report_every: int = 100
    validate_every: int = 0
    checkpoint_every: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "report_every"):
            check_positive_int(getattr(self, name), name)
        for name in ("validate_every", "checkpoint_every", "seed"):
            check_positive_int(getattr(self, name), name, minimum=0)
        for name in ("warmup", "ema"):
            check_range(getattr(self, name), name, 0, 1)
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite; got {getattr(self, name)!r}")
        betas = check_range(self.betas, "betas", 0, 1)
        if betas.shape != (2,) or betas.max() == 1:
            raise ValueError(f"betas must be two numbers below 1; got {self.betas!r}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0; got {self.weight_decay!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}; got {self.precision!r}")

    def rate(self, step):
        """The learning rate of step 0 .. steps - 1 (eq-learning-rate)."""
        warm = self.warmup * self.steps
        if step < warm:
            return self.learning_rate * (step + 1) / (warm + 1)
        done = (step - warm) / max(self.steps - warm, 1)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def decay(self, step):
        """The decay of the average in a step (eq-ema-decay): small at first, so that the start is
        forgotten."""
        return min(self.ema, (1 + step) / (10 + step))


def seed_of(*numbers):
    """A seed for whatever is told apart by these whole numbers: the run, the purpose, the step.

    63 bits of a hash, so that different numbers give different seeds; but zeros at the end do not
    count: (3, 0) is (3,).
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
