"""The explorable figure `information_steps`: where the steps lie under the information curve."""

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev

from mdm_lab.checks import check_positive_int
from mdm_lab.information import information_curve, optimal_reveal
from mdm_lab.languages import NGram, Table, pairs
from mdm_lab.plotting import COLOURS
from mdm_lab.schedules import revealed_fractions
from mdm_lab.widgets.drawing import Drawing, Panel
from mdm_lab.widgets.explorable import Explorable

MAX_STEPS = 8


def information_steps(worlds=None, steps=4):
    """Place the breakpoints by hand; the area above the curve is lost (thm-left-riemann).

    worlds: name -> (language, length, a sentence on it), whose information curve must be exact;
    steps, 2 to 8: how many stand there first. Errors are those of `information.factorisation_error`
    divided by the length, nats per token; the best are those of `information.optimal_reveal`.
    """
    steps = check_positive_int(steps, "steps", minimum=2)
    if steps > MAX_STEPS:
        raise ValueError(f"steps must be at most {MAX_STEPS}; got {steps}")
    worlds = worlds_shown() if worlds is None else worlds
    if not worlds:
        raise ValueError("worlds must hold at least one name: (language, length, sentence)")
    listed = [_world(name, *world) for name, world in worlds.items()]
    data = {"worlds": listed, "start": {"world": 0, "steps": steps}}
    still, alt = _still(listed[0], steps)
    return Explorable("information-steps", "Where should the steps lie?", data, still, alt)


def worlds_shown():
    """What `information_steps` offers by default: name -> (language, length, a sentence)."""
    sticky = NGram(np.full(2, 0.5), np.array([[0.95, 0.05], [0.05, 0.95]]))
    even = np.indices((2,) * 8).sum(axis=0) % 2 == 0
    return {
        "sticky chain": (
            sticky,
            32,
            "32 bits, each unlike the one before with chance 1/20: a few visible tokens tell much.",
        ),
        "parity": (
            Table(even / even.sum()),
            8,
            "8 fair bits whose sum is even: nothing is learnt until almost all are visible.",
        ),
        "pruned chain": (
            NGram.random(2, 4, prune=0.1, rng=0),
            16,
            "16 tokens of a pruned first-order chain: the curve is almost straight.",
        ),
        "PAIRS": (
            pairs(2),
            2,
            "Pairs of equal bits, at any even length: a straight line, so uniform steps are best.",
        ),
    }


def _world(name, lang, length, note):
    """The curve per token as a polynomial of degree length - 1, and the best breakpoints."""

    def curve(u):
        return information_curve(lang, length, u) / length

    fit = Chebyshev.interpolate(curve, max(1, length - 1), domain=[0, 1])
    best = {
        steps: [round(u, 6) for u in revealed_fractions(optimal_reveal(curve, steps)).tolist()[1:]]
        for steps in range(2, MAX_STEPS + 1)
    }
    return {"name": name, "note": note, "coefficients": fit.coef.tolist(), "best": best}


def error(world, inner):
    """The left-Riemann error of the steps from 0, *inner to 1, nats per token."""
    f = Chebyshev(world["coefficients"], domain=[0, 1])
    u = np.array([0.0, *inner, 1.0])
    return float(np.diff(u) @ f(u[:-1]) - f.integ(lbnd=0)(1.0))


def _still(world, steps):
    """(SVG, description): the curve, uniform steps with their error shaded, the best steps."""
    f = Chebyshev(world["coefficients"], domain=[0, 1])
    top = float(f(0.0))
    stride = 0.5 if top > 0.9 else 0.2 if top > 0.4 else 0.1
    sheet = Drawing(420, 360)
    panel = Panel(
        sheet,
        (46, 10, 360, 220),
        (0, 1, [(u, f"{u:g}") for u in (0, 0.25, 0.5, 0.75, 1)], "share of tokens visible, u"),
        (
            0,
            1.08 * top,
            [(v, f"{v:g}") for v in np.arange(0, 1.08 * top, stride).round(9).tolist()],
            "f(u)/L, nats",
        ),
    )
    uniform = np.linspace(0, 1, steps + 1)[1:-1].tolist()
    found = {}
    for name, inner in (("uniform", uniform), ("best", world["best"][steps])):
        u = [0.0, *inner, 1.0]
        stairs = [(at, float(f(left))) for left, right in zip(u, u[1:]) for at in (left, right)]
        found[name] = error(world, inner)
        if name == "uniform":
            back = [(x, float(f(x))) for x in np.linspace(1, 0, 101).tolist()]
            area = [(panel.px(x), panel.py(y)) for x, y in stairs + back]
            sheet.line(area, fill=COLOURS[1], fill_opacity="0.3", stroke="none")
            panel.curve(*zip(*stairs), stroke=COLOURS[1])
        else:
            panel.curve(*zip(*stairs), stroke=COLOURS[2], stroke_dasharray="7 4")
    grid = np.linspace(0, 1, 101).tolist()
    panel.curve(grid, [float(f(u)) for u in grid], stroke=COLOURS[0], stroke_width=3)
    keys = (
        (COLOURS[0], None, f"information curve, {world['name']}"),
        (
            COLOURS[1],
            None,
            f"{steps} uniform steps lose the shaded {found['uniform']:.3g} nats a token",
        ),
        (COLOURS[2], "7 4", f"the {steps} best steps lose {found['best']:.3g} nats a token"),
    )
    for k, (stroke, dash, words) in enumerate(keys):
        y = 288 + 22 * k
        sheet.line([(10, y), (44, y)], stroke=stroke, stroke_width=3, stroke_dasharray=dash)
        sheet.text(52, y + 4, words)
    last = abs(round(float(f(1.0)), 9))
    alt = (
        f"The information curve of {world['name']} falls from {top:.3g} to {last:.3g} nats"
        f" a token. The steps of a sampler lie above it, and the area between is what they lose:"
        f" {found['uniform']:.3g} nats a token for {steps} uniform steps, {found['best']:.3g} for"
        " the best."
    )
    return sheet.svg(), alt
