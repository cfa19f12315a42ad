"""Training: one loop for every model of the book, resumable, on one device or several.

`train` minimises an objective of `mdm_lab.objectives` over data; what it does in a step is a
function of the recipe and the number of the step alone, so that a run that was stopped and taken up
again is the same run, bit for bit on one device. Chapter: book/masked-diffusion/training.
"""

from mdm_lab.training.checkpoints import CheckpointError, load_network, save_network
from mdm_lab.training.data import FromFile, FromLanguage, write_corpus
from mdm_lab.training.devices import best_device, device_name, distributed
from mdm_lab.training.loop import Diverged, Trained, train
from mdm_lab.training.recipe import Recipe

__all__ = [
    "CheckpointError",
    "Diverged",
    "FromFile",
    "FromLanguage",
    "Recipe",
    "Trained",
    "best_device",
    "device_name",
    "distributed",
    "load_network",
    "save_network",
    "train",
    "write_corpus",
]
