"""Wall clock: counts against enumeration, the cost model against timed runs, the talk's row."""

import json
import math
import subprocess
import sys
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mdm_lab.denoisers import NetworkDenoiser
from mdm_lab.experiments import SIZES, cost, load, talk, wall_clock
from mdm_lab.samplers import sample
from mdm_lab.schedules import expected_nfe, reveal_probabilities
from mdm_lab.transformer import Cache, Shape, Transformer, flops

SMALL = {"vocab_size": 3, "width": 8, "layers": 1, "heads": 2}


def linear(steps, length):
    return expected_nfe(reveal_probabilities("linear", steps), length)


def spread(law):
    m = np.arange(len(law))
    return math.sqrt(law @ m**2 - (law @ m) ** 2)


@pytest.mark.parametrize(("steps", "length"), [(2, 3), (3, 2), (4, 4), (3, 6)])
def test_occupied_law_is_the_enumeration(steps, length):
    counts = [len(set(k)) for k in product(range(steps), repeat=length)]
    law = cost.occupied_law(steps, length)
    truth = [Fraction(counts.count(m), len(counts)) for m in range(len(law))]
    assert len(law) == max(counts) + 1
    assert np.allclose(law, [float(t) for t in truth], rtol=0, atol=1e-15)
    assert law @ np.arange(len(law)) == pytest.approx(linear(steps, length), rel=1e-13)
    busiest = [max(pair) for pair in product(counts, repeat=2)]
    assert cost.batch_calls(steps, length, 2) == pytest.approx(sum(busiest) / len(busiest))


def test_calls_of_a_batch_lie_between_those_of_a_text_and_of_all_tokens():
    for steps, length, batch in ((512, 256, 16), (64, 256, 4), (16, 3, 50)):
        calls = cost.batch_calls(steps, length, batch)
        assert linear(steps, length) < calls < linear(steps, batch * length) <= steps
        assert cost.batch_calls(steps, length, 1) == pytest.approx(linear(steps, length))


@pytest.mark.parametrize(("steps", "length", "batch"), [(8, 12, 1), (32, 16, 5), (64, 8, 3)])
def test_counted_calls_are_the_formulas(steps, length, batch):
    """Rows read and calls made of many runs, within four standard errors of their means."""
    network = Transformer(Shape(**SMALL))
    reveal, law, runs = reveal_probabilities("linear", steps), cost.occupied_law(steps, length), 60
    rows, calls = [], []
    for seed in range(runs):
        denoiser = NetworkDenoiser(network, 3)
        sample(denoiser, batch, length, reveal, seed)
        rows.append(denoiser.nfe / batch)
        calls.append(denoiser.calls)
    error = spread(law) / math.sqrt(runs * batch)
    assert abs(np.mean(rows) - linear(steps, length)) < 4 * error
    error = max(np.std(calls, ddof=1), 0.3) / math.sqrt(runs)
    assert abs(np.mean(calls) - cost.batch_calls(steps, length, batch)) < 4 * error


@pytest.mark.parametrize(("layers", "length"), [(1, 1), (2, 9), (3, 17)])
def test_flops_are_those_that_the_network_does(layers, length):
    shape = {"vocab_size": 5, "width": 16, "layers": layers, "heads": 2}
    both, causal = (Transformer(Shape(**shape, causal=c)) for c in (False, True))
    token = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as once:
            both(token.expand(1, length))
        cache = Cache(causal, 1, length)
        with FlopCounterMode(display=False) as one_by_one:
            for _ in range(length):
                causal(token, cache)
    full = flops(Shape(**shape), length)
    cached = cost.autoregressive_flops(Shape(**shape), length)
    assert (once.get_total_flops(), one_by_one.get_total_flops()) == (full, cached)
    assert cached <= full < 2 * cached and (cached == full) == (length == 1)


def test_a_token_of_diffusion_shares_its_call_with_ever_more_others():
    """thm-cross-over: calls a token fall strictly from 1, so one length is the cross-over."""
    for steps in (2, 7, 512):
        share = [linear(steps, length) / length for length in (1, 2, 3, 10, 100, 1000, 10_000)]
        assert share[0] == pytest.approx(1) and (np.diff(share) < 0).all()
        for ratio in (1.001, 1.5, 3, 40):
            length = cost.cross_over(steps, ratio)
            calls = steps * (1 - (1 - 1 / steps) ** length)
            assert ratio * calls == pytest.approx(length, rel=1e-9)
            assert length <= steps * ratio  # to float precision; below it in truth
    assert cost.cross_over(512, 40) > 0.999 * 512 * 40  # then hardly a step is empty
    with pytest.raises(ValueError, match="ratio"):
        cost.cross_over(512, 1.0)


def test_the_fits_find_the_law_that_made_the_numbers():
    flops = np.array([1e6, 3e7, 1e9, 4e10])
    overhead, pace = cost.fit_pace(flops, 2e-4 + flops / 3e10)
    assert overhead == pytest.approx(2e-4) and pace == pytest.approx(3e10)
    assert cost.fit_constant([200, 300, 500], [2.0, 3.0, 5.0]) == pytest.approx(0.01)
    noisy = np.array([1.9, 3.2, 5.0])
    best = cost.fit_constant([200, 300, 500], noisy)
    loss = lambda c: ((c * np.array([200, 300, 500]) / noisy - 1) ** 2).sum()  # noqa: E731
    assert loss(best) < min(loss(best * 1.001), loss(best * 0.999))
    with pytest.raises(ValueError, match="grow with flops"):
        cost.fit_pace([1e6, 1e9], [2.0, 1.0])
    with pytest.raises(ValueError, match="two sizes"):
        cost.fit_pace([1e6, 1e6], [2.0, 1.0])


def test_seconds_of_tokens_are_summed_over_what_stands_before():
    assert cost.autoregressive_seconds([0, 100], [1.0, 2.0], 101) == pytest.approx(151.5)
    assert cost.autoregressive_seconds([10], [2.0], 30) == pytest.approx(60)
    with pytest.raises(ValueError, match="contexts must increase"):
        cost.autoregressive_seconds([5, 5], [1.0, 1.0], 10)


def test_most_steps_is_the_last_that_fits():
    for length, seconds in ((50, 7.3), (300, 40.2), (300, 299.0)):
        steps = cost.most_steps(1.0, length, seconds)
        assert cost.run_seconds(1.0, steps, length) <= seconds
        assert cost.run_seconds(1.0, steps + 1, length) > seconds
    assert cost.most_steps(1.0, 50, 0.9) == 0 and cost.most_steps(1.0, 50, 50.0) == math.inf


def test_break_even_batch_is_where_the_two_take_equally_long():
    """prop-break-even and its corollary, on random machines."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = Shape(4, width=8 * int(rng.integers(1, 9)), layers=2, heads=2)
        length, steps = int(rng.integers(2, 2000)), int(rng.integers(8, 600))
        overheads, paces = rng.uniform(0.1, 3, 2) * 1e-3, rng.uniform(0.5, 2, 2) * 1e10
        calls = linear(steps, length)
        work = flops(shape, length), cost.autoregressive_flops(shape, length)
        seconds = lambda b: (  # noqa: B023, E731
            calls * (overheads[0] + b * work[0] / paces[0]),  # noqa: B023
            length * overheads[1] + b * work[1] / paces[1],  # noqa: B023
        )
        args = [(overheads[k], paces[k], work[k]) for k in (0, 1)]
        if calls * work[0] / paces[0] <= work[1] / paces[1]:
            with pytest.raises(ValueError, match="calls"):
                cost.break_even_batch(calls, length, *args)
            continue
        batch = cost.break_even_batch(calls, length, *args)
        diffusion, autoregressive = seconds(batch)
        assert diffusion == pytest.approx(autoregressive)
        assert seconds(batch - 1)[0] < seconds(batch - 1)[1]
        assert seconds(batch + 1)[0] > seconds(batch + 1)[1]
        if calls > paces[0] / paces[1]:
            token = 24 * 2 * shape.width**2 + 2 * shape.width * 4
            least = (calls - paces[0] / paces[1]) * token
            assert batch < overheads[1] * paces[0] / least


def per_call():
    """The talk's seconds of a step that reveals something, with their rounding: low and high."""
    calls = np.array([linear(talk.CLOCK_STEPS, length) for length in talk.CLOCK_LENGTHS])
    seconds = np.array(talk.CLOCK_MDM)
    return calls, (seconds - 0.05) / calls, (seconds + 0.05) / calls


def test_the_talks_row_is_one_constant_times_the_occupied_steps():
    calls, _, _ = per_call()
    seconds = np.array(talk.CLOCK_MDM)
    constant = cost.fit_constant(calls[:5], seconds[:5])
    assert (np.abs(constant * calls[:5] / seconds[:5] - 1) < 0.05).all()
    assert constant * calls[5] / seconds[5] < 0.7  # the last length is another regime
    without = cost.fit_constant([talk.CLOCK_STEPS] * 5, seconds[:5])
    assert np.abs(without * talk.CLOCK_STEPS / seconds[:5] - 1).max() > 0.3


def test_the_talks_row_is_not_that_of_steps_which_all_cost_a_call():
    """prop-convex: seconds that are convex in the length at least double their increments."""
    low, high = np.array(talk.CLOCK_MDM) - 0.05, np.array(talk.CLOCK_MDM) + 0.05
    most = high[1:] - low[:-1]
    least = low[1:] - high[:-1]
    assert (most[1:] < 2 * least[:-1])[:2].any()
    _, low, high = per_call()  # and with empty steps skipped, overhead and work do not add up
    assert high[4] - low[3] < (low[5] - high[4]) / 4


def test_smoke_run_from_the_command_line(tmp_path):
    """Every part is made, and its counts, which seeds decide, are those of the formulas."""
    command = [sys.executable, "-m", "mdm_lab.experiments", "wall-clock", "--tier", "smoke"]
    done = subprocess.run(
        [*command, "--workers", "1", "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "wall-clock.smoke.json").read_text())
    assert set(result["parts"]) == {p.key for p in wall_clock.parts(SIZES["wall-clock"]["smoke"])}
    check_counts(result["parts"])


def check_counts(parts):
    """The hard bounds run by run; the means of all runs together within four standard errors."""
    deviation = variance = 0.0
    for part in parts.values():
        if "run" not in part:
            assert all(t["wall"] > 0 and t["measurements"] >= 2 for t in part["call"].values())
            continue
        length, steps, batch = part["length"], part["steps"], part["batch"]
        skipping, everything, tokens = (
            part["run"][kind] for kind in ("skipping", "all steps", "autoregressive")
        )
        assert set(everything["calls"]) == {steps} and set(tokens["calls"]) == {length}
        assert set(everything["rows"]) == {steps * batch}
        assert set(tokens["rows"]) == {length * batch}
        for calls, rows in zip(skipping["calls"], skipping["rows"], strict=True):
            assert calls <= rows <= batch * calls and calls <= min(steps, length)
            deviation += rows - batch * linear(steps, length)
            variance += batch * spread(cost.occupied_law(steps, length)) ** 2
    assert abs(deviation) < 4 * math.sqrt(variance)


def test_committed_runs_are_calls_times_the_seconds_of_a_call():
    """Counts within four sigma; seconds within a factor of two: the machine had other work too.

    Counting empty steps as calls is further off: eight times at 64 tokens in 512 steps.
    """
    parts = load("wall-clock")["parts"]
    check_counts(parts)
    calls = {(p["length"], p["batch"]): p["call"] for p in parts.values() if "call" in p}
    contexts = sorted({length for length, _ in calls})
    for part in (p for p in parts.values() if "run" in p):
        length, steps, batch = part["length"], part["steps"], part["batch"]
        seconds = {kind: t["processor"] for kind, t in part["run"].items()}
        call = {kind: t["processor"] for kind, t in calls[length, batch].items()}
        token = [calls[n, batch]["autoregressive"]["processor"] for n in contexts]
        predicted = {
            "skipping": cost.run_seconds(call["skipping"], steps, length),
            "all steps": steps * call["all steps"],
            "autoregressive": cost.autoregressive_seconds(contexts, token, length),
        }
        for kind, value in predicted.items():
            assert 0.5 < value / seconds[kind] < 2, (kind, length, steps, batch)
