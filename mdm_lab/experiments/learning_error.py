"""Learning error measured: KL to the exact posterior, by the share of visible tokens.

For each language the trained diffusion model is held against the exact posterior where each other
token is visible with a given chance, and the autoregressive model against the exact next-token law.
Chapter: *Learning error, measured*.
"""

from mdm_lab.autoregressive import conditionals
from mdm_lab.denoisers import NetworkDenoiser
from mdm_lab.experiments.languages import language
from mdm_lab.experiments.measures import interval, of_trained_models
from mdm_lab.experiments.runner import Part
from mdm_lab.experiments.trained_models import digest, file_of, network_of
from mdm_lab.metrics import autoregressive_learning_error, learning_error

KEEPS_FILES = True  # it reads those of trained-models, beside its own folder


def parts(size, folder):
    """A part a language."""
    numbers = {"fractions": size.fractions, "num": size.forced}
    return [
        Part(label, measured, {**common, **numbers})
        for label, common in of_trained_models(size, folder).items()
    ]


def measured(label, name, vocab_size, length, folder, fractions, num):
    """Learning errors of both models of a language, nats: mean, worst seen, impossible mass."""
    lang = language(name, vocab_size)
    network = NetworkDenoiser(network_of(label, "mdm", folder=folder)[0], vocab_size)
    causal, _ = network_of(label, "ar", folder=folder)
    x0 = lang.sample(num, length, rng=2)
    errors = [learning_error(network, lang, x0, u, k) for k, u in enumerate(fractions)]
    return {
        "label": label,
        "networks": {kind: digest(file_of(folder, label, kind)) for kind in ("mdm", "ar")},
        "length": length,
        "fractions": list(fractions),
        "mdm": [described(error) for error in errors],
        "ar": described(autoregressive_learning_error(lambda x: conditionals(causal, x), lang, x0)),
    }


def described(error):
    """A learning error as JSON holds it."""
    return {
        **interval(error),
        "worst": error.worst,
        "impossible": interval(error.impossible),
    }
