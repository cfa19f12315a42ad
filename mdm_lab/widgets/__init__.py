"""Explorable figures, which need neither a kernel nor a network.

Each function returns an `Explorable`: end a cell with it. On the site, in JupyterLab and in Colab
it comes alive with the script that it carries; printed, or without JavaScript, it is a picture.
"""

from mdm_lab.widgets.bounds import theorem_curves
from mdm_lab.widgets.breakpoints import information_steps
from mdm_lab.widgets.explorable import Explorable
from mdm_lab.widgets.families import family
from mdm_lab.widgets.marks import Axis, Bars, Cells, Level, Line, Plot, Points, Upright
from mdm_lab.widgets.sentence import unmask_sentence
from mdm_lab.widgets.unmasking import unmask

__all__ = [
    "Axis",
    "Bars",
    "Cells",
    "Explorable",
    "Level",
    "Line",
    "Plot",
    "Points",
    "Upright",
    "family",
    "information_steps",
    "theorem_curves",
    "unmask",
    "unmask_sentence",
]
