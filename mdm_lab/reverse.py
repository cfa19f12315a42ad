r"""The reverse kernel: the one place where a step from x_t to x_s, s < t, is written.

    q(x_s^i | x_t) = 1                  x_t^i visible and x_s^i = x_t^i   (carry-over)
                     1 - r              x_t^i masked  and x_s^i masked
                     r p(x_0^i | x_t)   x_t^i masked  and x_s^i a token
                     0                  otherwise

with the reveal probability r = (alpha_s - alpha_t)/(1 - alpha_t) of `mdm_lab.schedules`, and
1 - r = (1 - alpha_s)/(1 - alpha_t). The positions of a step are drawn independently: with the true
p this has the right law for each position by itself, and for all of them together only as the step
shrinks to nothing. Chapter: book/masked-diffusion/reverse-process.

Shapes: xt (num, length) with mask_id = V; probs (num, length, V) from a denoiser.
"""

import torch

from mdm_lab.checks import TOLERANCE
from mdm_lab.tensors import as_generator, per_row, token_tensor, uniforms


def check_law(probs, name="probs"):
    """Return the tensor `probs` as float64, after checking that it is a law over the last axis."""
    probs = torch.as_tensor(probs).double()
    if probs.ndim == 0 or probs.shape[-1] == 0:
        raise ValueError(f"{name} must hold at least one probability on its last axis")
    total = probs.sum(dim=-1)
    if not (probs >= 0).all() or total.isinf().any():  # a nan is not >= 0
        raise ValueError(f"{name} must hold finite probabilities >= 0")
    if ((total - 1).abs() > TOLERANCE).any():
        raise ValueError(f"{name} must sum to 1 over its last axis: use a float64 softmax")
    return probs


def reverse_kernel(xt, probs, reveal):
    """The law of x_s^i at each position: float64 (num, length, V + 1), the mask last.

    `reveal` is r, one number or one for each row.
    """
    xt, probs = _check(xt, probs)
    r = per_row(reveal, len(xt), "reveal", xt.device)[:, :, None]
    moved = torch.cat([r * probs, (1 - r).expand(*xt.shape, 1)], dim=-1)
    carried = torch.nn.functional.one_hot(xt, probs.shape[-1] + 1).double()
    masked = xt == probs.shape[-1]
    return check_law(torch.where(masked[:, :, None], moved, carried), "the reverse kernel")


def step_one_stage(xt, probs, reveal, generator):
    """A draw of x_s: one categorical over the V tokens and the mask at each position."""
    return categorical(reverse_kernel(xt, probs, reveal), generator)


def step_two_stage(xt, probs, reveal, generator):
    """A draw of x_s: first *when* (reveal now, with probability r), then *what* (a token from p).

    The same law as `step_one_stage`.
    """
    xt, probs = _check(xt, probs)
    generator = as_generator(generator)
    r = per_row(reveal, len(xt), "reveal", xt.device)
    now = (uniforms(xt.shape, generator).to(xt.device) < r) & (xt == probs.shape[-1])
    xs = xt.clone()
    xs[now] = categorical(probs[now], generator)
    return xs


def categorical(probs, generator):
    """A draw from each law on the last axis of `probs`: int64, the shape without that axis."""
    return inverse_cdf(probs, uniforms(probs.shape[:-1], as_generator(generator)))


def inverse_cdf(probs, u):
    """The index that each uniform u in [0, 1) falls on, in the law on the last axis of `probs`.

    probs (..., V), u (...): int64 (...). The first index of positive probability whose cumulative
    sum exceeds u times the total. An index of probability 0 is never returned, whatever the
    rounding of the sums; everything is float64.
    """
    cdf = probs.double().cumsum(dim=-1)
    total = cdf[..., -1:]
    if not probs.shape[-1] or not (total > 0).all():
        raise ValueError("probs must have a positive probability in every law")
    # Entries below the total alone count: rounding can lift u * total to the total.
    return ((cdf <= u.to(cdf.device)[..., None] * total) & (cdf < total)).sum(dim=-1)


def _check(xt, probs):
    probs = check_law(probs)
    if probs.ndim != 3:
        raise ValueError(f"probs must have shape (num, length, V); got {tuple(probs.shape)}")
    xt = token_tensor(xt, probs.shape[-1], "xt", mask_allowed=True)
    if xt.shape != probs.shape[:2]:
        raise ValueError(f"xt {tuple(xt.shape)} and probs {tuple(probs.shape)} do not fit")
    return xt, probs
