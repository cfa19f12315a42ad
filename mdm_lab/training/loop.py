"""The training loop: AdamW on a weighted cross-entropy; a checkpoint holds all it remembers."""

import copy
import math
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.nn.parallel import DistributedDataParallel

from mdm_lab.objectives.batches import sequence_loss
from mdm_lab.tensors import token_tensor
from mdm_lab.training.devices import autocast, best_device, mean_over_processes, rank_and_world
from mdm_lab.training.recipe import seed_of
from mdm_lab.training.resuming import Checkpoint

MASKS, VALIDATION = 1, 2  # what a seed is for


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

    Going on from a checkpoint on the same device gives what one run would have given, bit for bit,
    wherever the interruption was (thm-resume). Within `distributed()` each process takes its share
    of every batch, and the first one writes.
    The first interruption ends the run after the step under way, with KeyboardInterrupt; a second
    one does not wait for it.
    Raises Diverged when the loss is no number, CheckpointError if `checkpoint` is not of this run,
    OSError if it cannot be written.
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
    optimiser.zero_grad(set_to_none=True)  # of whatever the network was used for before
    meter = _Meter(device)

    def batch_of(step):
        x0 = data(step, recipe.batch_size)
        if len(x0) != recipe.batch_size:
            raise ValueError(f"data must give batch_size = {recipe.batch_size} rows: got {len(x0)}")
        return objective(x0, network.mask_id, seed_of(recipe.seed, MASKS, step))

    kept = Checkpoint(checkpoint, run, optimiser, meter, recipe, objective, batch_of(0))
    kept.resume()
    forward = torch.compile(network) if recipe.compile else network
    forward = DistributedDataParallel(forward) if world > 1 else forward
    report = report or (lambda line: print(line, file=sys.stderr, flush=True))
    share = slice(rank * recipe.batch_size // world, (rank + 1) * recipe.batch_size // world)
    with _stopping(world) as stop:
        while run.step < recipe.steps:
            batch = batch_of(run.step)
            tokens = batch.targets.numel()
            batch = batch.rows(share).to(device)
            with autocast(device, recipe.precision):
                logits = forward(batch.inputs)
            loss = sequence_loss(logits, batch).mean() / batch.targets.shape[1]
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            _update(run, optimiser, recipe)
            meter.add(loss.detach(), norm, tokens)
            done, stopped = run.step == recipe.steps, stop.is_set()  # asked once: it may come later
            keeps = done or stopped or _due(run.step, recipe.checkpoint_every)
            validates = validation is not None and (done or _due(run.step, recipe.validate_every))
            reports = done or validates or _due(run.step, recipe.report_every)
            if keeps or reports:
                _check_finite(run, meter, kept)
            if reports:
                record = {"step": run.step, **meter.read(), "validation": None}
                if validates:
                    held_out = validation_loss(run.average, objective, validation, recipe)
                    record["validation"] = held_out
                run.history.append(record)
                if rank == 0:
                    report(_line(record, recipe.steps))
            if keeps:
                kept.write()
            if stopped:
                break
        if stop.is_set():
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
            rows = batch.rows(slice(begin, begin + batch_size)).to(device)
            total += float(sequence_loss(network(rows.inputs), rows).double().sum())
    return total / x0.numel()


def _update(run, optimiser, recipe):
    """A step of AdamW (eq-adamw), and of the average (eq-ema)."""
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate(run.step)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        pair = list(run.average.parameters()), list(run.network.parameters())
        torch._foreach_lerp_(*pair, 1 - recipe.decay(run.step))
    run.step += 1


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
        self.steps = 0
        self._clock()

    def _clock(self):
        self.tokens, self.start = 0, time.perf_counter()

    def add(self, loss, norm, tokens):
        self.sums += torch.stack([loss, norm])
        self.steps += 1
        self.tokens += tokens

    def means(self):
        """(loss, gradient norm) since the last report, over all processes, which all must ask."""
        return (mean_over_processes(self.sums) / self.steps).tolist()

    def restore(self, sums, steps):
        """Go on from the sums of a checkpoint; the clock is not among them."""
        self.sums.copy_(sums)
        self.steps = steps
        self._clock()

    def read(self):
        """What a record says of the time since the last report; begins anew."""
        loss, norm = self.means()
        speed = self.tokens / (time.perf_counter() - self.start)
        self._begin()
        return {"loss": loss, "gradient_norm": norm, "tokens_per_second": speed}


def _check_finite(run, meter, kept):
    """Raise Diverged unless loss, gradients and weights are numbers, before anything is kept."""
    loss, norm = meter.means()
    weights = all(bool(weight.isfinite().all()) for weight in run.network.parameters())
    if not (weights and math.isfinite(loss) and math.isfinite(norm)):
        raise Diverged(
            f"the loss or a weight was no number within the steps up to {run.step} (mean loss "
            f"{loss}): lower the learning_rate or clip harder. {kept.standing()}"
        )


def _line(record, steps):
    line = f"step {record['step']}/{steps}  loss {record['loss']:.4f} nats/token"
    if record["validation"] is not None:
        line += f"  held out {record['validation']:.4f}"
    return f"{line}  {record['tokens_per_second']:,.0f} tokens/s"


@contextmanager
def _stopping(world):
    """An event that Ctrl-C and SIGTERM set, so that the step under way is finished and kept.

    A second signal does what it always does. Only where signals reach: the main thread. Of several
    processes one would go a step further than another, so there the first signal does what it
    always does, too, and the last interval is lost.
    """
    stop = threading.Event()
    if world > 1 or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def on_signal(*_):
        stop.set()
        restore()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
