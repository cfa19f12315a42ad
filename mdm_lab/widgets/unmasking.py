"""The explorable figure `unmask`: a sequence as it is revealed, and how often that fails."""

import numpy as np

from mdm_lab import exact, orders
from mdm_lab.languages import NGram, pairs
from mdm_lab.plotting import COLOURS, MASKED
from mdm_lab.schedules import reveal_probabilities
from mdm_lab.widgets.drawing import MUTED, Drawing
from mdm_lab.widgets.explorable import Explorable

LENGTHS = (8, 16, 32, 64)
STEPS = (1, 2, 4, 8, 16, 32, 64)
ORDERS = {
    "random": "random steps",
    "single": "one token a step",
    "bisection": "bisection",
    "odd_even": "odd, then even",
}
LANGUAGES = {"pairs": 0, "chain": 1}
VOCAB_SIZE = 2  # of PAIRS


def unmask(language="pairs", length=16, order="random", steps=4):
    """Watch a sequence being unmasked, with conflicts marked as they appear; all of it exact.

    The reader chooses the language ("pairs": PAIRS over 2 tokens; "chain": a pruned first-order
    chain of 4), the length (8, 16, 32, 64), the order ("random", "single", "bisection",
    "odd_even") and, for random steps, their number (1, 2, 4, ..., 64); the arguments say what
    stands there first. Beside the share of impossible sequences is the exact SER (`mdm_lab.exact`).
    """
    for name, value, allowed in (
        ("language", language, tuple(LANGUAGES)),
        ("length", length, LENGTHS),
        ("order", order, tuple(ORDERS)),
        ("steps", steps, STEPS),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}; got {value!r}")
    chain = NGram.random(2, 4, prune=0.1, rng=0)
    given = {
        "bisection": [orders.bisection(n) for n in LENGTHS],
        "odd_even": [orders.odd_even(n) for n in LENGTHS],
    }
    data = {
        "seed": 1,
        "start": {
            "language": LANGUAGES[language],
            "length": length,
            "order": order,
            "steps": steps,
        },
        "lengths": LENGTHS,
        "steps": STEPS,
        "orderNames": ORDERS,
        "orders": {name: [steps.tolist() for steps in lists] for name, lists in given.items()},
        "languages": [_pairs(given), _chain(chain, given)],
    }
    still, alt = _still(pairs(VOCAB_SIZE) if language == "pairs" else chain, data)
    return Explorable("unmask", "Watch a sequence being unmasked", data, still, alt)


def pairs_in_order(steps):
    """Exact SER of PAIRS in the order `steps`, an even number of them.

    A pair whose tokens share a step is drawn equal with chance 1/V, independently of the others.
    """
    together = int((steps[0::2] == steps[1::2]).sum())
    return 1 - float(VOCAB_SIZE) ** -together


def _pairs(given):
    return {
        "kind": "pairs",
        "name": f"PAIRS (V = {VOCAB_SIZE})",
        "rule": "Tokens 1 and 2 agree, so do 3 and 4, and so on; nothing else is forbidden.",
        "vocab": VOCAB_SIZE,
        "exact": _table(
            lambda length, n: exact.pairs_sequence_error_rate(
                VOCAB_SIZE, length, reveal_probabilities("linear", n)
            ),
            pairs_in_order,
            given,
        ),
    }


def _chain(lang, given):
    valid = exact.linear_valid_log_probabilities(lang, max(LENGTHS), STEPS)
    forbidden = ", ".join(f"{a} {b}" for a, b in np.argwhere(lang.transition == 0))
    return {
        "kind": "chain",
        "name": f"chain (V = {lang.vocab_size})",
        "rule": f"Never next to each other, in this order: {forbidden}.",
        "vocab": lang.vocab_size,
        "initial": lang.initial.tolist(),
        "transition": lang.transition.tolist(),
        "exact": _table(
            lambda length, n: float(-np.expm1(valid[STEPS.index(n), length - 1])),
            lambda steps: exact.sequence_error_rate_in_order(lang, steps),
            given,
        ),
    }


def _table(random_steps, in_order, given):
    """Exact SER: of random steps [length][steps], of every other order [length]."""
    return {
        "random": [[random_steps(length, n) for n in STEPS] for length in LENGTHS],
        "single": [in_order(np.arange(length)) for length in LENGTHS],
        **{name: [float(in_order(steps)) for steps in lists] for name, lists in given.items()},
    }


def _still(lang, data):
    """(SVG, description): one run in rows from masks to text, and the exact error rates below."""
    length, steps, rows = 16, 4, []
    paired = not isinstance(lang, NGram)
    rng = np.random.default_rng(5 if paired else 4)  # runs that show a conflict
    order = rng.integers(steps, size=length)
    x = np.full((1, length), lang.mask_id)
    for k in range(steps + 1):
        rows.append(x[0])
        probs = lang.posterior(x, off_support="local")[0]
        drawn = [rng.choice(lang.vocab_size, p=p / p.sum()) for p in probs]
        x = np.where(order == k, drawn, x)
    left, size, gap = 54, 21, 3 if paired else 0  # a gap after every pair
    sheet = Drawing(420, 30 * (steps + 1) + 112)
    found = {}
    for k, row in enumerate(rows):
        y = 8 + 30 * k
        sheet.text(left - 8, y + 16, f"step {k}" if k else "masks", text_anchor="end", fill=MUTED)
        place = [left + size * i + gap * (i // 2) for i in range(length)]
        for i, token in enumerate(row):
            fresh = k > 0 and order[i] == k - 1
            look = {"fill": MASKED, "stroke": "#4d4d4d"} if token == lang.mask_id else {}
            look = look or {"fill": "#cfe6f5" if fresh else "white", "stroke": COLOURS[0]}
            sheet.add("rect", x=place[i] + 1, y=y, width=size - 2, height=size, **look)
            words = "m" if token == lang.mask_id else str(token)
            sheet.text(place[i] + size // 2, y + 16, words, text_anchor="middle")
        for i in _conflicts(lang, row):
            found.setdefault(i, k)
            wide, edge = place[i + 1] + size - place[i], (place[i] + size + place[i + 1]) // 2
            box = {"x": place[i], "y": y - 1, "width": wide, "height": size + 2}
            sheet.add("rect", **box, fill="none", stroke=COLOURS[1], stroke_width=3)
            sheet.add("circle", cx=edge, cy=y - 1, r=6, fill="white", stroke="#b34700")
            sheet.text(edge, y + 3, "✕", text_anchor="middle", font_size=10, fill="#b34700")
    table = data["languages"][LANGUAGES["pairs" if paired else "chain"]]
    column = LENGTHS.index(length)
    rates = [f"{100 * p:.3g}%" for p in table["exact"]["random"][column]]
    y = 30 * (steps + 1) + 30
    title = f"Exact sequence error rate, {table['name']}, L = {length}"
    sheet.text(0, y, title, font_weight=600)
    for k, (label, cells) in enumerate((("random steps, N", STEPS), ("error rate", rates))):
        sheet.text(0, y + 22 * (k + 1), label)
        for j, cell in enumerate(cells):
            at = 118 + 46 * j
            sheet.text(at, y + 22 * (k + 1), str(cell), text_anchor="middle", font_size=11)
    for k, name in enumerate(("single", "bisection", "odd_even")):
        rate = table["exact"][name][column]
        at = [0, 150, 265][k]
        sheet.text(at, y + 72, f"{ORDERS[name]}: {100 * rate:.3g}%")
    places = ", ".join(f"{i + 1} and {i + 2} in step {k}" for i, k in sorted(found.items()))
    alt = (
        f"A sequence of {length} masks is filled in {steps} steps, tokens of one step independently"
        f" of each other. Tokens that cannot stand together: {places or 'none'}. The exact sequence"
        f" error rate falls from {rates[0]} in one step to {rates[-1]} in {STEPS[-1]}."
    )
    return sheet.svg(), alt


def _conflicts(lang, row):
    """The positions i whose tokens i and i+1 are both visible and cannot stand together."""
    shown = (row[:-1] < lang.mask_id) & (row[1:] < lang.mask_id)
    if isinstance(lang, NGram):
        allowed = np.pad(lang.transition, (0, 1), constant_values=1)[row[:-1], row[1:]] > 0
    else:
        allowed = (row[:-1] == row[1:]) | (np.arange(len(row) - 1) % 2 == 1)
    return np.flatnonzero(shown & ~allowed).tolist()
