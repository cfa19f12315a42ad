"""Trained models: the committed runs begin as this code's do, and their results keep their word."""

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from worlds import random_ngram, random_table

from mdm_lab.denoisers import Oracle, Wrapped
from mdm_lab.experiments import SIZES, learning_error, load, trained_curves, trained_models
from mdm_lab.experiments.__main__ import main
from mdm_lab.experiments.languages import language
from mdm_lab.information import (
    end_points,
    factorisation_error,
    factorisation_error_estimate,
    information_curve_estimate,
)
from mdm_lab.languages import NGram
from mdm_lab.metrics import teacher_forced_log_prob
from mdm_lab.objectives import sequence_loss
from mdm_lab.schedules import reveal_probabilities, widths
from mdm_lab.training import checkpoints, load_network, train
from mdm_lab.training.loop import VALIDATION
from mdm_lab.training.recipe import seed_of


class Enough(Exception):
    """What a run is stopped with."""


@pytest.fixture(scope="module")
def models():
    return load("trained-models")


@pytest.fixture(scope="module")
def curves():
    return load("trained-curves")


@pytest.fixture(scope="module")
def languages(curves):
    named = curves["provenance"]["settings"]["models"]
    return {label: language(*name) for label, name in named.items()}


def numbers_of(settings, label, kind):
    """What `prepare` is told for a part of a result, from the settings that the result holds."""
    model = settings["models"][label]
    shape = {"vocab_size": model["vocab_size"], "causal": kind == "ar", **settings["shape"]}
    recipe = {**settings["recipe"], "steps": model[kind]}
    return model["language"], settings["length"], shape, recipe


def first_record(numbers, kind, folder):
    """The first entry of the history of a run that is stopped after it."""
    network, data, recipe = trained_models.prepare(*numbers)
    every, file = recipe.report_every, folder / "begun"
    recipe = dataclasses.replace(recipe, checkpoint_every=every, validate_every=0)

    def begin(step, batch_size):
        if step == every:
            raise Enough
        return data(step, batch_size)

    with pytest.raises(Enough):
        train(
            network,
            trained_models.KINDS[kind],
            begin,
            recipe,
            checkpoint=file,
            device="cpu",
            report=lambda line: None,
        )
    (record,) = checkpoints.read(file)[1]["history"]
    return record


@pytest.mark.parametrize(("label", "kind"), [("2-gram", "mdm"), ("small 4-gram", "ar")])
def test_training_begins_as_the_committed_run_did(models, tmp_path, label, kind):
    """For these results in place of the code's digest: the first steps of a run done again.

    Losses and gradients of a hundred updates depend on language, text, masks, weights, objective
    and optimiser; hours of training need not be repeated when a line elsewhere changes.
    """
    then = models["parts"][f"{label} {kind}"]["history"][0]
    now = first_record(numbers_of(models["provenance"]["settings"], label, kind), kind, tmp_path)
    assert now["step"] == then["step"]
    assert now["loss"] == pytest.approx(then["loss"], rel=1e-4)
    assert now["gradient_norm"] == pytest.approx(then["gradient_norm"], rel=1e-4)


def test_first_record_tells_another_recipe_apart(tmp_path):
    """Else the replay would prove nothing: it sees the number of all steps, and the seed."""
    smoke = SIZES["trained-models"]["smoke"]
    settings = json.loads(json.dumps(dataclasses.asdict(smoke)))
    numbers = numbers_of(settings, "2-gram", "mdm")
    found = [
        first_record((*numbers[:3], {**numbers[3], **change}), "mdm", tmp_path / str(i))["loss"]
        for i, change in enumerate(({}, {}, {"steps": 40}, {"seed": 1}))
    ]
    assert found[0] == found[1]
    assert all(abs(other / found[0] - 1) > 1e-4 for other in found[2:])


def test_committed_networks_are_those_of_the_result(models, languages):
    """Files, digests, what they say of themselves, and the loss that their training reported."""
    size = SIZES["trained-models"]["cpu"]
    held_out, recipe = size.held_out, models["provenance"]["settings"]["recipe"]
    keys = [f"{label} {kind}" for label in languages for kind in trained_models.KINDS]
    assert sorted(models["parts"]) == sorted(keys)
    for label, lang in languages.items():
        x0 = torch.as_tensor(lang.sample(held_out, size.length, trained_models.HELD_OUT))
        for kind, objective in trained_models.KINDS.items():
            part = models["parts"][f"{label} {kind}"]
            network, about = trained_models.network_of(label, kind)
            folder = trained_models.results.FOLDER / "trained-models.cpu"
            assert trained_models.digest(folder / part["file"]) == part["digest"]
            assert (about["language"], about["kind"]) == (part["language"], kind)
            assert network.shape.causal == (kind == "ar")
            assert network.vocab_size == lang.vocab_size == part["vocab_size"]
            assert network.parameters_count == part["parameters"]
            if label in ("2-gram", "small 4-gram"):
                seed = seed_of(recipe.get("seed", 0), VALIDATION)
                batch = objective(x0, lang.mask_id, seed)
                with torch.no_grad():
                    lost = float(sequence_loss(network(batch.inputs), batch).mean()) / size.length
                assert lost == pytest.approx(part["validation"], abs=1e-4)


def test_measurements_are_of_the_committed_networks(models, curves):
    """A digest in each of them, so that training again without measuring again is noticed."""
    digests = {key: part["digest"] for key, part in models["parts"].items()}
    for row in curves["parts"].values():
        kind = "mdm" if "steps" in row else "ar"
        assert row["network"] == digests[f"{row['label']} {kind}"]
    for label, row in load("learning-error")["parts"].items():
        assert row["networks"] == {kind: digests[f"{label} {kind}"] for kind in ("mdm", "ar")}


def test_missing_network_says_how_to_make_it(tmp_path):
    """The tier that was asked for, be it by name or by the folder that an experiment reads."""
    for where in ({"tier": "gpu"}, {"folder": tmp_path / "trained-models.gpu"}):
        with pytest.raises(FileNotFoundError, match="experiments trained-models --tier gpu"):
            trained_models.network_of("2-gram", "mdm", **where)


def finite(value):
    """Whether all numbers in nested dicts and lists are finite, infinite rates apart."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def test_smoke_run_end_to_end(tmp_path):
    """Train, keep, load and measure one language at the smallest size."""
    common = ["--tier", "smoke", "--workers", "1", "--out", str(tmp_path)]
    assert main(["trained-models", *common, "--only", "2-gram"]) == 0
    assert main(["trained-curves", *common, "--only", "2-gram"]) == 0
    assert main(["learning-error", *common, "--only", "2-gram"]) == 0
    made = {
        name: json.loads((tmp_path / f"{name}.smoke.json").read_text())["parts"]
        for name in ("trained-models", "trained-curves", "learning-error")
    }
    assert set(made["trained-models"]) == {"2-gram mdm", "2-gram ar"}
    assert set(made["trained-curves"]) == {"2-gram N=2", "2-gram N=8", "2-gram ar"}
    assert all(map(finite, made.values()))
    for part in made["trained-models"].values():
        file = tmp_path / "trained-models.smoke" / part["file"]
        network, about = load_network(file)
        assert trained_models.digest(file) == part["digest"]
        assert network.parameters_count == part["parameters"] and about["language"] == "2-gram"
        assert not file.with_suffix(".training").exists()
    for n in (2, 8):
        row = made["trained-curves"][f"2-gram N={n}"]
        parts = row["parts"]
        gap = parts["excess"]["value"] - sum(
            parts[key]["value"] for key in ("factorisation", "learning")
        )
        half = sum(
            parts[key]["high"] - parts[key]["value"]
            for key in ("excess", "factorisation", "learning")
        )
        assert abs(gap) < 1.5 * half
        assert row["ser"]["oracle"]["low"] <= row["ser_exact"] <= row["ser"]["oracle"]["high"]
        assert 0 < parts["impossible"]["value"] < -math.expm1(-parts["learning"]["value"])


def test_parts_read_the_networks_beside_them(tmp_path):
    for experiment, name in (
        (trained_curves, "trained-curves"),
        (learning_error, "learning-error"),
    ):
        parts = experiment.parts(SIZES[name]["smoke"], tmp_path / f"{name}.smoke")
        folder = str(tmp_path / "trained-models.smoke")
        assert all(part.arguments["folder"] == folder for part in parts)


@pytest.mark.parametrize("seed", range(3))
def test_leak_multiplies_the_chance_of_a_possible_text(seed):
    """prop-trained-leak by brute force: all texts, all assignments, a leak for each context."""
    size, vocab_size = 3, 3
    lang = (random_ngram(2, 3, 0.4, seed), random_table(3, 3, 0.4, seed))[seed % 2]
    rng = np.random.default_rng(seed)
    leaks = torch.as_tensor(0.3 * rng.random(((vocab_size + 1) ** size, size)))
    exact, mask = Oracle(lang), vocab_size

    def leak(xt):
        numbers = leaks[xt @ (mask + 1) ** torch.arange(size)]
        return numbers * (exact(xt) == 0).any(dim=-1)

    def answer(xt):
        q, m = exact(xt), leak(xt)[..., None]
        spread = (q == 0) / (q == 0).sum(dim=-1, keepdim=True).clamp(min=1)
        return (1 - m) * q + m * spread

    leaky = Wrapped(answer, vocab_size)
    everything = torch.as_tensor(list(itertools.product(range(vocab_size), repeat=size)))
    possible = torch.isfinite(torch.as_tensor(lang.log_prob(everything.numpy())))
    assert 0 < possible.sum() < len(possible)
    texts = everything[possible]
    w = widths(reveal_probabilities("cosine", 3))
    right = clean = formula = mass = square = whole = 0.0
    for sigma in itertools.product(range(3), repeat=size):
        chance = w[list(sigma)].prod()
        of_leaky = chance * teacher_forced_log_prob(leaky, everything, np.array(sigma)).exp()
        of_exact = chance * teacher_forced_log_prob(exact, texts, np.array(sigma)).exp()
        right, whole = right + float(of_leaky[possible].sum()), whole + float(of_leaky.sum())
        later = torch.tensor([[s >= sigma[i] for s in sigma] for i in range(size)])
        met = torch.stack([leak(torch.where(h, mask, texts))[:, i] for i, h in enumerate(later)])
        clean += float(of_exact.sum())
        formula += float(of_exact @ (1 - met).prod(dim=0))
        mass += float(of_exact @ met.sum(dim=0))
        square += float(of_exact @ met.sum(dim=0).square())
    assert whole == pytest.approx(1, abs=1e-12)
    assert right == pytest.approx(formula, abs=1e-12) and formula < clean - 1e-3
    kept, first, rounding = right / clean, 1 - mass / clean, 1e-12
    assert first - rounding <= kept <= first + square / clean / 2 + rounding


@pytest.mark.parametrize("seed", range(3))
def test_every_denoiser_is_a_leak_in_a_repaired_one(seed):
    """prop-trained-repair by brute force: answers at random, wrong among possible tokens as well.

    With the perfect denoiser in place of the repaired one the equation would not hold.
    """
    size, vocab_size = 3, 3
    lang = (random_ngram(2, 3, 0.4, seed), random_table(3, 3, 0.4, seed))[seed % 2]
    rng = np.random.default_rng(seed)
    table = torch.as_tensor(rng.dirichlet(np.ones(vocab_size), ((vocab_size + 1) ** size, size)))
    exact, mask = Oracle(lang), vocab_size

    def answer(xt):
        return table[xt @ (mask + 1) ** torch.arange(size)]

    def leak(xt):
        return torch.where(exact(xt) == 0, answer(xt), 0.0).sum(dim=-1)

    def repaired(xt):
        law = torch.where(exact(xt) > 0, answer(xt), 0.0)
        return law / law.sum(dim=-1, keepdim=True)

    network, clean = Wrapped(answer, vocab_size), Wrapped(repaired, vocab_size)
    everything = torch.as_tensor(list(itertools.product(range(vocab_size), repeat=size)))
    possible = torch.isfinite(torch.as_tensor(lang.log_prob(everything.numpy())))
    assert 0 < possible.sum() < len(possible)
    texts = everything[possible]
    w = widths(reveal_probabilities("cosine", 2))
    right = formula = with_exact = unspoilt = 0.0
    for sigma in itertools.product(range(2), repeat=size):
        chance, order = w[list(sigma)].prod(), np.array(sigma)
        later = torch.tensor([[s >= sigma[i] for s in sigma] for i in range(size)])
        met = torch.stack([leak(torch.where(h, mask, texts))[:, i] for i, h in enumerate(later)])
        kept = (1 - met).prod(dim=0)
        probs = (teacher_forced_log_prob(d, texts, order).exp() for d in (network, clean, exact))
        of_network, of_clean, of_exact = probs
        right += chance * float(of_network.sum())
        formula += chance * float(of_clean @ kept)
        with_exact += chance * float(of_exact @ kept)
        unspoilt += chance * float(of_clean.sum())
    assert right == pytest.approx(formula, abs=1e-12)
    assert abs(right - with_exact) > 1e-3 and right < unspoilt - 1e-3


def intervals(row, key):
    return (row["parts"][key][name] for name in ("value", "low", "high"))


def test_measured_excess_is_factorisation_plus_learning(curves, languages):
    """thm-learning in the committed numbers; the factorisation error is computed afresh here.

    Of 30 intervals of 95 per cent, 24 or fewer that hold have a chance below 1 in 200, were they
    independent. With the few steps factorisation cannot be left out, with the many steps learning.
    """
    settings = curves["provenance"]["settings"]
    length, steps = settings["length"], settings["steps"]
    inside = 0
    for label, lang in languages.items():
        reveals = [reveal_probabilities("linear", n) for n in steps]
        if label == "2-gram":
            lost = [factorisation_error(lang, length, reveal) for reveal in reveals]
        else:
            lost, _ = factorisation_error_estimate(lang, length, reveals, 32, 1)
        for n, factors in zip(steps, lost, strict=True):
            row = curves["parts"][f"{label} N={n}"]
            _, low, high = intervals(row, "excess")
            learnt = row["parts"]["learning"]["value"]
            inside += low <= factors / length + learnt <= high
            if n == steps[0]:
                assert not low <= learnt <= high
            if n == steps[-1] and label != "2-gram":
                assert not low <= factors / length <= high
            if label == "2-gram":
                assert row["factorisation_exact"] == pytest.approx(factors / length)
    assert inside > 0.8 * len(steps) * len(languages)


def test_learning_part_tends_to_the_gap_of_the_loss(models, curves, languages):
    """prop-loss-is-learning-error: loss less exact loss, and the learning part at the largest N."""
    settings = curves["provenance"]["settings"]
    length, n = settings["length"], settings["steps"][-1]
    seed = seed_of(models["provenance"]["settings"]["recipe"].get("seed", 0), VALIDATION)
    for label, lang in languages.items():
        x0 = torch.as_tensor(lang.sample(512, length, trained_models.HELD_OUT))
        batch = trained_models.KINDS["mdm"](x0, lang.mask_id, seed)
        q = torch.as_tensor(lang.posterior(batch.inputs.numpy()))
        nats = -q.gather(-1, batch.targets[..., None])[..., 0].log()
        floor = torch.where(batch.weights > 0, batch.weights * nats, 0.0).sum(dim=1) / length
        gap = models["parts"][f"{label} mdm"]["validation"] - float(floor.mean())
        learnt, _, _ = intervals(curves["parts"][f"{label} N={n}"], "learning")
        assert gap == pytest.approx(learnt, rel=0.25, abs=2e-3)


def test_sequence_error_rates_keep_to_the_bound(curves, languages):
    """thm-ser-bound with the measured excess, and the exact law of the 2-gram's perfect sampler."""
    settings = curves["provenance"]["settings"]
    length, held = settings["length"], []
    for label in languages:
        for n in settings["steps"]:
            row = curves["parts"][f"{label} N={n}"]
            bound = -math.expm1(-length * row["parts"]["excess"]["high"])
            assert row["ser"]["mdm"]["low"] <= bound
            if label == "2-gram":
                sampled = row["ser"]["oracle"]
                held.append(sampled["low"] <= row["ser_exact"] <= sampled["high"])
        ar = curves["parts"][f"{label} ar"]
        assert ar["ser"]["ar"]["low"] <= -math.expm1(-length * ar["learning"]["high"])
    assert sum(held) >= len(held) - 1


def test_leaking_mass_predicts_the_sequence_error_rate(curves, languages):
    """The first-order prediction is nearer to what was measured than the perfect denoiser's rate,

    and than the rate of a denoiser that leaks all of its error; it is an observation, not a law.
    """
    settings = curves["provenance"]["settings"]
    length, misses = settings["length"], {"leak": [], "none": [], "all": []}
    for label in languages:
        for n in settings["steps"]:
            row = curves["parts"][f"{label} N={n}"]
            perfect, found = row["ser"]["oracle"]["value"], row["ser"]["mdm"]["value"]
            leaks = {
                "leak": row["parts"]["impossible"]["value"],
                "none": 0.0,
                "all": row["parts"]["learning"]["value"],
            }
            for name, mass in leaks.items():
                misses[name].append(abs(1 - (1 - perfect) * math.exp(-length * mass) - found))
    means = {name: np.mean(values) for name, values in misses.items()}
    assert means["leak"] < 0.5 * means["none"] and means["leak"] < 0.5 * means["all"]


def test_steps_beyond_the_balance_hardly_help(models, curves, languages):
    """eq-trained-balance: below N* the excess falls by doubling N, far above it it does not."""
    settings = curves["provenance"]["settings"]
    length, steps = settings["length"], settings["steps"]
    seen = {"below": 0, "above": 0}
    for label, lang in languages.items():
        if isinstance(lang, NGram):
            first, last = end_points(lang, length)
        else:
            first, last = information_curve_estimate(lang, length, [0.0, 1.0], 200, 0)[0]
        limit = curves["parts"][f"{label} N={steps[-1]}"]["parts"]["learning"]["value"]
        balance = (first - last) / (2 * length) / limit
        for n, twice in itertools.pairwise(steps):
            before, after = (
                curves["parts"][f"{label} N={k}"]["parts"]["excess"] for k in (n, twice)
            )
            if twice < balance / 2:
                assert after["low"] < 0.75 * before["high"]
                seen["below"] += 1
            elif n > 4 * balance:
                assert after["high"] > 0.85 * before["low"]
                seen["above"] += 1
    assert seen["above"]


def test_two_processes_train_the_same_networks(tmp_path):
    """torchrun with two processes, several parts: the losses of one process."""
    command = ["-m", "mdm_lab.experiments", "trained-models", "--tier", "smoke", "--only", "2-gram"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    found = []
    for run, launch in enumerate((launcher, [])):
        words = [*launch, *command, "--workers", "1", "--out", str(tmp_path / str(run))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words], check=True, env=environment, capture_output=True)
        parts = json.loads((tmp_path / str(run) / "trained-models.smoke.json").read_text())["parts"]
        found.append({key: [row["loss"] for row in part["history"]] for key, part in parts.items()})
    assert set(found[0]) == set(found[1]) == {"2-gram mdm", "2-gram ar"}
    for key, losses in found[0].items():
        assert losses == pytest.approx(found[1][key], rel=1e-5)


def test_abandoned_runs_are_those_that_were_made_again_at_a_lower_rate():
    abandoned = json.loads((trained_models.folder_of("cpu") / "abandoned.json").read_text())
    models = SIZES["trained-models"]["cpu"].models
    again = {f"{label} mdm" for label, model in models.items() if "rates" in model}
    assert set(abandoned["parts"]) == again
    for key, run in abandoned["parts"].items():
        kept = load("trained-models")["parts"][key]
        assert run["parameters"] == kept["parameters"] and run["validation"] > kept["validation"]
