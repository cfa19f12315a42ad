"""TER and SER against the number of steps, with the perfect denoiser (chapter *TER and SER*).

For each language the sampler is run at every step count, at two lengths whose step counts have
the same ratios N/L. The SER of the 2-gram stands beside its samples: exact from the recursion over
intervals, carried on to long sequences. The teacher-forced excess is sampled for the HMM alone,
since the table of `ter_table` holds that of the n-grams.
"""

import math

from mdm_lab.denoisers import Oracle
from mdm_lab.experiments.languages import NAMES, language
from mdm_lab.experiments.measures import interval, log_valid
from mdm_lab.experiments.runner import Part
from mdm_lab.metrics import (
    sequence_error_rate,
    teacher_forced_excess,
    token_error_rate_generative,
)
from mdm_lab.samplers import sample
from mdm_lab.schedules import reveal_probabilities

# rough seconds for 100 sequences of 512 tokens: the order in which parts are started
COST = {"2-gram": 0.4, "3-gram": 2.5, "4-gram": 24, "HMM": 7}


def parts(size):
    """The parts of the experiment at a size: exact SER, then each point of each sampled curve."""
    longest = max(size.lengths)
    lengths = [*size.lengths, *size.exact_lengths]
    steps = sorted({n * length // longest for n in size.steps for length in lengths})
    arguments = {"vocab_size": size.vocab_size, "lengths": lengths, "steps": steps}
    out = [Part("2-gram exact", exact_ser, arguments, cost=8.0)]
    for name in NAMES:
        for length in size.lengths:
            for steps in (n * length // longest for n in size.steps):
                seed = 1000 * steps + length
                arguments = {
                    "name": name,
                    "vocab_size": size.vocab_size,
                    "length": length,
                    "steps": steps,
                    "num": size.sequences[name],
                    "seed": seed,
                }
                cost = COST[name] * size.sequences[name] / 100 * length / 512
                out.append(Part(f"{name} L={length} N={steps}", point, arguments, cost))
    return out


def exact_ser(vocab_size, lengths, steps):
    """SER of the 2-gram at all lengths and steps: exact when short, carried on when long."""
    lang = language("2-gram", vocab_size)
    rows = [
        {"steps": n, "length": length, "ser": -math.expm1(value), "log_valid_error": error}
        for n, row in zip(steps, log_valid(lang, lengths, steps), strict=True)
        for length, (value, error) in zip(lengths, row, strict=True)
    ]
    return {"rows": rows}


def point(name, vocab_size, length, steps, num, seed):
    """One point of a curve: SER and generative TER of the sampler, and an HMM's excess."""
    lang = language(name, vocab_size)
    reveal = reveal_probabilities("linear", steps)
    denoiser = Oracle(lang)
    x = sample(denoiser, num, length, reveal, seed).numpy()
    nfe = denoiser.nfe / num
    generative = token_error_rate_generative(lang, x)
    forced = rate = None
    if name == "HMM":
        truth = lang.sample(num, length, seed)
        forced = interval(teacher_forced_excess(Oracle(lang), lang, truth, reveal, seed))
        rate = float(-lang.log_prob(truth).mean() / length)
    return {
        "language": name,
        "length": length,
        "steps": steps,
        "num": num,
        "seed": seed,
        "nfe": nfe,
        "ser": interval(sequence_error_rate(lang, x)),
        "teacher_forced_excess": forced,
        "generative_ter_on_support": generative.on_support and interval(generative.on_support),
        "sampled_entropy_per_token": rate,
    }
