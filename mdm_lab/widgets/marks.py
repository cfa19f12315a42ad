"""What a plot of `family` is made of: axes, and the marks that stand between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log, log10

import numpy as np

from mdm_lab.widgets.explorable import DECIMALS

DIGITS = 4  # significant digits of a number that is no integer
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """An axis; what is left out is taken from all settings together, so that it never moves.

    label   what it measures, with its unit
    low, high   its ends; every number must lie between them
    log     10 or True, or 2: logarithmic, with ticks at powers of that base
    ticks   the values that are labelled
    names   texts, for an axis of categories 0, 1, ...; on a y axis the first is at the top
    """

    label: str
    low: float | None = None
    high: float | None = None
    log: bool | int = False
    ticks: Sequence[float] | None = None
    names: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Line:
    """A curve through the points (x, y), with a band from low to high if these are given."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


class Points(Line):
    """Markers at (x, y), with a bar from low to high if these are given."""


class Bars(Line):
    """Bars from 0 to y at x, with a line from low to high if these are given."""


@dataclass(frozen=True, eq=False)
class Level:
    """A horizontal line of reference at y."""

    y: float


@dataclass(frozen=True, eq=False)
class Upright:
    """A vertical line of reference at x."""

    x: float


@dataclass(frozen=True, eq=False)
class Cells:
    """A table (rows, columns) of numbers as shades; both axes must have names, and `Plot.z` ends.

    Rows are the names of the y axis, columns those of the x axis.
    """

    values: Sequence[Sequence[float]]


@dataclass(frozen=True, eq=False)
class Plot:
    """Axes and what is drawn between them.

    draw   called with one value of each control, returns a dict: name -> mark
    title  stands above it; needed where there are two
    z      the scale of `Cells`
    """

    x: Axis
    y: Axis
    draw: Callable[..., dict]
    title: str = ""
    z: Axis | None = None


MARKS = {
    Line: ("x", "y", "low", "high"),
    Points: ("x", "y", "low", "high"),
    Bars: ("x", "y", "low", "high"),
    Level: ("y",),
    Upright: ("x",),
    Cells: ("values",),
}


def tidy(value):
    """An integer as it is, any other number at `DIGITS` digits, the same on every machine.

    Rounding first to the decimals of all figures takes away what differs between machines, so that
    ties are the same everywhere as well.
    """
    value = round(float(value), DECIMALS)
    return int(value) if value == int(value) else float(f"{value:.{DIGITS}g}")


def read(mark, name, where):
    """{field: tidy numbers, flat} of a mark; ValueError, naming `where`, if it cannot be drawn."""
    if type(mark) not in MARKS:
        kinds = ", ".join(kind.__name__ for kind in MARKS)
        raise ValueError(f"{name!r} must be one of {kinds} {where}; got {mark!r}")
    found = {}
    for field in MARKS[type(mark)]:
        given = getattr(mark, field)
        if given is None:
            continue
        numbers = np.asarray(given, dtype=float)
        if not numbers.size or not np.isfinite(numbers).all():
            raise ValueError(
                f"{field} of {name!r} must hold finite numbers {where}; leave out what has none"
            )
        found[field] = [tidy(v) for v in numbers.ravel()]
    if len({"low", "high"} & set(found)) == 1:
        raise ValueError(f"{name!r} must have low and high together, or neither, {where}")
    if isinstance(mark, Line):
        for field in ("y", "low", "high"):
            if len(found.get(field, found["x"])) != len(found["x"]):
                raise ValueError(
                    f"{field} of {name!r} must have as many entries as x, {len(found['x'])}, "
                    f"{where}; got {len(found[field])}"
                )
    return found


def scale(axis, name, values, pad=0.0, upright=False):
    """The axis as JSON has it, with ends and ticks; `values` are all that will stand on it.

    pad widens ends that were not given; an upright axis ends at ticks, and mostly begins at 0.
    """
    if axis.names is not None:
        return _categories(axis, name, values, upright)
    if axis.log and min(values) <= 0:
        raise ValueError(
            f"{name} is logarithmic, so all its numbers must be positive (at {DECIMALS} decimals); "
            f"got {min(values)}"
        )
    low, high = min(values) - pad, max(values) + pad
    if upright and not axis.log:
        low = min(low, 0) if low < 0.5 * high else low
        step = _step(low, high)
        low, high = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
    low = low if axis.low is None else axis.low
    high = high if axis.high is None else axis.high
    if low == high:
        low, high = (low / 2, high * 2) if axis.log else (low - 0.5, high + 0.5)
    slack = 1e-3 * (high - low)
    if not low < high or min(values) < low - slack or max(values) > high + slack:
        raise ValueError(
            f"{name} must run from at most {min(values)} to at least {max(values)}, where its "
            f"numbers lie; got {low} to {high}"
        )
    ticks = _ticks(low, high, axis.log) if axis.ticks is None else axis.ticks
    return {
        "label": axis.label,
        "low": tidy(low),
        "high": tidy(high),
        "log": bool(axis.log),
        "ticks": [[tidy(v), _text(v, axis.log)] for v in ticks],
    }


def _categories(axis, name, values, upright):
    names = [str(n) for n in axis.names]
    last = len(names) - 1
    if any(v != int(v) or not 0 <= v <= last for v in values):
        raise ValueError(f"{name} has {last + 1} names, so its numbers must be 0 to {last}")
    longest = max(len(n) for n in names)
    stride = 1 if upright else ceil((last + 1) * (longest + 1) / 34)
    ends = (last + 0.5, -0.5) if upright else (-0.5, last + 0.5)
    return {
        "label": axis.label,
        "low": ends[0],
        "high": ends[1],
        "log": False,
        "ticks": [[k, names[k]] for k in range(0, last + 1, stride)],
        "names": names,
    }


def _step(low, high):
    rough = (high - low) / 5 or 1.0
    power = 10.0 ** floor(log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def _ticks(low, high, base):
    if base:
        unit = log(10 if base is True else base)
        first, last = ceil(log(low) / unit - 1e-9), floor(log(high) / unit + 1e-9)
        stride = max(1, ceil((last - first) / 5))
        powers = [(10.0 if base is True else float(base)) ** k for k in range(first, last + 1)]
        return powers[::stride] if last > first else [low, high]
    step = _step(low, high)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _text(value, base):
    if base and not 1e-4 < value < 1e5:
        base = 10 if base is True else base
        return str(base) + str(round(log(value, base))).translate(SUPERSCRIPT)
    return f"{tidy(value):,}" if value >= 1e5 else f"{tidy(value):g}"
