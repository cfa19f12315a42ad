r"""A draw that looks right and is not: the exponential race with float32 uniforms.

The index of the largest w_c / (-ln u_c), with independent uniforms u_c, is a draw from the law w:
-ln(u_c) / w_c are exponential clocks, and clock c rings first with probability w_c. In float32 the
uniforms are multiples of 2^-24, so no clock with weight w_c rings before 2^-24 / w_c. Drawn over
all tokens *and the mask* at once, a token of probability p is then revealed at

    x / (e^x - 1),    x = 2^-24 (1 - r) / (r p),    r the reveal probability,

times the rate of the kernel. `gumbel_race` is that draw, kept as a failing specimen and used by no
sampler here; `race_law` is its exact law, `race_rate` the closed form. What to use instead is in
`mdm_lab.reverse`. Chapter: book/frontier/numerics.
"""

import numpy as np
import torch

from mdm_lab.checks import check_positive_int, check_range
from mdm_lab.reverse import check_law, reverse_kernel
from mdm_lab.tensors import as_generator

FLOAT32_BITS = 24  # float32 uniforms in [0, 1) are the multiples of 2^-24
FLOAT64_BITS = 53
GUARD = 1e-10  # what is added against log(0) and division by 0, twice


def gumbel_race(probs, generator, bits=None):
    """A draw from each law on the last axis of `probs` by the race; int64, without that axis.

    bits=None draws and computes in float32, as programs do that were never told otherwise.
    Otherwise the uniforms are the multiples of 2^-bits, 1 to 53, and the rest is float64: the same
    trap on a coarser lattice, or with 53 the float64 race, in which it is out of reach.
    """
    probs, generator = check_law(probs), as_generator(generator)
    options = {"generator": generator, "device": generator.device}
    if bits is None:
        u = torch.rand(probs.shape, dtype=torch.float32, **options)
    else:
        points = 2 ** _check_bits(bits, FLOAT64_BITS)
        u = torch.randint(points, probs.shape, **options).double() / points
    return _scores(probs.to(u.dtype), u.to(probs.device)).argmax(dim=-1)


def step_race(xt, probs, reveal, generator, bits=None):
    """`reverse.step_one_stage` with the race in place of the inverse CDF: not its law."""
    return gumbel_race(reverse_kernel(xt, probs, reveal), generator, bits)


def race_law(probs, bits=None):
    """The law of `gumbel_race`, by counting: float64, the shape of `probs` (..., n).

    Candidate i with uniform u wins with probability prod_c #{u' : score_c(u') < score_i(u)} / M
    over the M lattice points u', where equal scores count too for c > i, since argmax takes the
    first (prop-race-law). Time n^2 M log M, memory n M, for each law: bits is at most 24.
    bits=None does the arithmetic in float32, on all 2^24 uniforms.
    """
    probs = check_law(probs)
    points = 2 ** (FLOAT32_BITS if bits is None else _check_bits(bits, FLOAT32_BITS))
    dtype = torch.float32 if bits is None else torch.float64
    u = torch.arange(points, dtype=dtype, device=probs.device) / points
    scores = _scores(probs.to(dtype)[..., None], u)
    if (scores.diff(dim=-1) < 0).any():  # a rounded logarithm need not rise
        scores = scores.sort(dim=-1).values
    law = torch.empty_like(probs)
    for i in range(probs.shape[-1]):
        mine = scores[..., i, :].contiguous()
        wins = torch.ones_like(mine, dtype=torch.float64)
        for c in range(probs.shape[-1]):
            if c != i:
                other = scores[..., c, :].contiguous()
                wins *= torch.searchsorted(other, mine, right=c > i) / points
        law[..., i] = wins.mean(dim=-1)
    return law


def race_rate(p, reveal, bits=FLOAT32_BITS):
    """How often a token of probability p is revealed in a step, over the kernel's reveal * p.

    x / (e^x - 1) with x = 2^-bits (1 - reveal) / (reveal p): thm-race-rate bounds its error. p and
    reveal in [0, 1], scalars or arrays that broadcast: float64 array, 0 where p or reveal is 0.
    """
    p, reveal = check_range(p, "p", 0, 1), check_range(reveal, "reveal", 0, 1)
    weight = reveal * p
    lattice = 2.0 ** -_check_bits(bits, FLOAT64_BITS) * (1 - reveal)
    x = np.divide(lattice, weight, out=np.full(weight.shape, np.inf), where=weight > 0)
    inside = (x > 0) & (x < 700)  # beyond, the rate is below 1e-300
    return np.divide(x, np.expm1(np.minimum(x, 700)), out=np.asarray(x == 0, float), where=inside)


def _scores(weights, u):
    return weights / (GUARD - torch.log(u + GUARD))


def _check_bits(bits, most):
    if check_positive_int(bits, "bits") > most:
        raise ValueError(f"bits must be at most {most}; got {bits}")
    return bits
