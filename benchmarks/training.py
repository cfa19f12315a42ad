"""A step of training beside transformers' GPT-2 of the same size: time and memory, float32.

    python benchmarks/training.py [--repeats 15] [--widths 64 128 256] [--length 64] [--batch 32]

A step is forward, backward, clipping and fused AdamW on one thread. GPT-2 and our causal network
get the same tokens, targets and cross-entropy (ours weighted, theirs plain); the diffusion network
draws its masks anew in every step, which is in its time.
"""

# isort: off
import timing
# isort: on

import argparse
import json
import os
import tempfile

import torch
from gpt2 import gpt2
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from mdm_lab.objectives.batches import autoregressive, exact_count, sequence_loss
from mdm_lab.transformer import Shape, Transformer

VOCAB_SIZE, LAYERS, HEADS = 8, 2, 4
CLIP = 1.0


class Step:
    """A model with its optimiser: a call makes one update, `memory` says what that needs."""

    def __init__(self, model, loss):
        self.model, self.loss = model.train(), loss
        self.optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0, fused=True)

    def __call__(self):
        """One update."""
        self.loss(self.model).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def memory(self):
        """Bytes at the peak of a step: weights, AdamW's state and all tensors made on the way."""
        kept = [*self.model.parameters(), *self.model.buffers()]
        for state in self.optimiser.state.values():
            kept += [value for value in state.values() if torch.is_tensor(value)]
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            self()
        return sum(tensor.nbytes for tensor in kept) + _peak(record)


def _peak(record):
    """The largest sum of bytes taken and not given back, in the order of a profile."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        record.export_chrome_trace(path)
        with open(path) as file:
            events = json.load(file)["traceEvents"]
    events = [event for event in events if event["name"] == "[memory]"]
    total = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        total += event["args"]["Bytes"]
        peak = max(peak, total)
    return peak


def ours(width, x0, causal):
    """A step of our network on tokens x0 (batch, length): causal, or of masked diffusion."""
    network = Transformer(Shape(VOCAB_SIZE, width, LAYERS, HEADS, causal))
    generator = torch.Generator().manual_seed(0)
    draw = autoregressive if causal else exact_count

    def loss(network):
        batch = draw(x0, network.mask_id, generator)
        return sequence_loss(network(batch.inputs), batch).mean() / x0.shape[1]

    return Step(network, loss)


def peer(width, x0):
    """A step of GPT-2 on the same tokens."""
    batch = autoregressive(x0, VOCAB_SIZE)
    model = gpt2(Shape(VOCAB_SIZE, width, LAYERS, HEADS), x0.shape[1])

    def loss(model):
        logits = model(input_ids=batch.inputs, use_cache=False).logits
        return cross_entropy(logits.flatten(0, 1), batch.targets.flatten())

    return Step(model, loss)


def tokens(batch, length):
    """Tokens to train on, (batch, length)."""
    return torch.randint(VOCAB_SIZE, (batch, length), generator=torch.Generator().manual_seed(1))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    timing.machine("torch", "transformers")
    print(
        f"Least (median) of {options.repeats} steps, ms; {LAYERS} layers, {HEADS} heads, "
        f"V = {VOCAB_SIZE}, {options.batch} sequences of {options.length}\n"
    )
    timing.header(
        "d", "weights", "GPT-2's", "mdm-lab, causal", "mdm-lab, diffusion", "GPT-2",
        "tokens/s, causal / GPT-2", "diffusion / GPT-2", "memory, MiB", "GPT-2's",
    )  # fmt: skip
    x0 = tokens(options.batch, options.length)
    for width in options.widths:
        run = {
            "causal": ours(width, x0, True),
            "diffusion": ours(width, x0, False),
            "peer": peer(width, x0),
        }
        for step in [*run.values()] * 2:
            step()
        taken = timing.in_turns(run, options.repeats)
        memory = {name: step.memory() / 2**20 for name, step in run.items()}
        weights = {
            name: sum(weight.numel() for weight in step.model.parameters())
            for name, step in run.items()
        }
        timing.row(
            width,
            f"{weights['causal']:,}",
            f"{weights['peer']:,}",
            *(timing.shown(timing.summary(taken[name])) for name in run),
            f"{timing.ratio(taken['peer'], taken['causal']):.2f}",
            f"{timing.ratio(taken['peer'], taken['diffusion']):.2f}",
            f"{memory['causal']:.1f}, {memory['diffusion']:.1f}",
            f"{memory['peer']:.1f}",
        )


if __name__ == "__main__":
    main()
