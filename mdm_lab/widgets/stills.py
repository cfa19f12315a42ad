"""The still picture of a `family`: its plots one above the other, at the setting of the start."""

from textwrap import wrap

from mdm_lab.plotting import COLOURS
from mdm_lab.widgets.drawing import DASHES, INK, MUTED, Drawing, Panel

WIDTH, PLOT, LINE = 420, 200, 18
MARKERS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "m-4 -4h8v8h-8z",
    "m0 -5l5 9h-10z",
    "m0 -5l5 5l-5 5l-5 -5z",
)


def still(data):
    """An SVG document of the `data` of `family`."""
    controls, pool = data["controls"], data["pool"]
    setting = 0
    for control in controls:
        setting = setting * len(control["shown"]) + control["start"]
    heading = ", ".join(f"{c['name']} = {c['shown'][c['start']]}" for c in controls)
    parts = [(line, True) for line in wrap(heading, 58)]
    for plot in data["plots"]:
        parts += [(plot["title"], True)] if plot["title"] else []
        parts += [(plot, [_named(mark, pool) for mark in pool[plot["views"][setting]]])]
    parts += [(line, False) for line in wrap(pool[data["told"][setting]], 64)]
    sheet, y = Drawing(WIDTH, sum(map(_height, parts)) + 8), 0
    for part in parts:
        if isinstance(part[0], str):
            sheet.text(0, y + 14, part[0], font_weight=600 if part[1] else None)
        else:
            _plot(sheet, y, *part)
        y += _height(part)
    return sheet.svg()


def _named(mark, pool):
    kind, *fields = mark
    return kind, *[pool[number] for number in fields]


def _height(part):
    return LINE if isinstance(part[0], str) else PLOT + 48 + LINE * len(_keys(*part))


def _plot(sheet, top, plot, marks):
    axes = [(a["low"], a["high"], a["ticks"], a["label"]) for a in (plot["x"], plot["y"])]
    panel = Panel(
        sheet,
        (50, top + 8, WIDTH - 64, PLOT),
        *axes,
        log_x=plot["x"]["log"],
        log_y=plot["y"]["log"],
    )
    number, bars = 0, [mark for mark in marks if mark[0] == "bars"]
    for mark in marks:
        kind, _, *fields = mark
        if kind == "cells":
            _cells(sheet, panel, plot, fields[0])
        elif kind in ("level", "upright"):
            ends = [(panel.left, panel.py(v)) for v in fields[0] if kind == "level"]
            ends += [(panel.px(v), panel.top) for v in fields[0] if kind == "upright"]
            (x, y) = ends[0]
            end = (x + panel.wide, y) if kind == "level" else (x, y + panel.high)
            sheet.line([(x, y), end], stroke=INK, stroke_width=1, stroke_dasharray="5 3")
        else:
            slot = (bars.index(mark), len(bars)) if kind == "bars" else None
            _series(sheet, panel, plot, kind, fields, number, slot)
        number += kind not in ("level", "upright")
    for k, (swatch, words) in enumerate(_keys(plot, marks)):
        y = top + PLOT + 56 + LINE * k
        swatch(sheet, y)
        sheet.text(52, y + 4, words)


def _series(sheet, panel, plot, kind, fields, number, slot):
    colour, (x, y, *band) = COLOURS[number], fields
    places = [(panel.px(a), panel.py(b)) for a, b in zip(x, y, strict=True)]
    if kind == "line":
        if band:
            edge = [*zip(x, band[0]), *zip(x[::-1], band[1][::-1])]
            area = [(panel.px(a), panel.py(b)) for a, b in edge]
            sheet.line(area, fill=colour, fill_opacity="0.2", stroke="none")
        sheet.line(places, stroke=colour, stroke_dasharray=DASHES[number])
        return
    if kind == "bars":
        share = 0.8 * plot["gap"] / (plot["x"]["high"] - plot["x"]["low"])
        wide, base = share * panel.wide / slot[1], panel.py(0)
        for k, (at, top) in enumerate(places):
            at += wide * (slot[0] - slot[1] / 2)
            places[k] = (at + wide / 2, top)
            look = {"fill": colour if number % 2 == 0 else "white", "stroke": colour}
            box = [(at, base), (at, top), (at + wide, top), (at + wide, base)]
            sheet.line(box, **look, stroke_width=1)
    for (at, _), *ends in zip(places, *band):
        bar = [(at, panel.py(v)) for v in ends]
        if bar:
            sheet.line(bar, stroke=INK if kind == "bars" else colour)
    if kind == "points":
        for at, top in places:
            sheet.add("path", d=f"M{at:.1f} {top:.1f}{MARKERS[number]}", fill=colour)


def _cells(sheet, panel, plot, values):
    """Shades; a row of the table is a row of the picture."""
    columns = len(plot["x"]["names"])
    for k, value in enumerate(values):
        row, column = divmod(k, columns)
        left, right = (round(panel.px(column + side), 1) for side in (-0.5, 0.5))
        top, bottom = (round(panel.py(row + side), 1) for side in (-0.5, 0.5))
        d = f"M{left:g} {top:g}H{right:g}V{bottom:g}H{left:g}z"
        sheet.add("path", d=d, fill=shade(value, plot["z"]), stroke="white")


def shade(value, scale):
    """White at the low end of the scale, the first colour of the book at its high end."""
    part = min(1, max(0, (value - scale["low"]) / (scale["high"] - scale["low"])))
    full = [int(COLOURS[0][k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + part * (c - 255)):02x}" for c in full)


def _keys(plot, marks):
    """(how its sample is drawn at a height y, its words) for each mark."""
    keys, number = [], 0
    for kind, name, *fields in marks:
        if kind == "cells":
            low, high = (f"{plot['z'][end]:g}" for end in ("low", "high"))
            keys.append((_ramp, f"{name}: from {low} (white) to {high}"))
        elif kind in ("level", "upright"):
            keys.append((_rule(kind), f"{name}: {fields[0][0]:g}"))
        else:
            keys.append((_sample(kind, number), name))
        number += kind not in ("level", "upright")
    return keys


def _rule(kind):
    def draw(sheet, y):
        ends = [(10, y), (44, y)] if kind == "level" else [(27, y - 7), (27, y + 7)]
        sheet.line(ends, stroke=INK, stroke_width=1, stroke_dasharray="5 3")

    return draw


def _ramp(sheet, y):
    for k in range(5):
        fill = shade(k, {"low": 0, "high": 4})
        sheet.add("rect", x=10 + 7 * k, y=y - 5, width=7, height=10, fill=fill, stroke=MUTED)


def _sample(kind, number):
    colour = COLOURS[number]

    def draw(sheet, y):
        if kind == "line":
            ends = [(10, y), (44, y)]
            sheet.line(ends, stroke=colour, stroke_width=3, stroke_dasharray=DASHES[number])
        elif kind == "points":
            sheet.add("path", d=f"M27 {y}{MARKERS[number]}", fill=colour)
        else:
            fill = colour if number % 2 == 0 else "white"
            sheet.add("rect", x=18, y=y - 5, width=18, height=10, fill=fill, stroke=colour)

    return draw
