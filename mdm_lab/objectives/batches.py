"""Masked texts with weights, drawn for training and for estimates."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mdm_lab.checks import check_positive_int
from mdm_lab.forward import mask_at, mask_exactly
from mdm_lab.schedules import Linear
from mdm_lab.tensors import as_generator, token_tensor, uniforms


@dataclass(frozen=True)
class Batch:
    """A weighted cross-entropy: inputs and targets int64, weights float64, all (num, length).

    The weight is 0 where nothing is to be predicted.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor

    def rows(self, index):
        """The batch of the rows `index` (a slice, or row numbers): a device's share of it."""
        return Batch(self.inputs[index], self.targets[index], self.weights[index])

    def to(self, device):
        """The batch on another device."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.weights.to(device))


def sequence_loss(logits, batch):
    """sum_i weight^i (-log softmax(logits)^i at the target): nats for each sequence, (num,).

    logits (num, length, V), in whatever precision; the sum is in float32, or in float64 if they
    are. The bound of a batch is the mean over its rows, that of a token this over the length.
    """
    if logits.shape[:-1] != batch.targets.shape:
        raise ValueError(
            f"logits must have shape {(*batch.targets.shape, 'V')}; got {tuple(logits.shape)}"
        )
    logits = logits if logits.dtype == torch.float64 else logits.float()
    nats = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    return _weighted(nats.view_as(batch.targets), batch.weights)


def batch_loss(denoiser, batch):
    """The same of a denoiser's probabilities: nats for each sequence, float64 (num,).

    For batches that say all to the denoiser in their masks: those of `exact_count` and
    `continuous_time`, not `autoregressive`.
    """
    p = denoiser(batch.inputs).gather(-1, batch.targets[..., None])[..., 0]
    return _weighted(-p.log(), batch.weights)


def exact_count(x0, mask_id, generator):
    """Exactly k tokens of each row masked, k uniform on 1..L over the rows; weight L / k on them.

    The k of a batch are stratified (`stratified`), so that few and many masks come in their share.
    """
    x0, generator = token_tensor(x0, mask_id, "x0"), as_generator(generator)
    num, length = x0.shape
    count = (stratified(num, generator) * length).long().to(x0.device) + 1
    xt = mask_exactly(x0, count, mask_id, generator)
    return _masked(x0, xt, (length / count.double())[:, None], mask_id)


def continuous_time(x0, mask_id, generator, schedule=None, low_discrepancy=True):
    """Each token masked by itself at t uniform on (0, 1]; weight -alpha'_t/(1-alpha_t) on masks.

    The schedule is linear unless another is given: then the weight is 1/t. `low_discrepancy` says
    whether the t of a batch are stratified or independent. A row without a mask has weight 0
    throughout; it must stay, or the estimate is of nothing.
    """
    x0, generator = token_tensor(x0, mask_id, "x0"), as_generator(generator)
    schedule = Linear() if schedule is None else schedule
    num = len(x0)
    draw = stratified(num, generator) if low_discrepancy else uniforms((num,), generator)
    t = 1 - draw.cpu().numpy()  # in (0, 1]: at t = 0 there is no mask, and the weight is infinite
    xt = mask_at(x0, schedule.alpha(t), mask_id, generator)
    with np.errstate(divide="ignore"):  # alpha may round to 1: then the row has no mask
        weight = torch.as_tensor(schedule.weight(t), device=x0.device)
    return _masked(x0, xt, weight[:, None], mask_id)


def autoregressive(x0, bos_id, generator=None):
    """Each token predicted from those before it: inputs shifted right behind `bos_id`, weights 1.

    `bos_id` is the first id after the tokens, the mask of the other objectives. Nothing is drawn:
    the loss is -log p(x_0) itself, and `generator` is there so that all are called alike.
    """
    x0 = token_tensor(x0, bos_id, "x0")
    first = torch.full_like(x0[:, :1], bos_id)
    inputs = torch.cat([first, x0[:, :-1]], dim=1)
    return Batch(inputs, x0, torch.ones_like(x0, dtype=torch.float64))


def stratified(num, generator):
    """`num` uniforms, one in each of [0, 1/num), [1/num, 2/num), ..., in random order: float64.

    Each of them by itself is uniform on [0, 1), so that a mean over a batch keeps its expectation.
    The strata are those of the whole batch: draw first, then share the rows among devices.
    """
    num, generator = check_positive_int(num, "num"), as_generator(generator)
    order = torch.randperm(num, generator=generator, device=generator.device)
    drawn = (order + uniforms((num,), generator)) / num
    return drawn.clamp(max=1 - 2.0**-53)  # a sum next to num rounds to it


def _masked(x0, xt, weight, mask_id):
    return Batch(xt, x0, torch.where(xt == mask_id, weight, 0.0))


def _weighted(nats, weights):
    """sum_i weights nats over the last axis; a weight of 0 silences an infinite loss."""
    return torch.where(weights > 0, weights.to(nats.dtype) * nats, 0.0).sum(dim=-1)
