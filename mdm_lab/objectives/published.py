r"""Losses of the literature, each in its own terms, as functions of one batch.

    probs (num, length, V)    p(x_0^i | x_t) from a denoiser
    x0, xt (num, length)      the text, and the text masked at the times t
    t (num,), schedule        times in (0, 1), and alpha_t (`schedules`)

All answer nats for each sequence, float64 (num,). With the linear schedule `sedd`, `mdlm`, `md4`,
`radd_lambda` and `llada` are one number (prop-five-papers); `radd_t` differs from it by a constant
that has mean zero. Chapter: book/masked-diffusion/objective.
"""

import torch

from mdm_lab.checks import check_range
from mdm_lab.denoisers import carry_over


def sedd(probs, x0, xt, t, schedule):
    """Lou, Meng and Ermon: score entropy with its constant, for the absorbing process.

    The noise is sigma(t) = -alpha'/alpha, its integral sigma_bar = -log alpha; the score
    s = e^{-sigma_bar} / (1 - e^{-sigma_bar}) p stands for q_t(y) / q_t(x_t), y with one mask less.
    """
    alpha, rate = _noise(t, schedule, probs.device)
    true = _odds(alpha)  # q(y | x0) / q(xt | x0) for the y that agrees with x0; 0 for every other
    score = true[..., None] * probs
    constant = true * (true.log() - 1)  # K(a) = a (log a - 1), and K(0) = 0
    entropy = score.sum(dim=-1) - true * _at(score, x0).log() + constant
    return _over_masks(rate * entropy, probs, xt)


def mdlm(probs, x0, xt, t, schedule):
    """Sahoo et al.: alpha'/(1 - alpha) sum over *all* tokens of log <x_theta, x>.

    Visible tokens are carried over, so that their logarithm is 0.
    """
    weight = torch.as_tensor(schedule.weight(_times(t)), device=probs.device)
    carried = carry_over(xt, probs, probs.shape[-1])
    return -weight * _at(carried, x0).log().sum(dim=-1)


def md4(probs, x0, xt, t, schedule):
    """Shi et al.: alpha'/(1 - alpha) sum over the masked tokens of x_0^T log mu."""
    weight = torch.as_tensor(schedule.weight(_times(t)), device=probs.device)
    return -weight * _over_masks(_at(probs, x0).log(), probs, xt)


def radd_t(probs, x0, xt, t, schedule):
    """Ou et al., t-DCE: sigma e^{-sigma_bar}/(1 - e^{-sigma_bar}) (-log of the score) on masks."""
    alpha, rate = _noise(t, schedule, probs.device)
    odds = _odds(alpha)
    return _over_masks(-rate * odds * (odds * _at(probs, x0)).log(), probs, xt)


def radd_lambda(probs, x0, xt, t, schedule):
    """Ou et al., lambda-DCE: (1 / lambda) sum over masks of -log q, lambda = 1 - alpha_t uniform.

    With another schedule than the linear lambda is not uniform; times -alpha' it is `mdlm` again.
    """
    masked = 1 - torch.as_tensor(schedule.alpha(_times(t)), device=probs.device)
    return _over_masks(-_at(probs, x0).log(), probs, xt) / masked


def llada(probs, x0, xt, t, schedule=None):
    """Nie et al.: (1 / t) sum over masks of -log p, each token masked with probability t."""
    t = torch.as_tensor(_times(t), device=probs.device)
    return _over_masks(-_at(probs, x0).log(), probs, xt) / t


def _times(t):
    t = check_range(torch.as_tensor(t).cpu().numpy(), "t", 0, 1)
    if ((t == 0) | (t == 1)).any():
        raise ValueError("t must lie strictly between 0 and 1, where every one of these is finite")
    return t


def _noise(t, schedule, device):
    """alpha_t and sigma(t) = -alpha'/alpha, each (num, 1)."""
    t = _times(t)
    alpha = torch.as_tensor(schedule.alpha(t), device=device)[:, None]
    return alpha, -torch.as_tensor(schedule.dalpha(t), device=device)[:, None] / alpha


def _odds(alpha):
    return alpha / (1 - alpha)  # e^{-sigma_bar} / (1 - e^{-sigma_bar})


def _at(probs, x0):
    return probs.gather(-1, x0[..., None])[..., 0]


def _over_masks(values, probs, xt):
    return torch.where(xt == probs.shape[-1], values, 0.0).sum(dim=-1)
