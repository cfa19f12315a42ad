"""Token and sequence error rates of a sampler or a model, by sampling."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from mdm_lab.checks import check_positive_int, check_reveal
from mdm_lab.forward import draw_times, steps_from_times
from mdm_lab.metrics.estimates import Estimate, clopper_pearson, exp_estimate, mean_estimate
from mdm_lab.reverse import check_law
from mdm_lab.samplers.ancestral import by_turns, check_steps
from mdm_lab.tensors import as_generator, token_tensor


@dataclass(frozen=True, repr=False)
class GenerativeTokenErrorRate(Estimate):
    """exp(E_p[-log q] / L), infinite once a sample is off the support of q.

    off_support  the share of samples with q(x) = 0, that is the sequence error rate
    on_support   the same rate among the other samples; None if fewer than 2 are left
    """

    off_support: Estimate
    on_support: Estimate | None


def sequence_error_rate(lang, x, confidence=0.95):
    """The share of rows of x with q(x) = 0; x (num, length), num >= 1.

    The interval is Clopper and Pearson's, of coverage at least `confidence`.
    """
    log_prob = lang.log_prob(torch.as_tensor(x).cpu().numpy())
    if len(log_prob) == 0:
        raise ValueError("x must hold at least one sequence")
    wrong, num = int(np.isneginf(log_prob).sum()), len(log_prob)
    return Estimate(wrong / num, *clopper_pearson(wrong, num, confidence), num, confidence)


def token_error_rate_forward(denoiser, lang, x0, reveal, generator, orders=1, confidence=0.95):
    r"""Estimates exp(E[-log (1/K) sum_{k=1}^K p_{sigma_k}(x)] / L), K = `orders`, x ~ q.

    x0 (num, length) are samples of `lang`; sigma_1, ..., sigma_K assign a step to each token,
    drawn anew for each sequence as the sampler does; p_sigma(x) is the probability that the
    sampler writes x given sigma. As the sampler's own law is p(x) = E_sigma p_sigma(x), the
    quantity is at least exp(E_q[-log p(x)] / L) by Jensen's inequality. It falls as K grows and
    tends to it. K = 1 is the teacher-forced bound. It is this quantity for this K that the
    interval is about: normal, over sequences, on the logarithm.
    Infinite (low and high too) if p_sigma(x) = 0 for a true x.
    """
    orders = check_positive_int(orders, "orders")
    generator = as_generator(generator)
    x0, _ = true_samples(lang, x0)
    draws = [_random_order_log_prob(denoiser, x0, reveal, generator) for _ in range(orders)]
    log_prob = torch.logsumexp(torch.stack(draws), dim=0) - math.log(orders)
    return exp_estimate(mean_estimate(-log_prob / x0.shape[1], confidence))


def teacher_forced_excess(denoiser, lang, x0, reveal, generator, confidence=0.95):
    """Estimates E[log q(x) - log p_sigma(x)] / L, nats per token, x ~ q (samples x0 of `lang`).

    This is E_sigma KL(q || p_sigma) / L, the factorisation error plus the learning error, and
    the logarithm of the K = 1 token error rate over that of q. Where the excess is small this is
    far less noisy than the rate, because log q(x) and log p_sigma(x) then move together.
    """
    generator = as_generator(generator)
    x0, log_q = true_samples(lang, x0)
    log_prob = _random_order_log_prob(denoiser, x0, reveal, generator)
    return mean_estimate((log_q - log_prob) / x0.shape[1], confidence)


def teacher_forced_log_prob(denoiser, x0, steps):
    """log p_sigma(x), nats: the chance that the sampler writes x0 given the step of each token.

    The sum over positions of log p(x0^i | x0 with all tokens of the same or a later step masked).
    x0 (num, length); steps (length,) or (num, length), whole numbers. float64 (num,).
    """
    x0 = token_tensor(x0, denoiser.vocab_size, "x0")
    steps = check_steps(steps, len(x0), x0.device)
    if steps.shape != x0.shape:
        raise ValueError(f"steps must have the shape of x0, {tuple(x0.shape)}")
    xt = torch.full_like(x0, denoiser.mask_id)
    total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    for rows, positions in by_turns(steps, torch.ones_like(x0, dtype=torch.bool)):
        shape = (len(rows), denoiser.vocab_size)
        probs = answer(denoiser.at(xt, rows, positions), shape, "denoiser.at(xt, rows, positions)")
        tokens = x0[rows, positions]
        total.index_add_(0, rows, probs.gather(1, tokens[:, None])[:, 0].log())
        xt[rows, positions] = tokens
    return total


def token_error_rate_generative(lang, samples, confidence=0.95):
    """Estimates exp(E_p[-log q(x)] / L) from the sampler's own text, samples (num, length).

    Infinite, with certainty, as soon as one sample is off the support of q; so the share off the
    support and the rate on it are reported beside it. When no sample is off the support the
    interval says nothing about a part off the support too small to have been met.
    """
    samples = _texts(samples, lang, "samples")
    surprise = -_log_q(samples, lang) / samples.shape[1]
    within = surprise[torch.isfinite(surprise)]
    whole = exp_estimate(mean_estimate(surprise, confidence))
    return GenerativeTokenErrorRate(
        **vars(whole),
        off_support=sequence_error_rate(lang, samples, confidence),
        on_support=exp_estimate(mean_estimate(within, confidence)) if len(within) > 1 else None,
    )


def _random_order_log_prob(denoiser, x0, reveal, generator):
    times = draw_times(*x0.shape, generator).to(x0.device)
    return teacher_forced_log_prob(denoiser, x0, steps_from_times(times, check_reveal(reveal)))


def true_samples(lang, x0):
    """x0 as a tensor and its log q (num,); every row must be on the support."""
    x0 = _texts(x0, lang, "x0")
    log_q = _log_q(x0, lang)
    if torch.isneginf(log_q).any():
        raise ValueError("x0 must be samples of lang: some rows have probability 0")
    return x0, log_q


def answer(probs, shape, name):
    """What a model answered, as float64: laws of the shape (..., V) that was asked for."""
    probs = torch.as_tensor(probs)
    if probs.shape != shape:
        raise ValueError(
            f"{name} must answer with laws of shape {tuple(shape)}, the last axis over the tokens; "
            f"got {tuple(probs.shape)}"
        )
    return check_law(probs, f"the answer of {name}")


def _texts(x, lang, name):
    x = token_tensor(x, lang.vocab_size, name)
    if len(x) < 2:
        raise ValueError(f"{name} must hold at least 2 texts, or there is no interval")
    return x


def _log_q(x, lang):
    return torch.as_tensor(lang.log_prob(x.cpu().numpy()), device=x.device)
