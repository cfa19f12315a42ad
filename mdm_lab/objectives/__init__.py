r"""What a denoiser is trained on: bounds on -log p(x_0), as weighted cross-entropies.

An objective takes texts, the mask and a generator, and answers a `Batch`: what the network sees,
what it is to predict, and what a nat of each prediction weighs. The loss of a row,

    sum_i weight^i (-log p_theta(x_0^i | inputs)),

is an unbiased estimate of an upper bound on -log p(x_0), in nats per sequence. Training knows of
an objective nothing else, and evaluation uses the same.

    exact_count       exactly k of L tokens masked, k uniform on 1..L     weight L / k
    continuous_time   each token masked by itself, at a uniform time t    weight -alpha'/(1 - alpha)
    autoregressive    each token predicted from those before it           weight 1

The first two have one expectation, `any_order_bound`, which small worlds have exactly.
Chapter: book/masked-diffusion/objective.
"""

from mdm_lab.objectives.batches import (
    Batch,
    autoregressive,
    batch_loss,
    continuous_time,
    exact_count,
    sequence_loss,
    stratified,
)
from mdm_lab.objectives.bounds import (
    any_order_bound,
    discrete_bound,
    loss_by_count,
    loss_curve,
    random_order_log_prob,
)
from mdm_lab.objectives.published import llada, md4, mdlm, radd_lambda, radd_t, sedd

__all__ = [
    "Batch",
    "any_order_bound",
    "autoregressive",
    "batch_loss",
    "continuous_time",
    "discrete_bound",
    "exact_count",
    "llada",
    "loss_by_count",
    "loss_curve",
    "md4",
    "mdlm",
    "radd_lambda",
    "radd_t",
    "random_order_log_prob",
    "sedd",
    "sequence_loss",
    "stratified",
]
