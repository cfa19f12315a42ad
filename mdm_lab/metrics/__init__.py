"""Error rates against a language whose law q is known, each with an interval.

Three token error rates, which are three different numbers:

- `token_error_rate_forward`: true text under the model, exp(E_q[-log p(x)] / L). It is the TER of
  the literature (a perplexity), up to a bound: a sampler's p(x) is an average over all reveal
  orders, and what is drawn is the logarithm within that average.
- `token_error_rate_generative`: the model's text under the truth, exp(E_p[-log q(x)] / L).
- the exact TER of a sampler, by enumeration or recursion: `mdm_lab.exact`.

A token error rate has no unit: 2^(bits per token) = exp(nats per token).
The learning error of a denoiser or an autoregressive model is its distance from the exact
conditional laws, nats at a position. Chapter: book/laboratory/error-rates.
"""

from mdm_lab.metrics.estimates import Estimate, clopper_pearson
from mdm_lab.metrics.learning import (
    Decomposition,
    LearningError,
    autoregressive_learning_error,
    learning_error,
    teacher_forced_parts,
)
from mdm_lab.metrics.rates import (
    GenerativeTokenErrorRate,
    sequence_error_rate,
    teacher_forced_excess,
    teacher_forced_log_prob,
    token_error_rate_forward,
    token_error_rate_generative,
)

__all__ = [
    "Decomposition",
    "Estimate",
    "GenerativeTokenErrorRate",
    "LearningError",
    "autoregressive_learning_error",
    "clopper_pearson",
    "learning_error",
    "sequence_error_rate",
    "teacher_forced_excess",
    "teacher_forced_log_prob",
    "teacher_forced_parts",
    "token_error_rate_forward",
    "token_error_rate_generative",
]
