"""Training: a run is a function of its recipe, however often it is interrupted, and it says so when
it cannot be."""

import dataclasses
import errno
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mdm_lab.languages import NGram
from mdm_lab.objectives import autoregressive, continuous_time, exact_count, sequence_loss
from mdm_lab.training import (
    CheckpointError,
    Diverged,
    FromFile,
    FromLanguage,
    Recipe,
    best_device,
    checkpoints,
    device_name,
    load_network,
    save_network,
    train,
    write_corpus,
)
from mdm_lab.training import data as data_module
from mdm_lab.training.loop import MASKS, validation_loss
from mdm_lab.training.recipe import seed_of
from mdm_lab.transformer import Shape, Transformer

LANG = NGram.random(2, 3, prune=0.1, rng=0)
LENGTH = 6
SHAPE = Shape(3, width=8, layers=1, heads=2)
RECIPE = Recipe(40, batch_size=8, learning_rate=0.01, report_every=1, checkpoint_every=10)
DATA = FromLanguage(LANG, LENGTH)


def quiet(line):
    pass


def a_run(recipe=RECIPE, objective=exact_count, data=DATA, shape=SHAPE, **options):
    """A run of the smallest network, on the CPU."""
    options = {"device": "cpu", "report": quiet, **options}
    return train(Transformer(shape), objective, data, recipe, **options)


def curve(run):
    """What of a history does not depend on the clock."""
    return [(r["step"], r["loss"], r["gradient_norm"], r["validation"]) for r in run.history]


def same_run(one, two):
    """Whether two runs are one, bit for bit: step, history, weights and average."""
    weights = zip(
        [*one.network.parameters(), *one.average.parameters()],
        [*two.network.parameters(), *two.average.parameters()],
        strict=True,
    )
    equal = all(torch.equal(a, b) for a, b in weights)
    return equal and one.step == two.step and curve(one) == curve(two)


@dataclasses.dataclass
class Interrupting:
    """DATA, with a signal sent when the batch of a step is drawn.

    To this very thread: sent to the process, two of them may arrive elsewhere and count as one.
    """

    at: int
    times: int = 1
    number: int = signal.SIGINT

    def __call__(self, step, batch_size):
        if step == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return DATA(step, batch_size)


@pytest.fixture(scope="module")
def whole():
    """The run that nothing interrupts."""
    return a_run()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The checkpoint of a finished run, not to be written to."""
    path = tmp_path_factory.mktemp("stored") / "run.safetensors"
    a_run(checkpoint=path)
    return path


# what a run computes


def by_hand(recipe, steps):
    """The definitions in NumPy: gradients from autograd, all else written out again."""
    network = Transformer(SHAPE).double()
    weights = [w.detach().numpy().copy() for w in network.parameters()]
    average = [w.copy() for w in weights]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    (beta1, beta2), losses, norms = recipe.betas, [], []
    for step in range(steps):
        with torch.no_grad():
            for parameter, weight in zip(network.parameters(), weights, strict=True):
                parameter.copy_(torch.as_tensor(weight))
        batch = exact_count(DATA(step, 8), 3, seed_of(recipe.seed, MASKS, step))
        loss = sequence_loss(network(batch.inputs), batch).mean() / LENGTH
        gradients = [g.numpy() for g in torch.autograd.grad(loss, list(network.parameters()))]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * min(1, recipe.clip / (norm + 1e-6)) for g in gradients]
        losses.append(float(loss.detach()))
        norms.append(norm)
        warm = recipe.warmup * recipe.steps
        if step < warm:
            rate = recipe.learning_rate * (step + 1) / (warm + 1)
        else:
            done = (step - warm) / (recipe.steps - warm)
            rate = recipe.learning_rate * (1 + np.cos(np.pi * done)) / 2
        kept = min(recipe.ema, (1 + step) / (10 + step))
        for i, g in enumerate(gradients):
            first[i] = beta1 * first[i] + (1 - beta1) * g
            second[i] = beta2 * second[i] + (1 - beta2) * g**2
            mean = first[i] / (1 - beta1 ** (step + 1))
            size = np.sqrt(second[i] / (1 - beta2 ** (step + 1))) + 1e-8
            weights[i] = weights[i] * (1 - rate * recipe.weight_decay) - rate * mean / size
            average[i] = kept * average[i] + (1 - kept) * weights[i]
    return weights, average, losses, norms


@pytest.mark.parametrize("changed", [{}, {"clip": 0.05}, {"weight_decay": 0.3}, {"ema": 0.05}])
def test_updates_average_and_clipping_are_the_definitions(changed):
    recipe = Recipe(5, 8, 0.02, warmup=0.4, precision="float32", report_every=1, **changed)
    network = Transformer(SHAPE).double()
    run = train(network, exact_count, DATA, recipe, device="cpu", report=quiet)
    weights, average, losses, norms = by_hand(recipe, recipe.steps)
    assert min(norms) > 0.05  # so that the smaller clip has something to do
    for found, expected in [(run.network, weights), (run.average, average)]:
        for a, b in zip(found.parameters(), expected, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b, rtol=0, atol=1e-10)
    np.testing.assert_allclose([r["loss"] for r in run.history], losses, rtol=1e-12)
    np.testing.assert_allclose([r["gradient_norm"] for r in run.history], norms, rtol=1e-10)


def test_clipping_and_decay_change_the_run(whole):
    for changed in ({"clip": 1e-3}, {"weight_decay": 0.5}, {"betas": (0.8, 0.99)}):
        assert not same_run(a_run(dataclasses.replace(RECIPE, **changed)), whole)


def test_learning_rate_rises_and_falls():
    recipe = Recipe(100, learning_rate=2.0, warmup=0.1)
    rates = np.array([recipe.rate(step) for step in range(100)])
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 11)
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)  # half way through the cosine
    assert (np.diff(rates[10:]) < 0).all() and 0 < rates[-1] < 1e-3 * 2
    assert recipe.rate(100) == pytest.approx(0, abs=1e-15)  # one step later it is 0
    assert Recipe(10, warmup=0.0).rate(0) == Recipe(10, warmup=0.0).learning_rate
    assert Recipe(10, warmup=1.0).rate(9) < Recipe(10).learning_rate


def test_decay_of_the_average_starts_small():
    recipe = Recipe(10, ema=0.99)
    decays = [recipe.decay(step) for step in range(2000)]
    assert decays[0] == 0.1 and decays[-1] == 0.99
    assert all(a <= b for a, b in zip(decays, decays[1:], strict=False))
    assert {Recipe(10, ema=0.0).decay(step) for step in range(5)} == {0.0}

    shares = np.cumprod([Recipe(10).decay(step) for step in range(100)])
    exact = [1 / math.comb(n + 9, 9) for n in range(1, 101)]
    np.testing.assert_allclose(shares, exact, rtol=1e-12)


def moves(gradients, betas):
    """What PyTorch's AdamW moves a weight by in each update, for a learning rate of 1."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.AdamW([weight], 1.0, betas, eps=0.0, weight_decay=0.0)
    path = [0.0]
    for gradient in gradients:
        weight.grad = torch.tensor([float(gradient)], dtype=torch.float64)
        adam.step()
        path.append(float(weight.detach()))
    return -np.diff(path)


def longest_step(n, betas):
    """c_n of prop-adam-step."""
    one, two = betas
    ratio = sum((one**2 / two) ** k for k in range(n))
    return (1 - one) / (1 - one**n) * math.sqrt((1 - two**n) / (1 - two) * ratio)


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.9, 0.999), (0.5, 0.6), (0.1, 0.9)])
def test_no_step_of_adamw_is_longer_than_the_bound(betas):
    """prop-adam-step: the bound and its limit, that it is reached, that scale does not matter."""
    rng = np.random.default_rng(0)
    bounds = np.array([longest_step(n, betas) for n in range(1, 31)])
    limit = (1 - betas[0]) / math.sqrt((1 - betas[1]) * (1 - betas[0] ** 2 / betas[1]))
    assert (bounds <= limit * (1 + 1e-12)).all() and bounds[0] == pytest.approx(1)
    assert longest_step(20_000, betas) == pytest.approx(limit, rel=1e-6)
    for _ in range(5):
        gradients = rng.normal(size=30) * rng.exponential(size=30) ** 3
        found = moves(gradients, betas)
        assert (np.abs(found) <= bounds * (1 + 1e-9)).all()
        np.testing.assert_allclose(moves(1e3 * gradients, betas), found, rtol=1e-9, atol=1e-9)
    for n in (1, 2, 7, 30):
        worst = (betas[0] / betas[1]) ** np.arange(n)[::-1]
        assert moves(worst, betas)[-1] == pytest.approx(longest_step(n, betas), rel=1e-9)


@pytest.mark.parametrize("a", [-0.5, 0.0, 0.9, 0.99])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
def test_a_moving_average_filters_noise_by_the_formula(beta, a):
    """prop-ema: by a long sum over the correlations, and for n terms of independent noise."""
    terms = np.arange(3000)
    weights = (1 - beta) * beta**terms
    # Var = sum over lags of a^|lag| times the correlation of the weights at that lag
    by_lag = np.array([weights[: len(weights) - d] @ weights[d:] for d in range(1500)])
    found = by_lag[0] + 2 * (float(a) ** np.arange(1, 1500)) @ by_lag[1:]
    formula = (1 - beta) / (1 + beta) * (1 + a * beta) / (1 - a * beta)
    assert found == pytest.approx(formula, rel=1e-5)
    for n in (1, 2, 30):
        few = beta ** np.arange(n) * (1 - beta) / (1 - beta**n)
        assert few.sum() == pytest.approx(1)
        few_formula = (1 - beta) / (1 + beta) * (1 + beta**n) / (1 - beta**n)
        assert (few**2).sum() == pytest.approx(few_formula)


def test_the_average_without_memory_is_the_network():
    run = a_run(dataclasses.replace(RECIPE, ema=0.0, steps=5))
    for a, b in zip(run.network.parameters(), run.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_history_holds_means_over_the_steps_since_the_last_report(whole):
    run = a_run(dataclasses.replace(RECIPE, report_every=7))
    assert [r["step"] for r in run.history] == [7, 14, 21, 28, 35, 40]
    begin = 0
    for record in run.history:
        steps = whole.history[begin : record["step"]]
        for name in ("loss", "gradient_norm"):
            mean = np.mean([r[name] for r in steps])
            assert record[name] == pytest.approx(mean, rel=1e-12)
        begin = record["step"]


def test_a_run_learns():
    """Of what the uniform law is above the entropy, most is learnt."""
    run = a_run(Recipe(150, 32, 0.03), validation=LANG.sample(200, LENGTH, 99))
    entropy = LANG.entropy(LENGTH) / LENGTH
    assert run.history[-1]["validation"] - entropy < (math.log(3) - entropy) / 2


def test_low_discrepancy_is_over_the_whole_batch():
    seen = []

    def objective(x0, mask_id, generator):
        batch = exact_count(x0, mask_id, generator)
        seen.append(sorted((batch.inputs == mask_id).sum(dim=1).tolist()))
        return batch

    a_run(Recipe(5, batch_size=2 * LENGTH), objective)
    assert all(counts == sorted([*range(1, LENGTH + 1)] * 2) for counts in seen)


def test_validation_does_not_disturb_training(whole):
    x0 = LANG.sample(20, LENGTH, 99)
    run = a_run(dataclasses.replace(RECIPE, validate_every=3), validation=x0)
    for a, b in zip(run.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(a, b)
    asked = [r["step"] for r in run.history if r["validation"] is not None]
    assert asked == [*range(3, 40, 3), 40]
    assert run.network.training and not run.average.training


def test_validation_is_due_whatever_the_reports():
    recipe = dataclasses.replace(RECIPE, report_every=30, validate_every=20)
    run = a_run(recipe, validation=LANG.sample(4, LENGTH, 99))
    assert [(r["step"], r["validation"] is None) for r in run.history] == [
        *((20, False), (30, True), (40, False))
    ]


def test_validation_loss_is_the_objective_whatever_the_batch(whole):
    x0 = torch.as_tensor(LANG.sample(11, LENGTH, 99))
    batch = exact_count(x0, 3, seed_of(RECIPE.seed, 2))
    with torch.no_grad():
        expected = float(sequence_loss(whole.average(batch.inputs), batch).mean()) / LENGTH
    for size in (1, 4, 256):
        found = validation_loss(whole.average, exact_count, x0, RECIPE, batch_size=size)
        assert found == pytest.approx(expected, rel=1e-6)


def test_gradients_left_over_are_not_of_the_run(whole):
    network = Transformer(SHAPE)
    network(torch.zeros(2, LENGTH, dtype=torch.int64)).square().sum().backward()
    assert same_run(train(network, exact_count, DATA, RECIPE, device="cpu", report=quiet), whole)


def test_bfloat16_runs_near_float32_and_keeps_float32_weights(whole):
    run = a_run(dataclasses.replace(RECIPE, precision="bfloat16"))
    one, two = (np.array([r["loss"] for r in r_.history]) for r_ in (run, whole))
    assert (one != two).all() and np.abs(one / two - 1).max() < 0.05
    assert {w.dtype for w in run.network.parameters()} == {torch.float32}
    assert same_run(a_run(dataclasses.replace(RECIPE, precision="float32")), whole)  # auto, on CPU


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_learns_the_same(whole):
    recipe = dataclasses.replace(RECIPE, compile=True, steps=RECIPE.steps)
    run = a_run(recipe)
    assert set(run.network.state_dict()) == set(whole.network.state_dict())
    one, two = (np.array([r["loss"] for r in r_.history]) for r_ in (run, whole))
    np.testing.assert_allclose(one, two, rtol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_near_the_cpu(whole):
    run = a_run(dataclasses.replace(RECIPE, precision="float32"), device="cuda")
    assert {w.device.type for w in run.network.parameters()} == {"cuda"}
    one, two = (np.array([r["loss"] for r in r_.history]) for r_ in (run, whole))
    np.testing.assert_allclose(one, two, rtol=1e-2)


def test_the_device_has_a_name():
    assert device_name("cpu").startswith("cpu (")
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


# interruption


@pytest.mark.parametrize("report_every", [1, 7])
@pytest.mark.parametrize("at", [1, 16, 29, 38])
def test_an_interrupted_run_is_the_same_run(at, report_every, tmp_path):
    recipe = dataclasses.replace(RECIPE, report_every=report_every, checkpoint_every=0)
    path, x0 = tmp_path / "run", LANG.sample(8, LENGTH, 99)
    with pytest.raises(KeyboardInterrupt, match=f"after step {at + 1} of 40"):
        a_run(recipe, data=Interrupting(at), checkpoint=path, validation=x0)
    assert same_run(a_run(recipe, checkpoint=path, validation=x0), a_run(recipe, validation=x0))


@pytest.mark.parametrize("objective", [autoregressive, continuous_time])
def test_any_objective_is_taken_up(objective, tmp_path):
    recipe = dataclasses.replace(RECIPE, weight_decay=0.1)
    shape = dataclasses.replace(SHAPE, causal=objective is autoregressive)
    for at in (11, 25):  # twice in one run
        with pytest.raises(KeyboardInterrupt):
            a_run(recipe, objective, Interrupting(at), shape, checkpoint=tmp_path / "run")
    again = a_run(recipe, objective, shape=shape, checkpoint=tmp_path / "run")
    assert same_run(again, a_run(recipe, objective, shape=shape))


def test_what_the_network_was_before_does_not_matter_to_a_resumed_run(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        a_run(data=Interrupting(20), checkpoint=tmp_path / "run")
    network = Transformer(SHAPE).reset(seed=5)
    options = {"checkpoint": tmp_path / "run", "device": "cpu", "report": quiet}
    assert same_run(train(network, exact_count, DATA, RECIPE, **options), whole)


def test_state_that_is_not_kept_would_show(whole, tmp_path):
    """Moments, average and count of steps each matter: without one it is another run."""
    with pytest.raises(KeyboardInterrupt):
        a_run(data=Interrupting(20), checkpoint=tmp_path / "run")
    tensors, about = checkpoints.read(tmp_path / "run")
    for lost in ("exp_avg.", "exp_avg_sq.", "average.", "step"):
        kept = {n: t if not n.startswith(lost) else t * 0.9 for n, t in tensors.items()}
        says = {**about, "step": about["step"] + 1} if lost == "step" else about
        checkpoints.write(tmp_path / "other", kept, says)
        assert not same_run(a_run(checkpoint=tmp_path / "other"), whole)


def test_a_signal_in_the_last_step_is_not_swallowed(whole, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt, match="after step 40 of 40"):
        a_run(data=Interrupting(39, number=signal.SIGTERM), checkpoint=tmp_path / "run")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    lines = []
    assert same_run(a_run(checkpoint=tmp_path / "run", report=lines.append), whole)
    assert lines == []  # there was nothing left to do


def test_a_signal_during_a_report_is_not_lost(whole, tmp_path):
    """It comes after the update has asked whether there was one: the next update asks again."""

    def report(line):
        if line.startswith("step 17/"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="after step 18 of 40"):
        a_run(checkpoint=tmp_path / "run", report=report)
    assert checkpoints.read(tmp_path / "run")[1]["step"] == 18
    assert same_run(a_run(checkpoint=tmp_path / "run"), whole)


def test_a_second_signal_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt) as caught:
        a_run(data=Interrupting(5, times=2), checkpoint=tmp_path / "run")
    assert "stopped after" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_run_in_a_thread_leaves_signals_alone(whole):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(a_run()))
    thread.start()
    thread.join()
    assert same_run(runs[0], whole)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import test_training as t
from mdm_lab.training import distributed
path = {path!r}
"""


def script(tmp_path, body, path, *launcher):
    """Run a script of its own in a process of its own, or in several."""
    text = SCRIPT.format(folder=str(Path(__file__).parent), path=str(path)) + body
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, *launcher, str(tmp_path / "script.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True)  # with as many threads as this process


def test_ctrl_c_from_outside_is_taken_up_bit_for_bit(tmp_path):
    body = """
recipe = t.dataclasses.replace(t.RECIPE, steps=100_000, checkpoint_every=0)
t.a_run(recipe, checkpoint=path, report=lambda line: print(line, flush=True))
"""
    path = tmp_path / "run"
    with script(tmp_path, body, path) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert "KeyboardInterrupt: stopped after step" in error
    _, about = checkpoints.read(path)
    recipe = dataclasses.replace(RECIPE, steps=100_000, checkpoint_every=0)
    end = about["step"] + 3

    def three_more(checkpoint):
        with pytest.raises(KeyboardInterrupt):
            a_run(recipe, data=Interrupting(end - 1), checkpoint=checkpoint)
        return checkpoints.read(checkpoint)

    (one, about_one), (two, about_two) = three_more(path), three_more(tmp_path / "whole")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    losses = [[r["loss"] for r in about["history"]] for about in (about_one, about_two)]
    assert losses[0] == losses[1] and len(losses[0]) == end


@pytest.mark.parametrize("moment", ["in a step", "in a write"])
def test_a_killed_run_loses_at_most_the_last_interval(moment, whole, tmp_path):
    body = {
        "in a step": "t.a_run(data=t.Interrupting(27, number=signal.SIGKILL), checkpoint=path)",
        "in a write": """
def killed(number, fsync=os.fsync, count=[]):
    count.append(number)
    os.kill(os.getpid(), signal.SIGKILL) if len(count) == 3 else fsync(number)
os.fsync = killed
t.a_run(checkpoint=path)
""",
    }[moment]
    path = tmp_path / "run"
    with script(tmp_path, body, path) as process:
        process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert checkpoints.read(path)[1]["step"] == 20
    assert (tmp_path / "run.partial").exists() == (moment == "in a write")
    assert same_run(a_run(checkpoint=path), whole)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "script.py"]


# several processes


def test_two_processes_compute_what_one_computes(tmp_path):
    body = """
from mdm_lab.training import checkpoints, resuming
write = checkpoints.write
def say(*words):  # in one piece: two processes write to one pipe
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def writes(where, *content):
    say("written by", os.environ["RANK"])
    write(where, *content)
checkpoints.write = writes
rank = os.environ["RANK"]
with distributed() as device:
    recipe = t.dataclasses.replace(t.RECIPE, steps=20, report_every=4)
    network = t.Transformer(t.SHAPE).double().reset(seed=int(rank))
    options = {"device": device, "validation": t.LANG.sample(8, t.LENGTH, 9)}
    run = t.train(network, t.exact_count, t.DATA, recipe, checkpoint=path, **options)
    try:
        other = path if rank == "0" else path + "-not-there"
        t.train(network, t.exact_count, t.DATA, recipe, checkpoint=other, device=device)
    except t.CheckpointError as error:
        say("refused by", rank, "different files" in str(error))
    try:
        odd = t.dataclasses.replace(recipe, batch_size=9)
        t.train(network, t.exact_count, t.DATA, odd, device=device)
    except ValueError as error:
        say("odd batch", rank, "multiple of the 2" in str(error))
"""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = tmp_path / "run"
    with script(tmp_path, body, path, *launcher) as process:
        output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert sorted(output.split("\n")) == [
        "",
        *("odd batch 0 True", "odd batch 1 True", "refused by 0 True", "refused by 1 True"),
        *("written by 0", "written by 0"),
    ]
    assert sum("nats/token" in line for line in error.split("\n")) == 5  # rank 0 reports, alone
    recipe = dataclasses.replace(RECIPE, steps=20, report_every=4)
    options = {"device": "cpu", "report": quiet, "validation": LANG.sample(8, LENGTH, 9)}
    one = train(Transformer(SHAPE).double(), exact_count, DATA, recipe, **options)
    tensors, about = checkpoints.read(path)
    for prefix, network in (("network", one.network), ("average", one.average)):
        for name, weight in network.named_parameters():
            difference = (tensors[f"{prefix}.{name}"] - weight.detach()).abs().max()
            assert difference < 1e-9, (prefix, name)
    for theirs, ours in zip(about["history"], one.history, strict=True):
        for name in ("loss", "gradient_norm"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-9)
    assert theirs["validation"] == pytest.approx(ours["validation"], rel=1e-9)


# files


def test_a_checkpoint_has_the_usual_mode_and_leaves_nothing_beside_it(tmp_path):
    old = os.umask(0o027)
    try:
        save_network(tmp_path / "deep" / "net", Transformer(SHAPE), language="toy")
    finally:
        os.umask(old)
    assert (tmp_path / "deep" / "net").stat().st_mode & 0o777 == 0o640
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["net"]


def test_a_network_comes_back(tmp_path):
    network = Transformer(SHAPE).reset(seed=3)
    save_network(tmp_path / "net", network, language="toy")
    again, about = load_network(tmp_path / "net")
    assert about["language"] == "toy" and again.shape == SHAPE and not again.training
    x = torch.randint(0, 4, (5, LENGTH), generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(x), again(x))
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_network(tmp_path / "nothing")


def test_the_network_of_a_training_checkpoint_is_its_average(whole, stored):
    network, about = load_network(stored)
    assert about["step"] == 40
    for a, b in zip(network.parameters(), whole.average.parameters(), strict=True):
        assert torch.equal(a, b)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


def test_every_flipped_bit_of_the_header_is_noticed(stored, tmp_path):
    content, path = stored.read_bytes(), tmp_path / "damaged"
    header = 8 + int.from_bytes(content[:8], "little")
    for place in [*range(0, header, 13), *range(header, len(content), 499), len(content) - 1]:
        path.write_bytes(flipped(content, place))
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoints.read(path)


class Canary:
    """What unpickling would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(kind, stored, tmp_path):
    """Writes a file of some kind, and says what is expected in the message besides its name."""
    path, content = tmp_path / "file", stored.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "longer":
        path.write_bytes(content + b"x")
    elif kind == "text":
        path.write_text("step 12, loss 0.3\n" * 20)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    elif kind == "torch.save":
        torch.save({"network": Canary(tmp_path / "canary")}, path)
    elif kind == "other project":
        save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    elif kind == "no metadata":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "no digest":
        save_file({"weight": torch.zeros(3)}, path, {"format": checkpoints.FORMAT})
    elif kind == "a network alone":
        save_network(path, Transformer(SHAPE))
    elif kind == "weights missing":
        tensors, about = checkpoints.read(stored)
        del tensors["average.head.weight"]
        checkpoints.write(path, tensors, about)
    return path


KINDS = [
    *("truncated", "empty", "longer", "text", "pickle", "torch.save", "other project"),
    *("no metadata", "no digest", "a network alone", "weights missing"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_checkpoint_of_this_run_is_refused(kind, stored, tmp_path):
    path = refused(kind, stored, tmp_path)
    content = path.read_bytes()
    with pytest.raises(CheckpointError, match=str(path)):
        a_run(checkpoint=path)
    if kind != "a network alone":
        with pytest.raises(CheckpointError, match=str(path)):
            load_network(path)
    assert path.read_bytes() == content and not (tmp_path / "canary").exists()


def test_the_canary_sings(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def other_masks(x0, mask_id, generator):
    return exact_count(x0, mask_id, generator)


OTHERS = {
    "shape": ({"shape": dataclasses.replace(SHAPE, layers=2)}, "layers is 1 there and 2 here"),
    "recipe": ({"recipe": dataclasses.replace(RECIPE, steps=50)}, "steps is 40 there and 50 here"),
    "seed": ({"recipe": dataclasses.replace(RECIPE, seed=1)}, "seed is 0 there and 1 here"),
    "objective": ({"objective": continuous_time}, "'exact_count' there and 'continuous_time' here"),
    "data": ({"data": FromLanguage(LANG, LENGTH, seed=1)}, "its data"),
    "language": ({"data": FromLanguage(NGram.random(2, 3, rng=5), LENGTH)}, "its data"),
    "length": ({"data": FromLanguage(LANG, LENGTH + 1)}, "its data"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_and_says_why(other, stored):
    options, message = OTHERS[other]
    with pytest.raises(CheckpointError, match=message) as error:
        a_run(checkpoint=stored, **options)
    assert str(stored) in str(error.value)


def test_objectives_of_one_name_are_told_apart(tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=2)
    one = partial(continuous_time, low_discrepancy=True)
    a_run(recipe, one, checkpoint=tmp_path / "run")
    with pytest.raises(CheckpointError, match="masks"):
        a_run(recipe, partial(continuous_time, low_discrepancy=False), checkpoint=tmp_path / "run")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("how", ["fsync", "replace", "device"])
def test_a_full_disk_is_an_error_and_the_earlier_checkpoint_stands(how, whole, tmp_path):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        a_run(data=Interrupting(14), checkpoint=path)
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        if how == "device":
            if not Path("/dev/full").exists():
                pytest.skip("no device that is always full")
            (tmp_path / "run.partial").symlink_to("/dev/full")
        else:
            patch.setattr(os, how, full_disk)
        with pytest.raises(OSError, match=r"No space left.*still stands") as error:
            a_run(checkpoint=path)
    assert error.value.errno == errno.ENOSPC and str(path) in str(error.value)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    assert same_run(a_run(checkpoint=path), whole)


def test_a_first_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="there is none yet"):
        a_run(checkpoint=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="checkpoint must be a file"):
        a_run(checkpoint=tmp_path)


# what goes wrong


def spoiled(at, by):
    """exact_count with weights that are no numbers from its call number `at` on (0: the check)."""
    calls = iter(range(10_000))

    def objective(x0, mask_id, generator):
        batch = exact_count(x0, mask_id, generator)
        bad = next(calls) > at
        return dataclasses.replace(batch, weights=batch.weights + by) if bad else batch

    return objective


@pytest.mark.parametrize("by", [float("inf"), float("nan")])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(by, tmp_path):
    path = tmp_path / "run"
    recipe = dataclasses.replace(RECIPE, report_every=5)
    weights = spoiled(27, by)
    with pytest.raises(Diverged, match=r"up to 30.*last good checkpoint is") as error:
        a_run(recipe, weights if by != by else spoiled(27, by), checkpoint=path)
    assert str(path) in str(error.value)
    network, about = load_network(path)
    assert about["step"] == 20 and len(about["history"]) == 4
    assert all(bool(weight.isfinite().all()) for weight in network.parameters())


@pytest.mark.parametrize("rate, steps", [(1e30, 40), (1e39, 1)])
def test_an_absurd_learning_rate_diverges(rate, steps, tmp_path):
    """Also when the loss was still a number and the weights no longer are."""
    recipe = dataclasses.replace(RECIPE, learning_rate=rate, steps=steps)
    with pytest.raises(Diverged, match="There is no checkpoint"):
        a_run(recipe, checkpoint=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, value",
    [
        *(("steps", 0), ("batch_size", 2.5), ("report_every", 0), ("checkpoint_every", -1)),
        *(("learning_rate", 0.0), ("learning_rate", float("nan")), ("clip", float("inf"))),
        *(("warmup", 1.5), ("ema", -0.1), ("betas", (0.9, 1.0)), ("betas", (0.9,))),
        *(("weight_decay", -1.0), ("precision", "float16"), ("seed", -1)),
    ],
)
def test_a_recipe_names_what_is_wrong_with_it(name, value):
    with pytest.raises(ValueError, match=name):
        Recipe(**{"steps": 10, name: value})


def test_data_of_another_size_are_refused():
    with pytest.raises(ValueError, match="data must give batch_size = 8"):
        a_run(data=lambda step, batch_size: DATA(step, batch_size - 1))


# data


def test_seeds_are_told_apart():
    numbers = [(a, b, c) for a in range(6) for b in range(6) for c in range(60)]
    assert len({seed_of(*n) for n in numbers}) == len(numbers)
    assert seed_of(4, 0) == seed_of(4)  # zeros at the end do not count
    corpus = {seed_of(a, data_module.CORPUS, 1 + begin) for a in range(6) for begin in range(60)}
    assert not corpus & {seed_of(a, step) for a in range(6) for step in range(1000)}
    assert all(0 <= seed_of(*n) < 2**63 for n in numbers[:50])


def test_fresh_text_is_a_function_of_the_step():
    one, two = FromLanguage(LANG, LENGTH, seed=4), FromLanguage(LANG, LENGTH, seed=4)
    assert torch.equal(one(7, 30), two(7, 30)) and one(7, 30).dtype == torch.int64
    assert one(7, 30).shape == (30, LENGTH)
    different = [one(step, 30) for step in range(5)] + [FromLanguage(LANG, LENGTH)(0, 30)]
    assert len({x.numpy().tobytes() for x in different}) == 6


class Counting:
    """A language whose n-th row spells n: every row of a corpus can be told apart."""

    vocab_size = 256

    def __init__(self):
        self.drawn = 0

    def sample(self, num, length, rng):
        rows = np.arange(self.drawn, self.drawn + num)
        self.drawn += num
        return rows[:, None] // 256 ** (np.arange(length) % 4) % 256


def rows_of(x):
    """Which rows of the corpus of `Counting` these are."""
    return (x * 256 ** torch.arange(x.shape[1])).sum(dim=1).tolist()


def test_an_epoch_meets_each_row_once_in_an_order_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(data_module, "ROWS_AT_A_TIME", 7)
    data = FromFile(write_corpus(tmp_path / "rows.npy", Counting(), 100, 3), seed=1)
    epochs = [[rows_of(data(5 * epoch + place, 20)) for place in range(5)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(sum(epoch, [])) == list(range(100))
    assert epochs[0] != epochs[1] != epochs[2]
    assert [sorted(batch) for batch in epochs[0]] != [sorted(batch) for batch in epochs[1]]
    assert rows_of(FromFile(data.path, seed=1)(12, 20)) == epochs[2][2]  # from nothing
    assert rows_of(FromFile(data.path, seed=2)(12, 20)) != epochs[2][2]
    left_over = [rows_of(data(step, 30)) for step in range(3)]
    assert len(set(sum(left_over, []))) == 90  # ten rows wait
    with pytest.raises(ValueError, match="batch_size must be at most 100"):
        data(0, 101)


@pytest.mark.parametrize("vocab_size, dtype", [(256, "u1"), (257, "u2"), (70_000, "i8")])
def test_a_token_takes_as_few_bytes_as_it_can(vocab_size, dtype, tmp_path):
    lang = Counting()
    lang.vocab_size = vocab_size
    path = write_corpus(tmp_path / "rows.npy", lang, 50, 2)
    assert np.load(path).dtype == np.dtype(dtype) and path.stat().st_size < 128 + 100 * 8 + 1
    assert FromFile(path)(0, 4).dtype == torch.int64


def test_a_corpus_need_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(data_module, "ROWS_AT_A_TIME", 1000)
    tracemalloc.start()
    try:
        path = write_corpus(tmp_path / "rows.npy", Counting(), 30_000, 500)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        data = FromFile(path)
        for step in range(0, 900, 30):
            data(step, 64)
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 15e6
    assert written < 14e6 and read < 2e6  # a thousand rows in int64 take 4 MB, three times at most


def test_a_corpus_is_not_the_fresh_text_of_its_seed(tmp_path):
    data = FromFile(write_corpus(tmp_path / "rows.npy", LANG, 40, 30, seed=0))
    assert not np.array_equal(data.rows, FromLanguage(LANG, 30, seed=0)(0, 40).numpy())
    assert np.isfinite(LANG.log_prob(data.rows.astype(np.int64))).all()
    again = write_corpus(tmp_path / "again.npy", LANG, 40, 30, seed=0)
    assert again.read_bytes() == data.path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.npy", "rows.npy"]


def test_a_corpus_trains_and_is_taken_up(tmp_path):
    data = FromFile(write_corpus(tmp_path / "rows.npy", LANG, 100, LENGTH))
    calls = iter(range(1000))

    def stops(step, batch_size):
        if next(calls) == 25:
            os.kill(os.getpid(), signal.SIGINT)
        return data(step, batch_size)

    with pytest.raises(KeyboardInterrupt):
        a_run(data=stops, checkpoint=tmp_path / "run")
    assert same_run(a_run(data=FromFile(data.path), checkpoint=tmp_path / "run"), a_run(data=data))


@pytest.mark.parametrize(
    "rows, message",
    [
        (np.zeros((3, 4)), "float64"),
        (np.zeros(5, dtype=np.uint8), r"uint8 \(5,\)"),
        (np.array([[None]]), "must be a .npy file"),
        (b"no numbers", "must be a .npy file"),
    ],
)
def test_a_file_that_is_no_corpus_is_refused(rows, message, tmp_path):
    path = tmp_path / "rows.npy"
    path.write_bytes(rows) if isinstance(rows, bytes) else np.save(path, rows)
    with pytest.raises(ValueError, match=message) as error:
        FromFile(path)(0, 1)
    assert str(path) in str(error.value)


def test_several_arrays_or_half_a_file_are_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", a=np.zeros((3, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match="several arrays"):
        FromFile(tmp_path / "rows.npz")(0, 1)
    path = write_corpus(tmp_path / "rows.npy", LANG, 40, 30)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"rows\.npy must be a \.npy file"):
        FromFile(path)(0, 1)
