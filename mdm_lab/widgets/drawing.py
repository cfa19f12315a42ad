"""Still pictures, written as SVG line by line.

A picture drawn by a library may differ in its bytes from machine to machine; this one cannot, as
every coordinate is rounded. Text is in the reader's own sans-serif font.
"""

from html import escape
from math import log

INK, MUTED, GRID = "#1a1a1a", "#595959", "#e6e6e6"
DASHES = (None, "8 4", "2 3", "9 3 2 3")


class Drawing:
    """A white sheet of `width` x `height` pixels, with the origin at the top left."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.parts = []

    def add(self, tag, content="", **attributes):
        """Add an element; underscores in the attributes' names stand for hyphens."""
        pairs = [(k.replace("_", "-"), v) for k, v in attributes.items() if v is not None]
        text = "".join(f" {key}='{escape(_plain(value))}'" for key, value in pairs)
        self.parts.append(f"<{tag}{text}>{escape(content)}</{tag}>")

    def line(self, points, **look):
        """A line through points (x, y)."""
        d = "L".join(f"{_plain(x)} {_plain(y)}" for x, y in points)
        self.add("path", d=f"M{d}", **{"fill": "none", "stroke_width": 2, **look})

    def text(self, x, y, words, **look):
        """Words at (x, y); `text_anchor` middle or end moves them."""
        self.add("text", words, x=x, y=y, **{"font_size": 12, "fill": INK, **look})

    def svg(self):
        """The whole document."""
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width} {self.height}' "
            f"width='{self.width}' height='{self.height}' font-family='sans-serif'>"
            f"<rect width='{self.width}' height='{self.height}' fill='white'/>"
            f"{''.join(self.parts)}</svg>"
        )


class Panel:
    """Axes within a drawing. Each axis is (low, high, ticks, label); `log_x`, `log_y` as they say.

    box is (left, top, width, height) of the plot itself; a tick is (value, text).
    """

    def __init__(self, drawing, box, x, y, log_x=False, log_y=False):
        self.drawing, (self.left, self.top, self.wide, self.high) = drawing, box
        self._x, self._y = (x[:2], log_x), (y[:2], log_y)
        bottom, right = self.top + self.high, self.left + self.wide
        for value, words in x[2]:
            at = self.px(value)
            drawing.line([(at, self.top), (at, bottom)], stroke=GRID, stroke_width=1)
            drawing.text(at, bottom + 15, words, text_anchor="middle", font_size=11)
        for value, words in y[2]:
            at = self.py(value)
            drawing.line([(self.left, at), (right, at)], stroke=GRID, stroke_width=1)
            drawing.text(self.left - 5, at + 4, words, text_anchor="end", font_size=11)
        frame = [(self.left, self.top), (self.left, bottom), (right, bottom)]
        drawing.line(frame, stroke=MUTED, stroke_width=1)
        drawing.text(self.left + self.wide / 2, bottom + 32, x[3], text_anchor="middle")
        turn = f"translate(11 {_plain(self.top + self.high / 2)}) rotate(-90)"
        drawing.text(0, 0, y[3], text_anchor="middle", transform=turn)

    def px(self, value):
        """Where a value of x lies."""
        return self.left + self.wide * _part(value, *self._x)

    def py(self, value):
        """Where a value of y lies."""
        return self.top + self.high * (1 - _part(value, *self._y))

    def curve(self, x, y, **look):
        """A line through the points (x, y) that lie on the sheet."""
        low, high = self._y[0]
        points = [(self.px(a), self.py(b)) for a, b in zip(x, y, strict=True) if low <= b <= high]
        self.drawing.line(points, **look)


def _part(value, ends, logarithmic):
    value, low, high = (log(v) if logarithmic else v for v in (value, *ends))
    return (value - low) / (high - low)


def _plain(value):
    if isinstance(value, float):
        value = f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
    return str(value)
