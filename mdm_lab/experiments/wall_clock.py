"""Wall clock: the seconds that text takes, by masked diffusion and token by token.

Long runs are too dear to be made on a CPU, and need not be: all calls of a run cost alike. So
single calls are timed at every length, and whole runs at the short ones only, where they test that
seconds are calls times seconds of a call. The networks are untrained: time does not depend on
weights.

Of several measurements the least counts, of the wall clock and of the processor's. Parts that run
at the same time disturb one another: use `--workers 1`. Chapter: book/experiments/wall-clock.
"""

import time

import torch

from mdm_lab.autoregressive import sample_autoregressive
from mdm_lab.denoisers import NetworkDenoiser
from mdm_lab.experiments.runner import Part
from mdm_lab.reverse import inverse_cdf
from mdm_lab.samplers import sample, sample_in_order, sample_one_stage
from mdm_lab.schedules import reveal_probabilities
from mdm_lab.training.devices import best_device, device_name
from mdm_lab.transformer import Cache, Shape, Transformer

TOKENS = 16  # tokens of a timed stretch of autoregressive sampling
TURNS = 2048  # tokens that a timed stretch of diffusion steps reads; a longer text is read once


def parts(size):
    """A part for each length and batch of calls, and each length, step count and batch of runs."""
    calls = [
        Part(
            f"calls L={length} batch={batch}",
            timed_calls,
            {"length": length, "batch": batch, "shape": size.shape, "seconds": size.seconds},
            float(batch * length),
        )
        for length in size.lengths
        for batch in size.batches
    ]
    runs = [
        Part(
            f"run L={length} N={steps} batch={batch}",
            timed_runs,
            {
                "length": length,
                "steps": steps,
                "batch": batch,
                "shape": size.shape,
                "repeats": size.repeats,
            },
            float(batch * length),
        )
        for length in size.run_lengths
        for steps in size.run_steps
        for batch in size.batches
    ]
    return [*calls, *runs]


def timed_calls(length, batch, shape, seconds):
    """Seconds of one call, sampling included: of a diffusion step in which every sequence reveals
    a token ("skipping"), of one by the kernel ("all steps"), and of a token after `length` others.

    Stretches of the three take turns, twice at least and until `seconds` are over.
    """
    device, denoiser, causal = networks(shape)
    turns = min(length, max(1, TURNS // length))
    xt = torch.zeros(batch, length, dtype=torch.long, device=device)
    xt[:, :turns] = denoiser.mask_id
    steps = torch.arange(length, device=device)
    reveal = reveal_probabilities("linear", turns)
    generator = torch.Generator(device).manual_seed(0)
    kinds = {
        "skipping": (lambda: sample_in_order(denoiser, batch, steps, generator, xt), turns),
        "all steps": (
            lambda: sample_one_stage(denoiser, batch, length, reveal, generator, xt),
            turns,
        ),
        "autoregressive": (stretch(causal, batch, length, generator), TOKENS),
    }
    begin, found = time.perf_counter(), {kind: [] for kind in kinds}
    while len(found["skipping"]) < 2 or time.perf_counter() - begin < seconds:
        for kind, (work, calls) in kinds.items():
            found[kind].append([s / calls for s in clock(work, device)])
    return {
        "length": length,
        "batch": batch,
        "device": device_name(device),
        "call": {kind: least(times) for kind, times in found.items()},
    }


def timed_runs(length, steps, batch, shape, repeats):
    """Seconds and calls of whole runs, by kind; each repeat has another seed, the three take turns.

    `calls` of the network and `rows` that they read, one count for each repeat.
    """
    device, denoiser, causal = networks(shape)
    reveal = reveal_probabilities("linear", steps)
    kinds = {
        "skipping": lambda g: sample(denoiser, batch, length, reveal, g),
        "all steps": lambda g: sample_one_stage(denoiser, batch, length, reveal, g),
        "autoregressive": lambda g: sample_autoregressive(
            causal, batch, length, g, progress=tokens.append
        ),
    }
    tokens, times, calls, rows = [], *({kind: [] for kind in kinds} for _ in range(3))
    for seed in range(repeats):
        for kind, work in kinds.items():
            generator = torch.Generator(device).manual_seed(seed)
            tokens.clear()
            denoiser.calls = denoiser.nfe = 0
            times[kind].append(clock(lambda w=work, g=generator: w(g), device))
            calls[kind].append(denoiser.calls + len(tokens))  # one of the two is 0
            rows[kind].append(denoiser.nfe + batch * len(tokens))
    return {
        "length": length,
        "steps": steps,
        "batch": batch,
        "device": device_name(device),
        "run": {
            kind: {**least(times[kind]), "calls": calls[kind], "rows": rows[kind]} for kind in kinds
        },
    }


def networks(shape):
    """(device, a denoiser, a causal network): two untrained networks of one shape."""
    device = best_device()
    both, causal = (Transformer(Shape(**shape, causal=c)).to(device).eval() for c in (False, True))
    return device, NetworkDenoiser(both, both.vocab_size), causal


def stretch(network, num, length, generator):
    """A function that draws the last TOKENS of `length` + TOKENS, from a cache that is full so far.

    What the cache holds is noise: reading it takes as long.
    """
    cache = Cache(network, num, length + TOKENS)
    cache.store.normal_(generator=generator)
    x = torch.zeros(num, 1, dtype=torch.long, device=cache.store.device)
    u = torch.rand(num, dtype=torch.float64, generator=generator, device=x.device)

    def work():
        cache.length = length
        with torch.inference_mode():
            for _ in range(TOKENS):
                logits = network(x, cache)[:, -1]
                x[:, 0] = inverse_cdf(logits.double().softmax(dim=-1), u)

    return work


def clock(work, device):
    """(seconds of the wall clock, seconds of the processor) that `work()` takes."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - wall, time.process_time() - own


def least(times):
    """The least wall and the least processor seconds of a list of pairs."""
    wall, own = (min(column) for column in zip(*times, strict=True))
    return {"wall": wall, "processor": own, "measurements": len(times)}
