"""Figures of `widgets.family`, one of each kind, and what is handed to it for them."""

import numpy as np

from mdm_lab import exact, forward
from mdm_lab.languages import NGram
from mdm_lab.metrics import clopper_pearson
from mdm_lab.schedules import SCHEDULES, reveal_probabilities
from mdm_lab.widgets import Axis, Bars, Cells, Level, Line, Plot, Points, Upright, family

ALT = (
    "A picture that belongs to a test; here is said, in more than a hundred characters, what can"
    " be seen on it and what moves when the reader sets another value."
)
STEPS = [2**k for k in range(9)]
TIMES = [k / 10 for k in range(11)]
CHAIN = NGram.random(2, 4, prune=0.1, rng=0)


def error_rates(vocab, length):
    """A curve, one with a band, draws with intervals, and both lines of reference."""
    reveals = [reveal_probabilities("linear", n) for n in STEPS]
    rates = np.array([exact.pairs_sequence_error_rate(vocab, length, r) for r in reveals])
    intervals = np.array([clopper_pearson(round(200 * rate), 200) for rate in rates]).T
    return {
        "exact": Line(STEPS, rates),
        "bounds": Line(STEPS, rates / 2, rates / 4, rates),
        "of 200": Points(STEPS[::2], rates[::2], *intervals[:, ::2]),
        "half": Level(0.5),
        "L": Upright(length),
    }


LINES = {
    "title": "Lines",
    "controls": {"vocabulary V": [2, 16], "length L": [8, 32]},
    "plots": Plot(Axis("steps N", log=2), Axis("sequence error rate", 0, 1), error_rates),
    "tell": lambda vocab, length: f"V = {vocab}, L = {length}: {float(vocab * length):.1f} in all.",
    "alt": ALT,
    "start": {"length L": 32},
}


def mask_counts(length, time, schedule):
    level = float(schedule.alpha(time))
    return {"law": Bars(range(length + 1), forward.num_masked_law(length, level))}


BARS = {
    "title": "Bars",
    "controls": {"length L": [4, 16], "time t": TIMES[2:5], "schedule": SCHEDULES},
    "plots": Plot(Axis("number of masks"), Axis("probability", 0, 1), mask_counts),
    "tell": lambda length, time, schedule: f"{length * (1 - schedule.alpha(time)):.2f} on average.",
    "alt": ALT,
    "start": {"time t": 0.4, "schedule": "cosine"},
}


def posterior(visible):
    x = np.full((1, 6), CHAIN.mask_id)
    x[0, 0], x[0, visible] = 2, 1
    return {"probability": Cells(CHAIN.posterior(x, off_support="local")[0].T)}


CELLS = {
    "title": "Cells",
    "controls": {"visible": {"second": 1, "fourth": 3, "last": 5}},
    "plots": Plot(
        Axis("position", names=range(1, 7)),
        Axis("token", names="abcd"),
        posterior,
        z=Axis("", 0, 1),
    ),
    "tell": lambda visible: f"Token {visible + 1} is b.",
    "alt": ALT,
}


def schedule_curves(name, time):
    schedule = SCHEDULES[name]
    return {name: Line(TIMES, schedule.alpha(np.array(TIMES))), "now": Upright(time)}


def next_tokens(name, time):
    masked = 1 - float(SCHEDULES[name].alpha(time))
    return {
        "masked": Bars(range(4), CHAIN.stationary() * masked),
        "visible": Bars(range(4), CHAIN.stationary() * (1 - masked)),
    }


PAIR = {
    "title": "Two panels",
    "controls": {"schedule": list(SCHEDULES), "time t": TIMES[1:-1:4]},
    "plots": [
        Plot(Axis("time t"), Axis("share visible", 0, 1), schedule_curves, "Schedule"),
        Plot(Axis("token", names="abcd"), Axis("share"), next_tokens, "Tokens"),
    ],
    "tell": lambda name, time: f"{name} at {time}: {1 - float(SCHEDULES[name].alpha(time)):.3f}.",
    "alt": ALT,
}


def lines():
    return family(**LINES)


def bars():
    return family(**BARS)


def cells():
    return family(**CELLS)


def pair():
    return family(**PAIR)
