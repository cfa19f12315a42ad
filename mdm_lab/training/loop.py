"""The training loop: AdamW on a weighted cross-entropy, nothing that depends on what came before
except weights, optimiser and the number of the step."""

import copy
import dataclasses
import math
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from mdm_lab.objectives.batches import Batch, sequence_loss
from mdm_lab.tensors import token_tensor
from mdm_lab.training import checkpoints
from mdm_lab.training.devices import autocast, best_device, mean_over_processes, rank_and_world
from mdm_lab.training.recipe import seed_of

MASKS, VALIDATION = 1, 2  # what a seed is for
MOMENTS = ("exp_avg", "exp_avg_sq")


class Diverged(ArithmeticError):
    """The loss is not a number any more; the last good checkpoint stands."""


@dataclass
class Trained:
    """What a run leaves: the network, the moving average of its weights, and its history.

    step     updates made
    history  a dict for each report: step, loss (nats per token, the mean since the report before),
             gradient_norm (before clipping, likewise), tokens_per_second, validation (nats per
             token, of the average; None where it was not asked for)
    """

    network: torch.nn.Module
    average: torch.nn.Module
    step: int = 0
    history: list = field(default_factory=list)


def train(
    network,
    objective,
    data,
    recipe,
    *,
    validation=None,
    checkpoint=None,
    device=None,
    report=None,
):
    """Train `network`, in place, and return it with its average and history (`Trained`).

    objective   (x0, mask_id, generator) -> objectives.Batch: one of `mdm_lab.objectives`
    data        (step, batch_size) -> x0, int64 (batch_size, length)
    validation  x0 (num, length), held out: what the average loses on it, the masks always the same
    checkpoint  a file, written every `checkpoint_every` steps, at the end and on an interruption
                (Ctrl-C, SIGTERM); when it is there already the run goes on from it
    device      default: the GPU if there is one
    report      takes a line of progress; default: standard error

    Within `distributed()` each process takes its share of every batch, and the first one writes.
    Raises Diverged when the loss is no number, CheckpointError if `checkpoint` is not of this run.
    """
    device = torch.device(device or best_device())
    rank, world = rank_and_world()
    if recipe.batch_size % world:
        raise ValueError(f"batch_size must be a multiple of the {world} processes")
    network.to(device).train()
    run = Trained(network, copy.deepcopy(network).eval())
    optimiser = torch.optim.AdamW(
        network.parameters(), 0.0, recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    about = _about(network, objective, recipe)
    if checkpoint is not None and Path(checkpoint).is_file():
        _resume(run, optimiser, checkpoint, about)
    forward = torch.compile(network) if recipe.compile else network
    forward = DistributedDataParallel(forward) if world > 1 else forward
    report = report or (lambda line: print(line, file=sys.stderr, flush=True))
    share = slice(rank * recipe.batch_size // world, (rank + 1) * recipe.batch_size // world)
    meter = _Meter(device)
    with _stopping(world) as stop:
        while run.step < recipe.steps:
            x0 = data(run.step, recipe.batch_size)
            batch = objective(x0, network.mask_id, seed_of(recipe.seed, MASKS, run.step))
            batch = _rows(batch, share, device)
            with autocast(device, recipe.precision):
                logits = forward(batch.inputs)
            loss = sequence_loss(logits, batch).mean() / x0.shape[1]
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            _update(run, optimiser, recipe)
            meter.add(loss.detach(), norm, x0.numel())
            last = run.step == recipe.steps or stop.is_set()
            keeps = last or _due(run.step, recipe.checkpoint_every)
            if keeps or _due(run.step, recipe.report_every):
                record = _record(run, meter, checkpoint)
                if validation is not None and (last or _due(run.step, recipe.validate_every)):
                    record["validation"] = validation_loss(
                        run.average, objective, validation, recipe
                    )
                if rank == 0:
                    report(_line(record, recipe.steps))
            if keeps and checkpoint is not None and rank == 0:
                checkpoints.write(checkpoint, *_contents(run, optimiser, about))
            if stop.is_set() and run.step < recipe.steps:
                raise KeyboardInterrupt(f"stopped after step {run.step} of {recipe.steps}")
    return run


def validation_loss(network, objective, x0, recipe, batch_size=256):
    """The objective on x0 (num, length) without gradients, nats per token, always the same masks.

    `recipe` says the seed of the masks and the precision: those of training.
    """
    device = next(network.parameters()).device
    x0 = token_tensor(x0, network.vocab_size, "x0")
    batch = objective(x0, network.mask_id, seed_of(recipe.seed, VALIDATION))
    total = 0.0
    with torch.no_grad(), autocast(device, recipe.precision):
        for begin in range(0, len(x0), batch_size):
            rows = _rows(batch, slice(begin, begin + batch_size), device)
            total += float(sequence_loss(network(rows.inputs), rows).double().sum())
    return total / x0.numel()


def _update(run, optimiser, recipe):
    """A step of AdamW, and of the average."""
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate(run.step)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        pair = list(run.average.parameters()), list(run.network.parameters())
        torch._foreach_lerp_(*pair, 1 - recipe.decay(run.step))
    run.step += 1


def _rows(batch, rows, device):
    """The rows of a batch, on the device."""
    parts = (batch.inputs, batch.targets, batch.weights)
    return Batch(*(part[rows].to(device, non_blocking=True) for part in parts))


def _due(step, every):
    return every > 0 and step % every == 0


class _Meter:
    """Sums of what happened since the last report, on the device: asking for them every step would
    make a GPU wait."""

    def __init__(self, device):
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._begin()

    def _begin(self):
        self.sums.zero_()
        self.steps, self.tokens, self.start = 0, 0, time.perf_counter()

    def add(self, loss, norm, tokens):
        self.sums += torch.stack([loss, norm])
        self.steps += 1
        self.tokens += tokens

    def read(self):
        """(loss, gradient norm, tokens per second) since the last call."""
        loss, norm = (mean_over_processes(self.sums) / self.steps).tolist()
        speed = self.tokens / (time.perf_counter() - self.start)
        self._begin()
        return loss, norm, speed


def _record(run, meter, checkpoint):
    """Read the meter into the history; raises Diverged on what is no number."""
    loss, norm, speed = meter.read()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        stands = checkpoint is not None and Path(checkpoint).is_file()
        raise Diverged(
            f"the loss was no number within the steps up to {run.step} (mean {loss}): lower the "
            "learning_rate or clip harder. "
            + (f"The last good checkpoint is {checkpoint}" if stands else "There is no checkpoint")
        )
    record = {"step": run.step, "loss": loss, "gradient_norm": norm, "tokens_per_second": speed}
    run.history.append({**record, "validation": None})
    return run.history[-1]


def _line(record, steps):
    line = f"step {record['step']}/{steps}  loss {record['loss']:.4f} nats/token"
    if record["validation"] is not None:
        line += f"  held out {record['validation']:.4f}"
    return f"{line}  {record['tokens_per_second']:,.0f} tokens/s"


def _about(network, objective, recipe):
    """What a checkpoint must share with the run that goes on from it."""
    return {
        "shape": dataclasses.asdict(network.shape),
        "recipe": {**dataclasses.asdict(recipe), "betas": list(recipe.betas)},
        "objective": getattr(objective, "__name__", type(objective).__name__),
    }


def _contents(run, optimiser, about):
    """(tensors, about) of a checkpoint."""
    tensors = {}
    for name, weight in run.network.named_parameters():
        tensors[f"network.{name}"] = weight
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = optimiser.state[weight][moment]
    for name, weight in run.average.named_parameters():
        tensors[f"average.{name}"] = weight
    return tensors, {**about, "step": run.step, "history": run.history}


def _resume(run, optimiser, path, about):
    """Go on from a checkpoint: weights, average, moments, step and history."""
    tensors, found = checkpoints.read(path)
    for key, value in about.items():
        if found.get(key) != value:
            raise checkpoints.CheckpointError(
                f"{path} is of another run, its {key} is {found.get(key)}: remove it, name another "
                f"file, or ask for the same {key}; this run has {value}"
            )
    checkpoints.restore(run.network, _named("network", tensors), path)
    checkpoints.restore(run.average, _named("average", tensors), path)
    moments = {moment: _named(moment, tensors) for moment in MOMENTS}
    run.step, run.history = found["step"], found["history"]
    for name, weight in run.network.named_parameters():
        state = {moment: moments[moment][name].to(weight.device) for moment in MOMENTS}
        optimiser.state[weight] = {
            "step": torch.tensor(float(run.step), device=weight.device),
            **state,
        }


def _named(prefix, tensors):
    """The tensors whose name begins with `prefix`, by the rest of it."""
    begin = f"{prefix}."
    return {n.removeprefix(begin): t for n, t in tensors.items() if n.startswith(begin)}


@contextmanager
def _stopping(world):
    """An event that Ctrl-C and SIGTERM set, so that the step under way is finished and kept.

    Only where signals reach: the main thread. Of several processes one would go a step further
    than another, so there the signal does what it always does, and the last interval is lost.
    """
    stop = threading.Event()
    if world > 1 or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
