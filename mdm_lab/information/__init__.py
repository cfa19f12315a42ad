"""How much tokens tell about one another, and what the sampler loses by ignoring it."""

from mdm_lab.information.bounds import (
    birthday_steps,
    least_mismatch,
    ngram_excess_bound,
    ngram_steps,
    pairs_lower_bound,
    sequence_error_bound,
    steps_for_excess,
    steps_for_sequence_error,
    steps_per_token,
    worst_law,
)
from mdm_lab.information.curve import (
    end_points,
    information_curve,
    information_curve_enumerated,
    pair_information,
)
from mdm_lab.information.estimate import factorisation_error_estimate, information_curve_estimate
from mdm_lab.information.factorisation import (
    factorisation_error,
    first_order_excess,
    optimal_reveal,
    reveal_by_density,
)
from mdm_lab.information.first_order import impossible_pair_curve, impossible_pair_mass, kappa
from mdm_lab.information.order import factorisation_error_in_order

__all__ = [
    "birthday_steps",
    "end_points",
    "factorisation_error",
    "factorisation_error_estimate",
    "factorisation_error_in_order",
    "first_order_excess",
    "impossible_pair_curve",
    "impossible_pair_mass",
    "information_curve",
    "information_curve_enumerated",
    "information_curve_estimate",
    "kappa",
    "least_mismatch",
    "ngram_excess_bound",
    "ngram_steps",
    "optimal_reveal",
    "pair_information",
    "pairs_lower_bound",
    "reveal_by_density",
    "sequence_error_bound",
    "steps_for_excess",
    "steps_for_sequence_error",
    "steps_per_token",
    "worst_law",
]
