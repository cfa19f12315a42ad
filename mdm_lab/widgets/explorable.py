"""One output of a cell that holds a live figure, its data and a still picture of it.

The output is the same, character by character, wherever the same versions write it: no random
names, numbers rounded to ten decimals, pictures written by `drawing`. So a notebook that shows it
can be compared strictly.
"""

import json
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from mdm_lab.plotting import COLOURS, MASKED

SCRIPTS = {
    "unmask-sentence": ("shared.js", "sentence.js"),
    "unmask": ("shared.js", "sampler.js", "unmasking.js"),
    "information-steps": ("shared.js", "breakpoints.js"),
    "theorem-curves": ("shared.js", "bounds.js"),
    "family": ("shared.js", "families.js"),
}
DECIMALS = 10


@dataclass(frozen=True, eq=False)
class Explorable:
    """A figure to explore; as the last value of a cell it shows itself.

    name   which script brings it to life, a key of `SCRIPTS`
    title  its heading
    data   what the script draws: a dict for JSON
    still  an SVG document, shown in print and where there is no JavaScript
    alt    what `still` shows, in words
    """

    name: str
    title: str
    data: dict
    still: str
    alt: str

    @property
    def html(self):
        """One <figure> that loads nothing: style, picture, data and script are inside it."""
        still = "data:image/svg+xml," + quote(self.still, safe=" /:;,=()'!*+-._~")
        data = json.dumps(rounded(self.data), ensure_ascii=False, separators=(",", ":"))
        data = data.replace("</", "<\\/")  # nothing in it can end the element
        return (
            f'<figure class="mdm-explorable" data-figure="{escape(self.name)}" '
            'data-lm-suppress-shortcuts="true">\n'
            f"<style>\n{_text('style.css')}</style>\n"
            f"<figcaption>{escape(self.title)}</figcaption>\n"
            f'<img class="mdm-still" alt="{escape(self.alt)}" src="{still}">\n'
            f'<script type="application/json">{data}</script>\n'
            f"<script>\n{_script(self.name)}</script>\n</figure>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "text/plain": f"{self.title}\n{self.alt}"}


def rounded(value):
    """`value` with every float in it rounded, so that the last bits of a machine do not show."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value


@cache
def _text(name):
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@cache
def _script(name):
    """The figure's script, closed off from the page and from other figures."""
    given = f"const COLOURS = {json.dumps(COLOURS)}, MASKED = {json.dumps(MASKED)};\n\n"
    parts = "\n".join(_text(part) for part in SCRIPTS[name])
    return f'(function () {{\n"use strict";\n{given}{parts}}})();\n'
