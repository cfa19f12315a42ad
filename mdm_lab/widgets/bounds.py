"""The explorable figure `theorem_curves`: what the two theorems ask for, token and sequence."""

import numpy as np

from mdm_lab.information import (
    ngram_steps,
    pairs_lower_bound,
    sequence_error_bound,
    steps_for_excess,
    steps_per_token,
)
from mdm_lab.plotting import COLOURS
from mdm_lab.schedules import reveal_probabilities
from mdm_lab.widgets.drawing import DASHES, INK, Drawing, Panel
from mdm_lab.widgets.explorable import Explorable

VOCAB_SIZE = 16
LENGTHS = [2**k for k in range(3, 13)]
STEPS = [2**k for k in range(19)]
EPSILONS = [0.005, 0.007, 0.01, 0.014, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.25]
LEARNING = [0.0, 0.001, 0.002, 0.004, 1 / 128, 0.016, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0]
START = {"length": 64, "n": 2, "epsilon": 0.05, "learning": 1 / 128, "steps": 64}


def theorem_curves():
    """The two theorems side by side, under sliders for L, n, epsilon, the learning error and N.

    Left, token error rate: the steps of the talk (`information.ngram_steps`), those that suffice
    for every language (`steps_for_excess`), and the autoregressive model's L. Right, sequence
    error rate after N uniform steps, V = 16: on PAIRS the least possible (`pairs_lower_bound`) and
    that of the exact denoiser, and the bound for every language (`sequence_error_bound`).
    """
    data = {
        "vocab": VOCAB_SIZE,
        "lengths": LENGTHS,
        "orders": [2, 3, 4],
        "epsilons": EPSILONS,
        "learning": LEARNING,
        "steps": STEPS,
        "start": START,
    }
    still, alt = _still(**START)
    title = "Steps for tokens, steps for sequences"
    return Explorable("theorem-curves", title, data, still, alt)


def _still(length, n, epsilon, learning, steps):
    """(SVG, description): both panels at the values with which the sliders start."""
    sheet = Drawing(420, 724)
    sheet.text(0, 14, f"Token error rate, n = {n}, L = {length}", font_weight=600)
    powers = [(1, "1"), (1e2, "100"), (1e4, "10⁴"), (1e6, "10⁶"), (1e8, "10⁸")]
    panel = Panel(
        sheet,
        (46, 26, 360, 200),
        (EPSILONS[0], EPSILONS[-1], [(e, f"{e:g}") for e in (0.01, 0.03, 0.1, 0.25)], "ε"),
        (1, 1e9, powers, "steps N"),
        log_x=True,
        log_y=True,
    )
    grid = np.geomspace(EPSILONS[0], EPSILONS[-1], 61).tolist()
    grid[-1] = EPSILONS[-1]
    counts = [
        (lambda e: ngram_steps(n, e), "the talk's count, constant 1"),
        (steps_for_excess, "1/(4ε), for every language"),
        (lambda e: length, "autoregressive, L"),
    ]
    for k, (count, name) in enumerate(counts):
        panel.curve(grid, [count(e) for e in grid], stroke=COLOURS[k], stroke_dasharray=DASHES[k])
        _key(sheet, 284 + 20 * k, k, f"{name}: {count(epsilon):,} at ε = {epsilon:g}")
    sheet.text(0, 374, f"Sequence error rate, V = {VOCAB_SIZE}, L = {length}", font_weight=600)
    panel = Panel(
        sheet,
        (46, 386, 360, 200),
        (1, 2**14, [(m, str(m)) for m in (1, 16, 256, 4096)], "steps N"),
        (0, 1, [(p, f"{p:g}") for p in (0, 0.25, 0.5, 0.75, 1)], "sequence error rate"),
        log_x=True,
    )
    curves = [
        (
            lambda r: pairs_lower_bound(VOCAB_SIZE, length, r, learning),
            "PAIRS, every model: at least",
        ),
        (lambda r: pairs_lower_bound(VOCAB_SIZE, length, r), "PAIRS, exact denoiser:"),
        (
            lambda r: sequence_error_bound(length, r, length * np.log(VOCAB_SIZE), learning),
            "every language: at most",
        ),
    ]
    whole = sorted({round(2 ** (k / 4)) for k in range(57)})  # up to 2^14 steps
    for k, (bound, name) in enumerate(curves):
        heights = [bound(reveal_probabilities("linear", m)) for m in whole]
        panel.curve(whole, heights, stroke=COLOURS[k], stroke_dasharray=DASHES[k])
        at = bound(reveal_probabilities("linear", steps))
        _key(sheet, 644 + 20 * k, k, f"{name} {100 * at:.3g}% at N = {steps}")
    half = length * steps_per_token(VOCAB_SIZE, learning)
    x, y = panel.px(half), panel.py(0.5)
    sheet.line([(x, y - 7), (x + 6, y), (x, y + 7), (x - 6, y)], fill=INK, stroke="none")
    sheet.text(x + 10, y - 8, "N = C L", font_weight=600)
    learned = f"Learning error {learning:.3g} nats. ◆ up to N = C L = {half:.3g}: at least 1/2."
    sheet.text(10, 712, learned)
    alt = (
        f"Above: to lose at most 4 ε ln V a token, {steps_for_excess(epsilon)} steps suffice at"
        f" ε = {epsilon:g} for every language, where the talk's count for n = {n} is"
        f" {ngram_steps(n, epsilon):,}. Below: the sequence error rate against N at L = {length};"
        f" on PAIRS every model errs on more than half of the sequences up to {half:.3g} steps."
    )
    return sheet.svg(), alt


def _key(sheet, y, k, words):
    sheet.line([(10, y), (44, y)], stroke=COLOURS[k], stroke_width=3, stroke_dasharray=DASHES[k])
    sheet.text(52, y + 4, words)
