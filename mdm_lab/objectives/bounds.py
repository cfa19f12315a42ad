r"""The bounds themselves, by enumeration of all 2^L ways of masking a text.

Everything follows from c_k, the mean of -log p(x_0^i | x_t) at a masked place when exactly k
places are masked (`loss_by_count`):

    any order          sum_k c_k
    continuous time    the same, whatever the schedule
    N steps            sum_j w_j F(u_j)    with    F(u) = L sum_k P(k - 1 of the others masked) c_k

F is a polynomial with the integral sum_k c_k (`loss_curve`), and the N steps are a left Riemann sum
of it. All in nats per sequence; x0 (num, length) are texts, a result has one value for each.
"""

from math import comb

import numpy as np
import torch

from mdm_lab.checks import check_range
from mdm_lab.schedules import revealed_fractions, widths
from mdm_lab.tensors import token_tensor

MAX_LENGTH = 16  # 2^16 calls of the denoiser


def any_order_bound(denoiser, x0):
    """E[-log p_sigma(x0)] over uniformly random orders, one token at a time: float64 (num,).

    It is the expectation of `exact_count` and `continuous_time` (thm-any-order).
    """
    return loss_by_count(denoiser, x0).sum(dim=1)


def discrete_bound(denoiser, x0, reveal):
    """E[-log p_sigma(x0)] of the sampler with the reveal list `reveal`: float64 (num,).

    The bound in N steps (thm-n-steps); for the exact denoiser it exceeds `any_order_bound` by the
    factorisation error, on average over texts.
    """
    curve = loss_curve(loss_by_count(denoiser, x0), revealed_fractions(reveal))
    return _dot(curve, torch.as_tensor(widths(reveal), device=curve.device))


def loss_by_count(denoiser, x0):
    """c_1 .. c_L: float64 (num, length). 2^length - 1 calls of the denoiser, length <= 16."""
    x0 = _texts(denoiser, x0)
    num, length = x0.shape
    total = torch.zeros((num, length), dtype=torch.float64, device=x0.device)
    for visible in range(2**length - 1):
        p, masked = _at_text(denoiser, x0, visible)
        count = int(masked.sum())
        total[:, count - 1] -= p[:, masked].log().mean(dim=1) / comb(length, count)
    return total


def loss_curve(by_count, u):
    """F at each u in [0, 1], given `loss_by_count` (num, length): float64 (num, len(u)).

    F(u) is sum_i E[-log p(x^i | each other token visible with chance u)].
    """
    u = check_range(u, "u", 0, 1)
    if u.ndim != 1:
        raise ValueError(f"u must be a list of numbers; got shape {u.shape}")
    length = by_count.shape[1]
    k = np.arange(1, length + 1)
    ways = length * np.array([comb(length - 1, j - 1) for j in k], dtype=np.float64)
    weights = ways * (1 - u[:, None]) ** (k - 1) * u[:, None] ** (length - k)
    weights = torch.as_tensor(weights, device=by_count.device)
    return _dot(by_count[:, None, :], weights)


def random_order_log_prob(denoiser, x0):
    """log p(x0) of the sampler that reveals one token at a time in random order: float64 (num,).

    The mean of p_sigma over all length! orders, by recursion over the 2^length visible sets. It is
    at least -`any_order_bound`, by Jensen's inequality. length <= 16.
    """
    x0 = _texts(denoiser, x0)
    num, length = x0.shape
    reached = torch.zeros((2**length, num), dtype=torch.float64, device=x0.device)
    reached[0] = 1
    for visible in range(2**length - 1):
        p, masked = _at_text(denoiser, x0, visible)
        places = masked.nonzero()[:, 0].tolist()
        for i in places:
            reached[visible | 1 << i] += reached[visible] * p[:, i] / len(places)
    return reached[-1].log()


def _texts(denoiser, x0):
    x0 = token_tensor(x0, denoiser.vocab_size, "x0")
    if not 1 <= x0.shape[1] <= MAX_LENGTH:
        raise ValueError(
            f"x0 must have a length in 1..{MAX_LENGTH}, as all 2^length masks are enumerated: "
            f"got {x0.shape[1]}; take the mean of batch_loss over batches of exact_count instead"
        )
    return x0


def _at_text(denoiser, x0, visible):
    """p(x0^i | xt) (num, length) where the bits of `visible` say what is visible; masked (length,).

    Meaningful at masked places.
    """
    bits = torch.arange(x0.shape[1], device=x0.device)
    masked = (visible >> bits) & 1 == 0
    p = denoiser(torch.where(masked, denoiser.mask_id, x0))
    return p.gather(-1, x0[..., None])[..., 0], masked


def _dot(values, weights):
    """The sum over the last axis of values times weights >= 0; a weight of 0 silences infinity."""
    return torch.where(weights > 0, values * weights, 0.0).sum(dim=-1)
