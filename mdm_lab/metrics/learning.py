"""Learning error: how far a model is from the exact conditional laws, nats at a position."""

import math
from dataclasses import dataclass

import torch

from mdm_lab.checks import check_reveal
from mdm_lab.denoisers import Oracle
from mdm_lab.forward import draw_times, mask_at, steps_from_times
from mdm_lab.metrics.estimates import Estimate, mean_estimate
from mdm_lab.metrics.rates import answer, true_samples
from mdm_lab.samplers.ancestral import by_turns
from mdm_lab.tensors import as_generator


@dataclass(frozen=True, repr=False)
class LearningError(Estimate):
    """Mean KL(q || p) at a predicted position, nats.

    worst       the largest one seen: a lower bound on the supremum
    impossible  the mean mass that p gives to tokens with q = 0: what leads a sampler off the
                support although the context is on it
    """

    worst: float
    impossible: Estimate


def learning_error(denoiser, lang, x0, alpha_t, generator, confidence=0.95):
    """Estimates E KL(q(x_0^i | xt) || p(x_0^i | xt)) over masked positions i, nats; x0 ~ q.

    xt is x0 masked at alpha_t < 1 (a number, or one for each row), each masked position of the
    batch weighing the same. With one number this is the expected error at a position, given that
    it is masked, when each other token is visible with chance alpha_t. The intervals are normal,
    for a ratio of means over sequences.
    """
    x0, _ = true_samples(lang, x0)
    xt = mask_at(x0, alpha_t, lang.mask_id, generator)
    masked = xt == lang.mask_id
    if not masked.any():
        raise ValueError("alpha_t left no token masked: take it lower, or more sequences")
    q = torch.as_tensor(lang.posterior(xt.cpu().numpy()), device=xt.device)
    p = answer(denoiser(xt), q.shape, "denoiser(xt)")
    return _compare(q, p, masked, confidence)


def autoregressive_learning_error(conditionals, lang, x0, confidence=0.95):
    """Estimates the mean over i of E KL(q(x^i | x^{<i}) || p(x^i | x^{<i})), nats; x0 ~ q.

    conditionals  x -> p(x^i | x^{<i}), float64 (num, length, V): `autoregressive.conditionals` of a
                  network
    By the chain rule this is KL(q || p) / L, hence the logarithm of TER(p) / TER(q): for an
    autoregressive model learning error is all there is.
    """
    x0, _ = true_samples(lang, x0)
    oracle = Oracle(lang)
    xt = torch.full_like(x0, lang.mask_id)
    rows = torch.arange(len(x0), device=x0.device)
    q = torch.empty((*x0.shape, lang.vocab_size), dtype=torch.float64, device=x0.device)
    for i in range(x0.shape[1]):
        q[:, i] = oracle.at(xt, rows, torch.full_like(rows, i))
        xt[:, i] = x0[:, i]
    p = answer(conditionals(x0), q.shape, "conditionals(x0)").to(x0.device)
    return _compare(q, p, torch.ones_like(x0, dtype=torch.bool), confidence)


@dataclass(frozen=True)
class Decomposition:
    """KL(q || p_sigma) of a sampler, taken apart; estimates in nats per token.

    excess = factorisation + learning, in expectation over texts and reveal orders:

    excess         log q(x) - log p_sigma(x), per token
    factorisation  the same for the exact denoiser: what revealing together costs
    learning       sum_i KL(q_i || p_i) in the contexts that the tokens are revealed in, per token
    impossible     the mass of p_i on impossible tokens, summed likewise
    """

    excess: Estimate
    factorisation: Estimate
    learning: Estimate
    impossible: Estimate


def teacher_forced_parts(denoiser, lang, x0, reveal, generator, confidence=0.95):
    """The `Decomposition` of a denoiser's sampler; x0 (num, length) are samples of `lang`.

    One order a text, the same for all four, and `teacher_forced_excess` of the same seed has it
    too. Of the learning part only contexts are sampled, not tokens: the divergence is exact in
    each.
    """
    x0, log_q = true_samples(lang, x0)
    times = draw_times(*x0.shape, as_generator(generator)).to(x0.device)
    steps = steps_from_times(times, check_reveal(reveal))
    oracle = Oracle(lang)
    xt = torch.full_like(x0, lang.mask_id)
    kl, mass, exact, model = torch.zeros((4, len(x0)), dtype=torch.float64, device=x0.device)
    for rows, positions in by_turns(steps, torch.ones_like(x0, dtype=torch.bool)):
        q = oracle.at(xt, rows, positions)
        p = answer(denoiser.at(xt, rows, positions), q.shape, "denoiser.at(xt, rows, positions)")
        tokens = x0[rows, positions][:, None]
        kl.index_add_(0, rows, _divergence(q, p))
        mass.index_add_(0, rows, _impossible(q, p))
        exact.index_add_(0, rows, q.gather(1, tokens)[:, 0].log())
        model.index_add_(0, rows, p.gather(1, tokens)[:, 0].log())
        xt[rows, positions] = x0[rows, positions]
    parts = (log_q - model, log_q - exact, kl, mass)
    return Decomposition(*(mean_estimate(part / x0.shape[1], confidence) for part in parts))


def _compare(q, p, where, confidence):
    """KL(q || p) and the mass of p where q = 0, over the places `where` (num, length)."""
    error = torch.zeros(where.shape, dtype=torch.float64, device=q.device)
    mass = torch.zeros_like(error)
    error[where] = _divergence(q[where], p[where])
    mass[where] = _impossible(q[where], p[where])
    estimate = _ratio(error, where, confidence)
    return LearningError(
        **vars(estimate), worst=float(error.max()), impossible=_ratio(mass, where, confidence)
    )


def _divergence(q, p):
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(dim=-1)


def _impossible(q, p):
    return torch.where(q == 0, p, 0.0).sum(dim=-1)


def _ratio(values, where, confidence):
    """The mean of `values` over the places, with an interval for a ratio over sequences."""
    count = where.sum(dim=1).double()
    ratio = float(values.sum() / count.sum())
    spread = mean_estimate((values.sum(dim=1) - ratio * count) / count.mean(), confidence)
    low, high = (ratio + spread.low, ratio + spread.high) if ratio < math.inf else (ratio, ratio)
    return Estimate(ratio, low, high, len(values), confidence)
