"""Exact laws of the N-step sampler: what it puts out, found without sampling."""

from mdm_lab.exact.chain import (
    linear_valid_log_probabilities,
    log_prob,
    sequence_error_rate,
    true_excess,
    true_excess_estimate,
    valid_log_probabilities,
)
from mdm_lab.exact.extrapolation import (
    Extrapolation,
    extrapolate,
    pairs_sequence_error_rate,
    shared_bits_sequence_error_rate,
)
from mdm_lab.exact.order import law_in_order, sequence_error_rate_in_order
from mdm_lab.exact.push_forward import push_forward

__all__ = [
    "Extrapolation",
    "extrapolate",
    "law_in_order",
    "linear_valid_log_probabilities",
    "log_prob",
    "pairs_sequence_error_rate",
    "push_forward",
    "sequence_error_rate",
    "sequence_error_rate_in_order",
    "shared_bits_sequence_error_rate",
    "true_excess",
    "true_excess_estimate",
    "valid_log_probabilities",
]
