"""TER and SER of the trained models against the number of steps (chapter *Trained models*).

For each language and step count: the trained diffusion model's sequence error rate by sampling, its
teacher-forced excess with both its parts, the same of the perfect denoiser, and the sequence error
rate of a perfect denoiser spoilt by as much as the network errs. The autoregressive model stands
beside them; it has no steps to choose.
"""

import math

from mdm_lab.autoregressive import conditionals, sample_autoregressive
from mdm_lab.denoisers import NetworkDenoiser, NoisyOracle, Oracle
from mdm_lab.experiments.languages import language
from mdm_lab.experiments.measures import interval, log_valid, of_trained_models
from mdm_lab.experiments.runner import Part
from mdm_lab.experiments.trained_models import digest, file_of, network_of
from mdm_lab.information import factorisation_error
from mdm_lab.metrics import (
    autoregressive_learning_error,
    sequence_error_rate,
    teacher_forced_parts,
    token_error_rate_generative,
)
from mdm_lab.samplers import sample
from mdm_lab.schedules import reveal_probabilities

KEEPS_FILES = True  # it reads those of trained-models, beside its own folder


def parts(size, folder):
    """A part for each language and step count, and one for each autoregressive model."""
    out = []
    for label, common in of_trained_models(size, folder).items():
        numbers = {"sampled": size.sampled, "oracle": size.oracle, "forced": size.forced}
        for steps in size.steps:
            arguments = {**common, **numbers, "steps": steps}
            out.append(Part(f"{label} N={steps}", point, arguments, float(steps)))
        numbers = {"sampled": size.autoregressive, "forced": size.forced}
        out.append(Part(f"{label} ar", baseline, {**common, **numbers}))
    return out


def point(label, name, vocab_size, length, folder, sampled, oracle, forced, steps):
    """One point of a language's curves."""
    lang = language(name, vocab_size)
    reveal = reveal_probabilities("linear", steps)
    network = NetworkDenoiser(network_of(label, "mdm", folder=folder)[0], vocab_size)
    truth = lang.sample(forced, length, rng=steps)
    forced_parts = teacher_forced_parts(network, lang, truth, reveal, steps)
    spoilt = NoisyOracle(lang, forced_parts.learning.value)
    drawn = {
        "mdm": sample(network, sampled, length, reveal, steps),
        "oracle": sample(Oracle(lang), oracle, length, reveal, steps + 1),
        "noisy_oracle": sample(spoilt, sampled, length, reveal, steps + 2),
    }
    on_support = token_error_rate_generative(lang, drawn["mdm"]).on_support
    ser_exact = factorisation_exact = None
    if name == "2-gram":
        [[(log_right, _)]] = log_valid(lang, [length], [steps])
        ser_exact = -math.expm1(log_right)
        factorisation_exact = factorisation_error(lang, length, reveal) / length
    return {
        "label": label,
        "network": digest(file_of(folder, label, "mdm")),
        "length": length,
        "steps": steps,
        "entropy": float(-lang.log_prob(truth).mean() / length),
        "ser": {kind: interval(sequence_error_rate(lang, x)) for kind, x in drawn.items()},
        "ser_exact": ser_exact,
        "factorisation_exact": factorisation_exact,
        "parts": {key: interval(value) for key, value in vars(forced_parts).items()},
        "generative_ter_on_support": on_support and interval(on_support),
    }


def baseline(label, name, vocab_size, length, folder, sampled, forced):
    """The autoregressive model of a language: its learning error and its SER."""
    lang = language(name, vocab_size)
    network, _ = network_of(label, "ar", folder=folder)
    error = autoregressive_learning_error(
        lambda x: conditionals(network, x), lang, lang.sample(forced, length, rng=1)
    )
    x = sample_autoregressive(network, sampled, length, 0)
    on_support = token_error_rate_generative(lang, x).on_support
    return {
        "label": label,
        "network": digest(file_of(folder, label, "ar")),
        "length": length,
        "ser": {"ar": interval(sequence_error_rate(lang, x))},
        "learning": {**interval(error), "worst": error.worst},
        "impossible": interval(error.impossible),
        "generative_ter_on_support": on_support and interval(on_support),
    }
