"""Our own side of the benchmarks runs, without the peers; how fast it is is not asked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = """
import torch
import generation, oracle, training

for causal in (True, False):
    step = training.ours(8, training.tokens(2, 6), causal)
    before = [weight.clone() for weight in step.model.parameters()]
    step()
    assert all(not torch.equal(a, b) for a, b in zip(before, step.model.parameters()))
    activations = 2 * 6 * 8 * 4
    kept = 3 * 4 * sum(weight.numel() for weight in before)  # weights and AdamW's two moments
    assert step.memory() > kept + activations
assert generation.ours(8, 2, 6)().shape == (2, 6)
for lang in oracle.LANGUAGES.values():
    following, recomputing = oracle.following(lang, 3, 12, 8), oracle.recomputing(lang, 3, 12, 8)
    assert torch.equal(following[0], recomputing[0])
    assert following[1] <= recomputing[1] <= 8
"""


def test_our_side_of_the_benchmarks_runs():
    # a process of its own: importing them pins it to one core
    path = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", OURS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
