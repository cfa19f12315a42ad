"""Autoregressive sampling with a cache beside transformers' `generate`, one thread, float32.

    python benchmarks/generation.py [--repeats 5] [--widths 64 128 256] [--length 64] [--num 64]

Untrained networks of the same size write texts of the same length at temperature 1. Ours draws
each token in float64 by inverse CDF, `generate` by torch.multinomial from a float32 softmax.
"""

# isort: off
import timing
# isort: on

import argparse

import torch
from gpt2 import gpt2

from mdm_lab.autoregressive import sample_autoregressive
from mdm_lab.transformer import Shape, Transformer

VOCAB_SIZE, LAYERS, HEADS = 8, 2, 4


def ours(width, num, length):
    """A function that samples from our network: (num, length)."""
    network = Transformer(Shape(VOCAB_SIZE, width, LAYERS, HEADS, causal=True)).eval()
    return lambda: sample_autoregressive(network, num, length, 0)


def peer(width, num, length):
    """A function that samples from GPT-2: (num, length), the start cut off."""
    model = gpt2(Shape(VOCAB_SIZE, width, LAYERS, HEADS), length + 1).eval()
    start = torch.full((num, 1), VOCAB_SIZE)
    settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "use_cache": True}
    return lambda: model.generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=length, **settings
    )[:, 1:]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--num", type=int, default=64, help="sequences")
    options = parser.parse_args()
    torch.set_num_threads(1)
    timing.machine("torch", "transformers")
    print(
        f"Least (median) of {options.repeats} runs, ms; {LAYERS} layers, {HEADS} heads, "
        f"V = {VOCAB_SIZE}, {options.num} sequences of {options.length}\n"
    )
    timing.header("d", "mdm-lab", "GPT-2 generate", "generate / ours")
    size = options.num, options.length
    for width in options.widths:
        run = {"ours": ours(width, *size), "peer": peer(width, *size)}
        for name, function in run.items():
            if (shape := function().shape) != size:
                raise RuntimeError(f"{name} wrote {tuple(shape)} and not {size}")
        taken = timing.in_turns(run, options.repeats)
        timing.row(
            width,
            *(timing.shown(timing.summary(taken[name])) for name in run),
            f"{timing.ratio(taken['peer'], taken['ours']):.2f}",
        )


if __name__ == "__main__":
    main()
