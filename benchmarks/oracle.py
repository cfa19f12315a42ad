"""Sampling with the perfect denoiser beside recomputing the whole posterior at every step.

    python benchmarks/oracle.py [--repeats 3] [--num 64] [--length 512] [--steps 512]

Both get the same random numbers, and the script fails unless both write the same sequences: what
is compared is the same run of the same sampler, followed reveal by reveal or computed anew.
"""

# isort: off
import timing
# isort: on

import argparse
import sys
from collections import deque

import torch

from mdm_lab.denoisers import Denoiser, Oracle
from mdm_lab.languages import HMM, NGram
from mdm_lab.samplers import sample, trajectory
from mdm_lab.schedules import reveal_probabilities

LANGUAGES = {f"{n}-gram, V = 8": NGram.random(n, 8, 0.05, rng=0) for n in (2, 3)} | {
    "HMM, S = 8, V = 8": HMM.random(8, 8, 0.05, rng=0),
}


class Recomputing(Denoiser):
    """The exact posterior of the whole batch in every call, the plain way."""

    def __init__(self, lang):
        super().__init__(lang.vocab_size)
        self.lang = lang

    def _probs(self, xt):
        return torch.as_tensor(self.lang.posterior(xt.numpy(), off_support="local"))

    def at(self, xt, rows, positions):
        """The answer at (rows, positions), all others having been computed."""
        return self(xt)[rows, positions]


def following(lang, num, length, steps):
    """mdm-lab's way: (sequences, evaluations of a sequence)."""
    denoiser = Oracle(lang)
    x = sample(denoiser, num, length, reveal_probabilities("linear", steps), 0)
    return x, denoiser.nfe / num


def recomputing(lang, num, length, steps):
    """The plain way, step after step: the same sequences."""
    denoiser = Recomputing(lang)
    run = trajectory(denoiser, num, length, reveal_probabilities("linear", steps), 0)
    return deque(run, maxlen=1).pop(), denoiser.nfe / num


def main():
    """Print the table; exit with an error if the sequences differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num", type=int, default=64, help="sequences")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--steps", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(1)
    timing.machine("numpy", "torch")
    print(
        f"Least (median) of {options.repeats} runs, s; {options.num} sequences of "
        f"{options.length}, N = {options.steps}\n"
    )
    timing.header(
        "language", "mdm-lab", "nfe", "recomputing", "nfe", "recomputing / ours", "same sequences"
    )
    size = options.num, options.length, options.steps
    different = []
    for name, lang in LANGUAGES.items():
        last = {}  # what each way wrote in its last run

        def run(way, lang=lang, last=last):
            last[way] = way(lang, *size)

        ways = {way: lambda way=way, run=run: run(way) for way in (following, recomputing)}
        following(lang, min(options.num, 4), *size[1:])  # warm
        taken = timing.in_turns(ways, options.repeats)
        same = torch.equal(last[following][0], last[recomputing][0])
        different += [] if same else [name]
        cells = (
            cell
            for way in ways
            for cell in (timing.shown(timing.summary(taken[way]), 1), f"{last[way][1]:.1f}")
        )
        ratio = timing.ratio(taken[recomputing], taken[following])
        timing.row(name, *cells, f"{ratio:.1f}", "yes" if same else "no")
    if different:
        sys.exit(f"the sequences differ for {', '.join(different)}")


if __name__ == "__main__":
    main()
