"""What more than one experiment measures or is told, and the form in which JSON holds it."""

from mdm_lab import exact

RECURSION_LENGTH = 28  # increments of log(1 - SER) have settled by then


def log_valid(lang, lengths, steps):
    """(log(1 - SER), its error), nats, of the perfect denoiser on a 2-gram.

    A row for each of `steps`, in it a pair for each of `lengths`: exact from the recursion over
    intervals up to RECURSION_LENGTH, with error 0, and carried on beyond it.
    """
    longest = min(max(lengths), RECURSION_LENGTH)
    known = exact.linear_valid_log_probabilities(lang, longest, steps)
    return [[_at(row, length) for length in lengths] for row in known]


def _at(known, length):
    if length <= len(known):
        return known[length - 1], 0.0
    far = exact.extrapolate(known, length)
    return far.value, far.error


def interval(estimate):
    """An estimate as JSON holds it."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def of_trained_models(size, folder):
    """What a part is told of each trained model; its networks are in a folder beside `folder`."""
    networks = str(folder.with_name(f"trained-models{folder.suffix}"))
    return {
        label: {
            "label": label,
            "name": name,
            "vocab_size": vocab_size,
            "length": size.length,
            "folder": networks,
        }
        for label, (name, vocab_size) in size.models.items()
    }
