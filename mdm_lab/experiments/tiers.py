"""Tiers: how large an experiment is, as data. `MDM_TIER` is read here and nowhere else."""

import os
from dataclasses import dataclass

TIERS = ("smoke", "cpu", "gpu", "paper")


@dataclass(frozen=True)
class Size:
    """One experiment at one tier.

    lengths, steps    the grid of sequence lengths L and step counts N
    vocab_size        tokens of the languages
    exact_lengths     further lengths, at which the law is known without sampling
    sequences         sampled sequences for each point of a curve, by language
    curve_sequences   sampled sequences behind each node of an estimated information curve
    true_sequences    sampled sequences behind each true excess
    minutes           measured on two CPU cores, both at work; None: never run by us
    """

    lengths: tuple
    steps: tuple
    vocab_size: int = 8
    exact_lengths: tuple = ()
    sequences: dict | None = None
    curve_sequences: int = 0
    true_sequences: int = 0
    minutes: float | None = None


@dataclass(frozen=True)
class Training:
    """The trained models at one tier: a network a language and kind ("mdm", "ar").

    steps     updates, by language and kind
    shape     width, layers and heads of all networks
    recipe    what else `training.Recipe` is to be told
    held_out  sequences of the validation text
    """

    length: int
    steps: dict
    shape: dict
    recipe: dict
    vocab_size: int = 8
    held_out: int = 512
    minutes: float | None = None


TALK_LENGTHS = (256, 512, 1024)
TALK_STEPS = (64, 128, 256, 512, 1024, 2048)
SEQUENCES = {"2-gram": 2000, "3-gram": 800, "4-gram": 240, "HMM": 500}


def _table(curve, true, minutes=None):
    return Size(
        TALK_LENGTHS, TALK_STEPS, curve_sequences=curve, true_sequences=true, minutes=minutes
    )


def _curves(sequences, minutes=None):
    return Size(
        (128, 512), TALK_STEPS, exact_lengths=(256, 1024), sequences=sequences, minutes=minutes
    )


# The perfect denoiser works on the CPU: on a GPU it is the larger sizes that take longer.
SIZES = {
    "ter-table": {
        "smoke": Size((16, 24), (4, 8, 16), 3, curve_sequences=64, true_sequences=20, minutes=0.1),
        "cpu": _table(96, 2000, minutes=0.5),
        "gpu": _table(96, 2000),
        "paper": _table(1000, 20_000),
    },
    "ser-curves": {
        "smoke": Size((8, 16), (4, 8, 16), 3, sequences=dict.fromkeys(SEQUENCES, 40), minutes=0.1),
        "cpu": _curves(SEQUENCES, minutes=6),
        "gpu": _curves(SEQUENCES),
        "paper": _curves(dict.fromkeys(SEQUENCES, 2000)),
    },
}


def _models(mdm, ar=None):
    """Updates by language and kind, the languages in the order of the talk."""
    names = ("2-gram", "3-gram", "4-gram", "HMM")
    ar = ar or mdm
    return {name: {"mdm": m, "ar": a} for name, m, a in zip(names, mdm, ar, strict=True)}


SMALL = {"width": 64, "layers": 2, "heads": 4}
RECIPE = {"batch_size": 32, "report_every": 100, "validate_every": 1000, "checkpoint_every": 1000}
# The talk: 20 epochs over 990,000 sequences; a batch of 512 and the size are our choice.
PAPER = {"batch_size": 512, "learning_rate": 1e-3, "checkpoint_every": 1000}
SIZES["trained-models"] = {
    "smoke": Training(
        8,
        _models((20,) * 4),
        {"width": 16, "layers": 1, "heads": 2},
        {"batch_size": 8, "report_every": 10},
        vocab_size=3,
        held_out=16,
        minutes=0.1,
    ),
    "cpu": Training(
        64,
        _models((6000, 11000, 14000, 10000), (3000, 5000, 6000, 4000)),
        SMALL,
        RECIPE,
    ),
    "gpu": Training(
        128,
        _models((20_000,) * 4),
        {"width": 256, "layers": 6, "heads": 8},
        {**RECIPE, "batch_size": 256, "learning_rate": 1e-3},
    ),
    "paper": Training(
        512,
        _models((20 * 990_000 // 512,) * 4),
        {"width": 512, "layers": 8, "heads": 8},
        PAPER,
        held_out=10_000,
    ),
}


def current_tier(name=None):
    """The tier `name`, else that of the environment variable MDM_TIER, else "smoke"."""
    name = name or os.environ.get("MDM_TIER", "smoke")
    if name not in TIERS:
        raise ValueError(f"tier (MDM_TIER) must be one of {', '.join(TIERS)}; got {name!r}")
    return name
