"""Experiments: nothing finished is lost, and provenance notices what matters."""

import base64
import dataclasses
import json
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import mdm_lab
from mdm_lab import exact
from mdm_lab.experiments import (
    SIZES,
    current_tier,
    is_current,
    load,
    measures,
    results,
    runner,
    ser_curves,
    ter_table,
)
from mdm_lab.experiments.__main__ import main, parts_of
from mdm_lab.experiments.languages import NAMES, language
from mdm_lab.experiments.results import Store, code_digest
from mdm_lab.experiments.runner import ClusterError, Part, cluster, run
from mdm_lab.information import factorisation_error, kappa
from mdm_lab.schedules import reveal_probabilities

quiet = lambda line: None  # noqa: E731


def work(key, log=None, fail=False):
    """A part that records that it ran."""
    if log is not None:
        with open(log, "a") as file:
            file.write(key + "\n")
    if fail:
        raise RuntimeError("power cut")
    return {"value": len(key)}


def wait_for(file, key=None):
    """A part that ends, or fails as `key`, when another process has made a file."""
    deadline = time.monotonic() + 120
    while not Path(file).exists():
        assert time.monotonic() < deadline, "the file never came"
        time.sleep(0.01)
    if key is not None:
        raise RuntimeError(f"power cut at {key}")
    return {}


def threads():
    """What a part may use of its machine."""
    import torch

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {"torch": torch.get_num_threads(), "limits": [os.environ.get(n) for n in names]}


def die():
    os._exit(1)


def store(folder):
    return Store(folder, "ser-curves", "smoke", {"a": (1, 2)})


def test_finished_parts_survive_a_crash_and_are_not_made_again(tmp_path):
    log = tmp_path / "log"
    names = ["a", "bb", "ccc"]
    parts = [Part(n, work, {"key": n, "log": str(log)}, cost=3 - i) for i, n in enumerate(names)]
    broken = [*parts[:2], Part("ccc", work, {"key": "ccc", "log": str(log), "fail": True}, 0.1)]
    with pytest.raises(RuntimeError, match="power cut"):
        run(broken, store(tmp_path), workers=1, report=quiet)
    assert sorted(store(tmp_path).parts) == ["a", "bb"]
    run(parts, store(tmp_path), workers=1, report=quiet)
    assert log.read_text().split() == ["a", "bb", "ccc", "ccc"]
    assert {k: p["value"] for k, p in store(tmp_path).parts.items()} == {"a": 1, "bb": 2, "ccc": 3}


def test_other_code_or_settings_start_afresh(tmp_path):
    first = store(tmp_path)
    first.add("a", {"value": 1, "seconds": 0.0})
    assert store(tmp_path).parts
    assert not Store(tmp_path, "ser-curves", "smoke", {"a": (1, 3)}).parts
    content = json.loads(first.path.read_text())
    content["provenance"]["code"] = "other"
    first.path.write_text(json.dumps(content))
    assert not store(tmp_path).parts


def without_seconds(parts):
    return {key: {k: v for k, v in p.items() if k != "seconds"} for key, p in parts.items()}


def test_two_processes_give_what_one_gives(tmp_path):
    parts = [Part(f"p{i}", work, {"key": "x" * i}) for i in range(5)]
    one, two = store(tmp_path / "one"), store(tmp_path / "two")
    run(parts, one, workers=1, report=quiet)
    run(parts, two, workers=2, report=quiet)
    assert without_seconds(one.parts) == without_seconds(two.parts) and len(two.parts) == 5


def test_processes_work_on_one_thread_each(tmp_path):
    mine = store(tmp_path)
    run([Part(f"p{i}", threads, {}) for i in range(4)], mine, workers=2, report=quiet)
    assert all(p["torch"] == 1 and p["limits"] == ["1"] * 3 for p in mine.parts.values())


def test_processes_keep_each_part_as_it_finishes_and_name_the_one_that_fails(tmp_path):
    """The failing part waits until the file holds the two others, so they were kept before it."""
    signal, mine = tmp_path / "signal", store(tmp_path)

    def report(line):
        if set(store(tmp_path).parts) == {"a", "bb"}:
            signal.touch()

    parts = [Part(key, work, {"key": key}) for key in ("a", "bb")]
    failing = Part("ccc", wait_for, {"file": str(signal), "key": "ccc"}, cost=9.0)
    with pytest.raises(RuntimeError, match="power cut at ccc") as caught:
        run([*parts, failing], mine, workers=2, report=report)
    assert caught.value.__notes__ == ["in part 'ccc'"]
    assert sorted(store(tmp_path).parts) == ["a", "bb"]


def test_only_some_parts_run_and_the_others_stay(tmp_path):
    log, mine = tmp_path / "log", store(tmp_path)
    mine.add("a", {"value": 7, "seconds": 0.0})
    mine.add("gone", {"value": 8, "seconds": 0.0})
    parts = [Part(n, work, {"key": n, "log": str(log)}) for n in ("a", "bb", "ccc")]
    run(parts, mine, workers=1, report=quiet, only=["bb"])
    assert log.read_text().split() == ["bb"]
    assert without_seconds(store(tmp_path).parts) == {"a": {"value": 7}, "bb": {"value": 2}}


@dataclasses.dataclass(frozen=True)
class OtherSize:
    """The sizes of an experiment that is unlike the first ones."""

    lengths: tuple = (8, 12)
    steps: tuple = (2, 4)
    vocab_size: int = 3
    curve_sequences: int = 16
    true_sequences: int = 8
    recipe: dict = dataclasses.field(default_factory=lambda: {"rate": 0.5})


def test_command_line_runs_the_parts_that_it_is_told(tmp_path, monkeypatch, capsys):
    """Also of an experiment whose sizes are a dataclass of its own."""
    monkeypatch.setitem(SIZES, "ter-table", {"smoke": OtherSize()})
    command = ["ter-table", "--tier", "smoke", "--workers", "1", "--out", str(tmp_path)]
    made = lambda: json.loads((tmp_path / "ter-table.smoke.json").read_text())  # noqa: E731
    assert main([*command, "--only", "2-gram L=8", "--only", "3-gram L"]) == 0
    first = made()
    assert set(first["parts"]) == {"2-gram L=8", "3-gram L=8", "3-gram L=12"}
    assert first["provenance"]["settings"]["recipe"] == {"rate": 0.5}
    assert first["provenance"]["device"] and first["provenance"]["processor"]

    first["parts"]["3-gram L=8"]["kept"] = True
    (tmp_path / "ter-table.smoke.json").write_text(json.dumps(first))
    assert main([*command, "--only", "2-gram L=8", "--fresh"]) == 0
    assert made()["parts"]["3-gram L=8"]["kept"] and len(made()["parts"]) == 3
    with pytest.raises(SystemExit):
        main([*command, "--only", "5-gram"])
    assert "2-gram L=12" in capsys.readouterr().err


def test_under_torchrun_every_rank_runs_the_parts_in_order_and_the_first_writes(
    tmp_path, monkeypatch, capsys
):
    """Every rank knows the same parts as finished, whatever the first writes meanwhile."""
    store(tmp_path).add("b", {"value": 1, "seconds": 0.0})
    monkeypatch.setenv("WORLD_SIZE", "2")
    stores, logs = [store(tmp_path) for _ in range(2)], []
    for rank, mine in enumerate(stores):
        monkeypatch.setenv("RANK", str(rank))
        logs.append(tmp_path / f"log{rank}")
        parts = [
            Part(key, work, {"key": key, "log": str(logs[-1])}, cost=cost)
            for key, cost in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 3.0))
        ]
        before = mine.path.read_bytes()
        run(parts, mine, workers=2)
        assert sorted(mine.parts) == ["a", "b", "c", "d"]
        assert (mine.path.read_bytes() == before) == (rank == 1)
        assert bool(capsys.readouterr().err) == (rank == 0)
    assert [log.read_text().split() for log in logs] == [["c", "d", "a"]] * 2
    with pytest.raises(ValueError, match="client"):
        run(parts, stores[0], client=object())


def test_rank_that_is_not_the_first_makes_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    store(tmp_path / "new").add("a", {"value": 1, "seconds": 0.0})
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def dask_cluster():
    """Two worker processes on this machine, and a part may take down none of them."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs="CRITICAL",
        ) as local,
    ):
        yield local


def test_cluster_gives_what_one_process_gives(tmp_path, dask_cluster):
    """From the command line, with the scheduler's address as with its file."""
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps(dask_cluster.scheduler.identity()))
    command = ["ter-table", "--tier", "smoke", "--out"]
    assert main([*command, str(tmp_path / "one"), "--workers", "1"]) == 0
    assert main([*command, str(tmp_path / "two"), "--dask", dask_cluster.scheduler_address]) == 0
    assert main([*command, str(tmp_path / "three"), "--dask", str(file), "--only", "2-gram L"]) == 0
    one, two, three = (
        json.loads((tmp_path / name / "ter-table.smoke.json").read_text())
        for name in ("one", "two", "three")
    )
    assert without_seconds(one["parts"]) == without_seconds(two["parts"])
    assert without_seconds(three["parts"]).items() <= without_seconds(one["parts"]).items()
    assert len(three["parts"]) == 2 and is_current(two, "ter-table")
    same = ("code", "versions", "device", "processor", "machine", "settings")
    assert all(one["provenance"][field] == two["provenance"][field] for field in same)
    assert two["provenance"]["cpu_count"] == 2


def test_cluster_with_other_code_or_versions_is_refused(tmp_path, dask_cluster):
    """Before the run, and by a worker that joins later."""
    address = dask_cluster.scheduler_address
    for field, other in (("code", "0" * 16), ("versions", {"mdm_lab": "0.0"})):
        mine = store(tmp_path)
        with cluster(address, mine) as client:
            mine.provenance[field] = other
            with pytest.raises(ClusterError, match=f"other {field}"):
                run([Part("a", work, {"key": "a"})], mine, report=quiet, client=client)
        with pytest.raises(ClusterError, match=f"other {field}"), cluster(address, mine):
            pass
        assert not mine.path.exists()
    with pytest.raises(ClusterError, match="worker x lacks this version"):
        runner._refuse_other("worker x", Exception("no module"), {})


def test_cluster_keeps_each_part_as_it_finishes_and_names_the_one_that_fails(
    tmp_path, dask_cluster
):
    signal, mine = tmp_path / "signal", store(tmp_path)

    def report(line):
        if set(store(tmp_path).parts) == {"a", "threads"}:
            signal.touch()

    parts = [Part("a", work, {"key": "a"}), Part("threads", threads, {})]
    failing = Part("ccc", wait_for, {"file": str(signal), "key": "ccc"}, cost=9.0)
    with cluster(dask_cluster.scheduler_address, mine) as client:
        with pytest.raises(RuntimeError, match="power cut at ccc") as caught:
            run([*parts, failing], mine, report=report, client=client)
        assert "in part 'ccc'" in caught.value.__notes__
        kept = store(tmp_path).parts
        assert sorted(kept) == ["a", "threads"] and kept["threads"]["torch"] == 1
        with pytest.raises(Exception, match="died") as caught:
            run([Part("fatal", die, {})], mine, report=quiet, client=client)
        assert any("'fatal'" in note for note in caught.value.__notes__)


def test_what_a_cluster_lacks_is_said(tmp_path, monkeypatch, capsys):
    command = ["ter-table", "--tier", "smoke", "--out", str(tmp_path), "--dask"]
    assert main([*command, str(tmp_path / "none.json")]) == 2
    assert "no scheduler has written" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*command, "tcp://localhost:1"]) == 2
    assert 'pip install "mdm-lab[dask]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_cluster_without_an_answer_or_without_workers_is_refused(tmp_path):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300ms"}),
        pytest.raises(ClusterError, match="no Dask scheduler at"),
        cluster("tcp://127.0.0.1:1", store(tmp_path)),
    ):
        pass
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=":0", silence_logs="CRITICAL"
        ) as empty,
        pytest.raises(ClusterError, match="no workers"),
        cluster(empty.scheduler_address, store(tmp_path)),
    ):
        pass


def test_digest_sees_code_and_not_comments(tmp_path, monkeypatch):
    package = tmp_path / "mdm_lab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "leaf.py").write_text('"""Doc."""\nX = 1\n')
    (package / "root.py").write_text("from mdm_lab.leaf import X\n")
    monkeypatch.setattr(results, "PACKAGE", package)
    before = code_digest("mdm_lab.root")
    (package / "leaf.py").write_text('"""Other words."""\n\nX = 1  # a comment\n')
    assert code_digest("mdm_lab.root") == before
    (package / "leaf.py").write_text("X = 2\n")
    assert code_digest("mdm_lab.root") != before


def test_release_makes_no_result_stale(tmp_path, monkeypatch):
    """The number of a release is not code; whatever else the package's own file says is."""
    package = tmp_path / "mdm_lab"
    package.mkdir()
    (package / "leaf.py").write_text("X = 1\n")
    (package / "root.py").write_text("from mdm_lab import leaf\n")
    monkeypatch.setattr(results, "PACKAGE", package)
    found = {}
    for name, text in {
        "first": '"""Doc."""\n\n__version__ = "0.1.0"\n',
        "later": '"""Other words."""\n\n__version__ = "2.0"\n',
        "more": '"""Doc."""\n\n__version__ = "0.1.0"\n\nX = 1\n',
    }.items():
        (package / "__init__.py").write_text(text)
        found[name] = code_digest("mdm_lab.root")
    assert found["first"] == found["later"] != found["more"]


def test_release_leaves_the_digest_of_every_experiment(monkeypatch):
    """The whole package under the next number, with what was known of its files forgotten."""
    before = {name: results.experiment_digest(name) for name in SIZES}
    own, read = results.PACKAGE / "__init__.py", Path.read_text

    def bumped(path, *args, **kwargs):
        text = read(path, *args, **kwargs)
        return text.replace(mdm_lab.__version__, "99.9") if path == own else text

    monkeypatch.setattr(Path, "read_text", bumped)
    assert "99.9" in own.read_text()
    assert {name: results.experiment_digest(name) for name in SIZES} == before


def test_tier_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("MDM_TIER", "cpu")
    assert current_tier() == "cpu" and current_tier("smoke") == "smoke"
    monkeypatch.setenv("MDM_TIER", "huge")
    with pytest.raises(ValueError, match="MDM_TIER"):
        current_tier()


def test_missing_result_says_how_to_make_it():
    with pytest.raises(FileNotFoundError, match="python -m mdm_lab.experiments ser-curves"):
        load("ser-curves", "nowhere")


@pytest.mark.parametrize("vocab_size", [3, 8])
def test_languages_of_the_experiments_forbid_something(vocab_size):
    for name in NAMES:
        lang = language(name, vocab_size)
        x = np.random.default_rng(0).integers(0, vocab_size, (50, 60))
        assert np.isneginf(lang.log_prob(x)).any()


def test_smoke_run_from_the_command_line(tmp_path):
    """The code of the committed results, in small: all parts, and better with more steps."""
    command = [sys.executable, "-m", "mdm_lab.experiments", "ser-curves", "--tier", "smoke"]
    command += ["--workers", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "ser-curves.smoke.json").read_text())
    wanted = ser_curves.parts(SIZES["ser-curves"]["smoke"])
    assert set(result["parts"]) == {part.key for part in wanted}
    assert is_current(result, "ser-curves")
    rows = result["parts"]["2-gram exact"]["rows"]
    for length in {row["length"] for row in rows}:
        of_length = [row for row in rows if row["length"] == length]
        ser = [row["ser"] for row in sorted(of_length, key=lambda row: row["steps"])]
        assert all(a > b > 0 for a, b in zip(ser, ser[1:], strict=False))


def test_row_of_the_table_is_the_factorisation_error_per_token():
    """Exact for the 2-gram; for the 3-gram sampled, with an error that covers the enumeration."""
    length, steps = 7, (2, 8)
    for name in ("2-gram", "3-gram"):
        lang, row = language(name, 3), ter_table.row(name, 3, length, steps, 1000)
        q = lang.enumerate(length)[1]
        assert row["entropy"] == pytest.approx(-(q[q > 0] @ np.log(q[q > 0])) / length)
        error = np.array(row["standard_error"])
        reveals = [reveal_probabilities("linear", n) for n in steps]
        truth = np.array([factorisation_error(lang, length, r) for r in reveals]) / length
        assert (np.abs(row["excess"] - truth) <= 4 * error + 1e-12).all()
        assert (error < 0.02 * truth).all() and (error > 0).all() == (name == "3-gram")
        assert row["steps"] == list(steps) and row["length"] == length


def test_true_increase_is_the_growth_of_the_divergence_by_a_token(monkeypatch):
    """By enumeration: log q - log p of the very sequences drawn, and the mean over all of them."""
    monkeypatch.setattr(ter_table, "TRUE_LENGTHS", (3, 6))
    monkeypatch.setattr(ter_table, "TRUE_STEPS", (2, 4))
    lang, num = language("2-gram", 3), 2000
    found, x = ter_table.true_increase(3, num), lang.sample(num, 6, rng=0)
    for k, n in enumerate((2, 4)):
        lost, mean = {}, {}
        for length in (3, 6):
            q = lang.enumerate(length)[1]
            p = exact.push_forward(lang, length, reveal_probabilities("linear", n))[1]
            index = x[:, :length] @ 3 ** np.arange(length)[::-1]
            lost[length] = np.log(q[index] / p[index])
            mean[length] = q[q > 0] @ np.log(q[q > 0] / p[q > 0])
        terms = (lost[6] - lost[3]) / 3
        assert found["excess"][k] == pytest.approx(terms.mean())
        assert found["standard_error"][k] == pytest.approx(np.sqrt(terms.var(ddof=1) / num))
        distance = found["excess"][k] - (mean[6] - mean[3]) / 3
        assert abs(distance) < 4 * found["standard_error"][k]
    assert found["lengths"] == [3, 6] and found["steps"] == [2, 4]
    assert found["kappa"] == kappa(lang)


def test_exact_rows_are_the_recursion_and_say_how_far_they_may_be_off():
    lang = language("2-gram", 3)
    rows = ser_curves.exact_ser(3, [9, 28, 40], [4, 16])["rows"]
    assert [(r["steps"], r["length"]) for r in rows] == list(product([4, 16], [9, 28, 40]))
    for row in rows:
        reveal = reveal_probabilities("linear", row["steps"])
        truth = exact.sequence_error_rate(lang, row["length"], reveal)
        assert row["ser"] == pytest.approx(truth, abs=1e-6)
        assert abs(np.log1p(-row["ser"]) - np.log1p(-truth)) <= row["log_valid_error"] + 1e-11
        assert (row["log_valid_error"] > 0) == (row["length"] > 28)


@pytest.mark.parametrize("tier", ["smoke", "cpu"])
def test_lengths_have_the_same_ratios_of_steps_to_tokens(tier):
    """Also the exact rows, which cover the lengths that are not sampled; no point shares a seed."""
    size = SIZES["ser-curves"][tier]
    first, *points = (part.arguments for part in ser_curves.parts(size))
    ratios = {n / max(size.lengths) for n in size.steps}
    for length in size.lengths:
        for name in NAMES:
            mine = [p for p in points if (p["name"], p["length"]) == (name, length)]
            assert {p["steps"] / length for p in mine} == ratios and len(mine) == len(ratios)
    assert first["lengths"] == [*size.lengths, *size.exact_lengths]
    assert set(first["steps"]) == {r * length for r in ratios for length in first["lengths"]}
    assert len({(p["name"], p["seed"]) for p in points}) == len(points)


def covers(interval, truth, most):
    """Four standard errors: twice the interval of 95 per cent, at most `most` wide."""
    low, high = (2 * interval[end] - interval["value"] for end in ("low", "high"))
    assert low <= truth <= high and interval["high"] - interval["low"] < most


@pytest.mark.parametrize("length", [9, 28, 40])
def test_both_experiments_have_one_exact_rate(length):
    """`log_valid` for one length and one N is its row for many, and the law of the sampler."""
    lang, steps = language("2-gram", 3), [3, 8]
    together = measures.log_valid(lang, [9, 28, 40], steps)
    for row, n in zip(together, steps, strict=True):
        [[(value, error)]] = measures.log_valid(lang, [length], [n])
        assert (value, error) == pytest.approx(row[[9, 28, 40].index(length)], abs=1e-12)
        truth = exact.sequence_error_rate(lang, length, reveal_probabilities("linear", n))
        assert -np.expm1(value) == pytest.approx(truth, abs=1e-6)
        assert (error > 0) == (length > measures.RECURSION_LENGTH)


def test_point_of_a_curve_is_the_law_of_the_sampler():
    length, steps, num = 6, 2, 2000
    reveal, chain = reveal_probabilities("linear", steps), language("2-gram", 3)
    found = ser_curves.point("2-gram", 3, length, steps, num, 5)
    x, p = exact.push_forward(chain, length, reveal)
    log_q = chain.log_prob(x)
    on = np.isfinite(log_q)
    covers(found["ser"], p[~on].sum(), 0.1)
    covers(found["generative_ter_on_support"], np.exp(-p[on] @ log_q[on] / p[on].sum() / 6), 0.1)
    assert found["nfe"] == pytest.approx(2 * (1 - 0.5**length), abs=0.02)  # no step without work
    assert found["teacher_forced_excess"] is None and found["sampled_entropy_per_token"] is None

    hmm, found = language("HMM", 3), ser_curves.point("HMM", 3, length, steps, num, 5)
    x, p = exact.push_forward(hmm, length, reveal)
    q = hmm.enumerate(length)[1]
    covers(found["ser"], p[q == 0].sum(), 0.1)
    covers(found["teacher_forced_excess"], factorisation_error(hmm, length, reveal) / length, 0.05)
    entropy = -(q[q > 0] @ np.log(q[q > 0])) / length
    assert found["sampled_entropy_per_token"] == pytest.approx(entropy, abs=0.05)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_committed_result_is_what_this_code_makes(name):
    result = load(name)
    if name != "trained-models":  # tests/test_trained_models.py repeats the beginning of the runs
        assert is_current(result, name), f"run: python -m mdm_lab.experiments {name} --tier cpu"
    size = SIZES[name]["cpu"]
    settings = {k: v for k, v in dataclasses.asdict(size).items() if k != "minutes"}
    assert result["provenance"]["settings"] == json.loads(json.dumps(settings))
    assert set(result["parts"]) == {part.key for part in parts_of(name, size, results.FOLDER)}
    assert size.minutes is not None


def test_teacher_forced_curves_of_different_lengths_coincide_over_steps():
    """All 54 cells: within a language the length moves a cell by the text's two ends, no more."""
    parts = load("ter-table")["parts"]
    for n in (2, 3, 4):
        rows = np.array([parts[f"{n}-gram L={length}"]["excess"] for length in (256, 512, 1024)])
        assert (np.ptp(rows, axis=0) < 0.01 * rows[2]).all()
        steps = np.array(parts[f"{n}-gram L=512"]["steps"])
        assert np.allclose(rows * steps, rows[:, -1:] * steps[-1], rtol=0.01)
        errors = np.array(parts[f"{n}-gram L=512"]["standard_error"])
        assert (errors < 0.001 * rows[1]).all()


def test_true_increase_lies_below_the_teacher_forced_and_tends_to_kappa():
    parts = load("ter-table")["parts"]
    true = parts["2-gram true"]
    paced = np.array(true["steps"]) * true["excess"]
    error = np.array(true["steps"]) * true["standard_error"]
    assert (np.diff(paced) < 0).all()
    assert abs(paced[-1] - true["kappa"]) < 4 * error[-1]
    assert true["kappa"] < 0.6 * 64 * parts["2-gram L=1024"]["excess"][0]


def test_ser_curves_of_different_lengths_coincide_over_steps_per_token():
    parts = load("ser-curves")["parts"]
    exact_rows = {(r["length"], r["steps"]): r["ser"] for r in parts["2-gram exact"]["rows"]}
    for per_token in (0.25, 1, 4):
        same = [exact_rows[length, int(per_token * length)] for length in (128, 256, 512, 1024)]
        assert max(same) - min(same) < 0.002
        assert exact_rows[512, 256] - exact_rows[128, 256] > 0.2  # at equal steps they differ
    for name in NAMES:
        for steps in (64, 128, 256, 512, 1024, 2048):
            long, short = (
                parts[f"{name} L={length} N={steps * length // 512}"]["ser"]
                for length in (512, 128)
            )
            assert long["low"] <= short["high"] and short["low"] <= long["high"]


def test_sampled_intervals_hold_the_exact_ser():
    """12 intervals of 95 per cent: fewer than 9 that hold it have a chance of 1 in 500."""
    parts = load("ser-curves")["parts"]
    truth = {(r["length"], r["steps"]): r["ser"] for r in parts["2-gram exact"]["rows"]}
    points = [p for p in parts.values() if p.get("language") == "2-gram"]
    held = [p["ser"]["low"] <= truth[p["length"], p["steps"]] <= p["ser"]["high"] for p in points]
    assert len(held) == 12 and sum(held) >= 9


ENDLESS = """
import os, sys, time
from pathlib import Path
from mdm_lab.experiments.results import Store
from mdm_lab.experiments.runner import Part, run

def endless(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    folder = sys.argv[1]
    import endless as module  # workers find the function by the module's name
    parts = [Part(key, module.endless, {"folder": folder}) for key in "abc"]
    run(parts, Store(folder, "talk", "smoke", {}), workers=2)
"""


def test_killed_run_leaves_no_worker_behind(tmp_path):
    """A run that is killed outright, not interrupted, takes its workers with it, parts and all."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system does not tell which processes are alive")
    script, started = tmp_path / "endless.py", tmp_path / "started"
    script.write_text(ENDLESS)
    started.mkdir()
    command = [sys.executable, script, started]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        soon = time.monotonic() + 300
        while len(list(started.iterdir())) < 2 and time.monotonic() < soon:
            time.sleep(0.05)
        process.kill()
    workers = [int(file.name) for file in started.iterdir()]
    assert len(workers) == 2 and process.pid not in workers
    soon = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < soon:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


def is_alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_figure_of_the_readme_is_the_chapters():
    """It is the committed output of the chapter's cell, not a picture of an older run."""
    root = Path(results.FOLDER).parent.parent
    notebook = json.loads((root / "book" / "experiments" / "ter-and-ser.ipynb").read_text("utf-8"))
    cell = next(cell for cell in notebook["cells"] if cell["id"] == "fig-curves")
    picture = next(o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o["data"])
    stored = root / "book" / "assets" / "ter-and-ser.png"
    assert stored.read_bytes() == base64.b64decode(picture)
    assert "book/assets/ter-and-ser.png" in (root / "README.md").read_text("utf-8")
