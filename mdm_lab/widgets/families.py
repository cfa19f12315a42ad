"""The explorable figure `family`: one picture for every setting of one to three controls."""

from dataclasses import replace
from itertools import product
from numbers import Real

import numpy as np

from mdm_lab.widgets.explorable import Explorable
from mdm_lab.widgets.marks import Axis, Cells, Level, Plot, Upright, read, scale
from mdm_lab.widgets.stills import still

MAX_BYTES = 60_000
MAX_SERIES = 4


def family(title, controls, plots, tell, alt, start=None):
    """A figure with one to three controls; all that it can show is computed here and now.

    title     its heading, at best a question
    controls  name -> the values on offer, as a list, or as a dict from what is shown to the value;
              numbers make a slider, anything else a list to choose from
    plots     one `Plot`, or two that stand side by side and follow the same controls
    tell      called like `Plot.draw`, with one value of each control in their order: the sentence
              that says, and reads out, what this setting shows
    alt       what the still picture shows, for those who print or do not see it: the start setting
    start     name -> the value (what is shown, for a dict) that stands there first; else the first

    Axes are the same for all settings, so that what moves is the curves. Numbers keep four
    significant digits and ten decimals. Raises a ValueError that names the setting where something
    cannot be drawn.
    """
    plots = [plots] if isinstance(plots, Plot) else list(plots)
    if not 1 <= len(plots) <= 2:
        raise ValueError(f"plots must be one Plot or two; got {len(plots)}")
    if len(str(alt).strip()) <= 100:
        raise ValueError("alt must say in more than 100 characters what the still picture shows")
    listed, values = _controls(controls, start or {})
    pool = _Pool()
    drawn, told = [[] for _ in plots], []
    for setting in product(*[range(len(control["shown"])) for control in listed]):
        chosen = [values[c][k] for c, k in enumerate(setting)]
        where = "at " + ", ".join(
            f"{control['name']} = {control['shown'][k]}"
            for control, k in zip(listed, setting, strict=True)
        )
        for number, plot in enumerate(plots):
            drawn[number].append(_marks(plot, f"plots[{number}]", chosen, where))
        sentence = tell(*chosen)
        if not isinstance(sentence, str) or not sentence.strip():
            raise ValueError(f"tell must return a sentence {where}; got {sentence!r}")
        told.append(pool.place(sentence))
    axes = [_axes(plot, f"plots[{k}]", drawn[k]) for k, plot in enumerate(plots)]
    shown = []
    for plot, scales, settings in zip(plots, axes, drawn, strict=True):
        views = [
            pool.place(
                [[kind, pool.place(name), *map(pool.place, fields)] for kind, name, *fields in m]
            )
            for m in settings
        ]
        shown.append({"title": plot.title, **scales, "views": views})
    data = {"controls": listed, "pool": pool.entries, "told": told, "plots": shown}
    figure = Explorable("family", title, data, still(data), alt)
    if (size := len(figure.html)) > MAX_BYTES:
        raise ValueError(
            f"controls and plots make a figure of {size} characters, more than {MAX_BYTES}; offer "
            f"fewer of the {len(told)} settings, draw fewer points, or tell it in fewer words"
        )
    return figure


class _Pool:
    """Each array, text or list of marks once, under its number."""

    def __init__(self):
        self.entries, self._numbers = [], {}

    def place(self, entry):
        key = repr(entry)
        if key not in self._numbers:
            self._numbers[key] = len(self.entries)
            self.entries.append(entry)
        return self._numbers[key]


def _controls(controls, start):
    """([the control as JSON has it], [its values])."""
    if not 1 <= len(controls) <= 3:
        raise ValueError(f"controls must be one to three; got {len(controls)}")
    if strange := set(start) - set(controls):
        raise ValueError(f"start names {sorted(strange)}; the controls are {list(controls)}")
    listed, values = [], []
    for name, offered in controls.items():
        if not 0 < len(name) < 30:
            raise ValueError(f"controls: a name has 1 to 29 characters; got {name!r}")
        keys = list(offered)
        values.append(list(offered.values()) if isinstance(offered, dict) else keys)
        if len(keys) < 2 or len(set(keys)) < len(keys):
            raise ValueError(f"controls: {name!r} must offer two different values or more")
        first = start.get(name, keys[0])
        if first not in keys:
            raise ValueError(f"start of {name!r} must be one of {keys}; got {first!r}")
        shown = [key if isinstance(key, str) else _shown(key) for key in keys]
        slider = all(isinstance(v, Real) and not isinstance(v, bool) for v in values[-1])
        listed.append({"name": name, "shown": shown, "slider": slider, "start": keys.index(first)})
    return listed, values


def _shown(value):
    """A number as a control shows it."""
    if not isinstance(value, Real):
        return str(value)
    return f"{value:,}" if value == int(value) else f"{value:.4g}"


def _marks(plot, name, chosen, where):
    """What a plot draws for one setting: lists (kind, name, x, y, low, high), as far as given."""
    marks = plot.draw(*chosen)
    if not isinstance(marks, dict) or not marks:
        raise ValueError(f"{name}.draw must return a dict of marks {where}; got {marks!r}")
    coloured = [key for key, mark in marks.items() if not isinstance(mark, Level | Upright)]
    if len(coloured) > MAX_SERIES:
        raise ValueError(f"{name}.draw must return at most {MAX_SERIES} series; got {coloured}")
    found = []
    for key, mark in marks.items():
        fields = read(mark, key, where)
        if isinstance(mark, Cells):
            _check_cells(plot, name, np.shape(mark.values), key, where)
        found.append([type(mark).__name__.lower(), str(key), *fields.values()])
    return found


def _check_cells(plot, name, shape, key, where):
    if plot.x.names is None or plot.y.names is None:
        raise ValueError(f"{name} draws cells, so both its axes must have names")
    expected = (len(plot.y.names), len(plot.x.names))
    if shape != expected:
        raise ValueError(
            f"{key!r} must have a cell for each name, {expected}, {where}; got {shape}"
        )


def _axes(plot, name, settings):
    """The axes of a plot as JSON has them, from all that it draws."""
    across, up, shades, gaps, bars, points = [], [], [], [], False, False
    for kind, _, *fields in (mark for marks in settings for mark in marks):
        if kind == "cells":
            shades += fields[0]
        elif kind == "level":
            up += fields[0]
        else:
            across += fields[0]
            up += [v for field in fields[1:] for v in field]
            bars, points = bars or kind == "bars", points or kind == "points"
            if kind == "bars":
                gaps += np.diff(np.unique(fields[0])).tolist()
    gap = min(gaps, default=1.0)
    if bars:
        if plot.x.log or plot.y.log:
            raise ValueError(f"{name} draws bars, so its axes must not be logarithmic")
        up.append(0)
    found = {
        "x": scale(plot.x, f"{name}.x", across or [0], pad=gap / 2 if bars else 0),
        "y": scale(plot.y, f"{name}.y", up or [0], upright=True),
    }
    if bars:
        found["gap"] = gap
    if shades:
        found["z"] = scale(replace(plot.z or Axis(""), names=None), f"{name}.z", shades)
    return found
