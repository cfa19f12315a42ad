"""What a run must remember in order to go on: its state, and which run it is."""

import dataclasses
import hashlib
from pathlib import Path

import torch

from mdm_lab.training import checkpoints
from mdm_lab.training.checkpoints import CheckpointError
from mdm_lab.training.devices import mean_over_processes, rank_and_world

MOMENTS = ("exp_avg", "exp_avg_sq")


class Checkpoint:
    """The file of a run, and all that goes into it: None as `path` keeps nothing.

    run, optimiser, meter       the state: weights, average and history; moments; sums since the
                                last report. The number of the step is in `run`
    recipe, objective, first    which run it is: `first` is its first batch, which tells apart
                                data, seeds and objectives that have one name
    """

    def __init__(self, path, run, optimiser, meter, recipe, objective, first):
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.is_dir():
            raise ValueError(f"checkpoint must be a file; {path} is a folder")
        self.run, self.optimiser, self.meter = run, optimiser, meter
        self.about = {
            "shape": dataclasses.asdict(run.network.shape),
            "recipe": {**dataclasses.asdict(recipe), "betas": list(recipe.betas)},
            "objective": getattr(objective, "__name__", type(objective).__name__),
            "first batch": _digest(first),
        }

    def standing(self):
        """A sentence on what a run that failed can be taken up from."""
        if self.path is not None and self.path.is_file():
            return f"The last good checkpoint is {self.path}"
        return "There is no checkpoint"

    def write(self):
        """Keep the state, from the first process."""
        if self.path is None or rank_and_world()[0] > 0:
            return
        tensors = {"sums": self.meter.sums}
        for name, weight in self.run.network.named_parameters():
            tensors[f"network.{name}"] = weight
            for moment in MOMENTS:
                tensors[f"{moment}.{name}"] = self.optimiser.state[weight][moment]
        for name, weight in self.run.average.named_parameters():
            tensors[f"average.{name}"] = weight
        state = {"step": self.run.step, "history": self.run.history, "summed": self.meter.steps}
        checkpoints.write(self.path, tensors, {**self.about, **state})

    def resume(self):
        """Take up the state if there is a file; raises CheckpointError if it is of another run."""
        if self.path is not None and self.path.is_file():
            self._restore(*checkpoints.read(self.path))
        step = torch.tensor(
            float(self.run.step), dtype=torch.float64, device=self.meter.sums.device
        )
        if float(mean_over_processes(step)) != self.run.step:
            raise CheckpointError(
                f"the processes found different files {self.path}: put it on a disk that they share"
            )

    def _restore(self, tensors, found):
        for key, value in self.about.items():
            if found.get(key) != value:
                raise CheckpointError(
                    f"{self.path} is of another run, {_difference(key, found.get(key), value)}: "
                    "remove it, name another file, or ask for the same"
                )
        run, path = self.run, self.path
        checkpoints.restore(run.network, _named("network", tensors), path)
        checkpoints.restore(run.average, _named("average", tensors), path)
        moments = {moment: _named(moment, tensors) for moment in MOMENTS}
        run.step, run.history = found["step"], found["history"]
        self.meter.restore(tensors["sums"], found["summed"])
        for name, weight in run.network.named_parameters():
            state = {moment: moments[moment][name].to(weight.device) for moment in MOMENTS}
            count = torch.tensor(float(run.step), device=weight.device)
            self.optimiser.state[weight] = {"step": count, **state}


def _difference(key, found, asked):
    """What differs, in words."""
    if key == "first batch":
        return "its data, or the masks drawn on them, are others"
    if isinstance(found, dict) and isinstance(asked, dict):
        names = [n for n in sorted(found.keys() | asked.keys()) if found.get(n) != asked.get(n)]
        parts = [f"{n} is {found.get(n)!r} there and {asked.get(n)!r} here" for n in names]
        return f"its {key} differs: {', '.join(parts)}"
    return f"its {key} is {found!r} there and {asked!r} here"


def _digest(batch):
    digest = hashlib.sha256()
    for part in (batch.inputs, batch.targets, batch.weights.float()):  # double may differ by a bit
        digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
        digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _named(prefix, tensors):
    """The tensors whose name begins with `prefix`, by the rest of it."""
    begin = f"{prefix}."
    return {n.removeprefix(begin): t for n, t in tensors.items() if n.startswith(begin)}
