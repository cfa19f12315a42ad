"""The exponential race on a lattice of uniforms: its law by enumeration, its rate, its remedies."""

from itertools import product

import numpy as np
import pytest
import torch
from brute import answers, counts_fit, push_forward, without_masks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mutants import mistaken, tightened
from worlds import every_state

from mdm_lab import exact, numerics, reverse
from mdm_lab.denoisers import Oracle
from mdm_lab.languages import NGram
from mdm_lab.numerics import gumbel_race, race_law, race_rate, step_race
from mdm_lab.schedules import reveal_probabilities

few = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 2**32 - 1)
LEVEL = 1e-4  # of the chi-square tests: with the seeds fixed they pass or fail for good


def random_law(seed, size, zeros=0.3):
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=size) * (rng.random(size) > zeros)
    weights[rng.integers(size)] += 0.1
    return torch.as_tensor(weights / weights.sum())


def kernel(p, r):
    """The law of a masked token after a step: r p, then the mask."""
    return torch.tensor([*(r * np.asarray(p)), 1 - r], dtype=torch.float64)


def counted(probs, draw, num=200_000):
    """How often each index was drawn; `draw` takes `num` copies of the law `probs`."""
    return np.bincount(draw(probs.expand(num, -1)).numpy(), minlength=len(probs))


@few
@given(seeds, st.sampled_from([(2, 2), (3, 2), (2, 3), (3, 3), (1, 4)]), st.booleans())
def test_race_law_is_the_law_by_enumeration_of_all_uniforms(seed, shape, even):
    """prop-race-law, ties and impossible candidates included; equal weights tie the most."""
    bits, size = shape
    probs = torch.full((size,), 1 / size, dtype=torch.float64) if even else random_law(seed, size)
    grid = torch.arange(2**bits, dtype=torch.float64) / 2**bits
    u = torch.cartesian_prod(*[grid] * size)
    scores = probs / (numerics.GUARD - torch.log(u + numerics.GUARD))
    law = torch.bincount(scores.argmax(dim=1), minlength=size) / len(u)
    torch.testing.assert_close(race_law(probs, bits), law.double(), atol=1e-12, rtol=0)


@few
@given(seeds, st.integers(1, 8))
def test_race_law_is_a_law_and_takes_batches(seed, bits):
    probs = torch.stack([random_law(seed, 4), random_law(seed + 1, 4)])
    law = race_law(probs, bits)
    assert (law.sum(dim=-1) - 1).abs().max() < 1e-12 and (law[probs == 0] == 0).all()
    torch.testing.assert_close(law[1], race_law(probs[1], bits), atol=1e-15, rtol=0)


def bounds(p, i, r, bits, constant=1.0):
    """thm-race-rate: the two sides for token i, x and y multiplied by `constant`."""
    points, weight = 2.0**bits, r * p[i]

    def phi(x):
        return x / np.expm1(x)

    low = phi(constant * (1 - weight) / (points * weight)) / (1 - weight)
    high = phi(constant * (1 - r) / (points * weight)) / (1 - r)
    low -= 2 * weight / (1 - weight) ** 2
    return low, high + (1 / p.max() + 1 / (points * p[i])) / (points * r)


@pytest.mark.parametrize(
    "constant",
    [
        pytest.param(1.0, id="stated"),
        tightened(2.0, id="twice the lattice"),
        tightened(0.5, id="half the lattice"),
    ],
)
def test_rate_lies_between_its_bounds(constant, monkeypatch):
    """thm-race-rate on random laws, without the guard; a lattice of another spacing falls out."""
    monkeypatch.setattr(numerics, "GUARD", 0.0)
    rng = np.random.default_rng(0)
    for bits, r in product((8, 11, 14), (0.25, 2.0**-4, 2.0**-6, 2.0**-8)):
        p = np.sort(rng.dirichlet(np.full(4, 0.5)))
        p = np.maximum(p, 1e-4) / np.maximum(p, 1e-4).sum()
        law = race_law(kernel(p, r), bits).numpy()
        for i in range(4):
            low, high = bounds(p, i, r, bits, constant)
            assert low - 1e-12 <= law[i] / (r * p[i]) <= high + 1e-12


@pytest.mark.parametrize("r", [2.0**-6, 2.0**-8])
def test_rate_is_the_limit_when_the_lattice_refines_as_fast_as_the_step(r):
    """cor-race-limit: the distance from x/(e^x - 1) falls as r does, x held at 1/2, 1 and 2."""

    def worst(r):
        bits = int(np.log2(1 / r)) + 6  # 2^bits r = 64
        p = np.array([1 / 128, 1 / 64, 1 / 32])
        p = np.append(p, 1 - p.sum())
        law = race_law(kernel(p, r), bits).numpy()[:3]
        return np.abs(law / (r * p[:3]) - race_rate(p[:3], r, bits)).max()

    assert worst(r / 4) < worst(r)
    assert worst(r) < 0.02


def test_rate_of_float32_by_counting_all_of_its_uniforms():
    """A token of probability 1e-4 against the mask at N = 1024, in float32 arithmetic throughout.

    The guard delays the token's clock by 1e-10 / weight, a factor exp(-1e-10 / weight).
    """
    weight = 1e-4 * 2.0**-10
    law = race_law(torch.tensor([weight, 1 - weight], dtype=torch.float64))
    guard = np.exp(-numerics.GUARD / weight)
    for bits, right in ((24, True), (23, False), (25, False)):
        off = abs(law[0].item() / weight - race_rate(1.0, weight, bits) * guard)
        assert (off < 1e-4) == right


def test_float32_uniforms_are_a_lattice():
    """What all of this rests on: torch.rand in float32 gives multiples of 2^-24, float64 finer."""
    single = torch.rand(2**20, generator=torch.Generator().manual_seed(0))
    double = torch.rand(2**20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for u, share in ((single, 1.0), (double, 0.0)):
        steps = u.double() * 2**numerics.FLOAT32_BITS
        assert (steps == steps.round()).double().mean() == share
    assert single.max() < 1


@pytest.mark.parametrize("bits", [6, 10])
def test_draws_have_the_law_of_the_race_and_not_that_of_the_kernel(bits):
    """The failing specimen: 4 sigma, and chi-square, on the same draws."""
    law = kernel([0.02, 0.08, 0.3, 0.6], 2.0 ** -(bits - 4))
    raced, num = race_law(law, bits), 400_000
    counts = counted(law, lambda laws: gumbel_race(laws, 1, bits), num)
    sigma = (num * raced * (1 - raced)).sqrt().numpy()
    assert (np.abs(counts - num * raced.numpy()) <= 4 * sigma + 1).all()
    assert counts_fit(counts, raced.numpy()) > LEVEL
    assert counts_fit(counts, law.numpy()) < LEVEL


REMEDIES = {
    "inverse CDF": lambda laws: reverse.categorical(laws, 1),
    "float64 race": lambda laws: gumbel_race(laws, 2, numerics.FLOAT64_BITS),
    "multinomial": lambda laws: torch.multinomial(
        laws, 1, generator=torch.Generator().manual_seed(3)
    )[:, 0],
    "specimen": lambda laws: gumbel_race(laws, 1, 10),
}


@pytest.mark.parametrize("name", [*REMEDIES, "when, then what"])
def test_remedies_pass_the_test_that_the_specimen_fails(name):
    p, r = [0.02, 0.08, 0.3, 0.6], 2.0**-6
    law = kernel(p, r)
    if name == "when, then what":
        num = 200_000
        xt = torch.full((num, 1), 4)
        probs = torch.tensor(p, dtype=torch.float64).expand(num, 1, -1)
        xs = reverse.step_two_stage(xt, probs, r, 4)[:, 0]
        counts = np.bincount(xs.numpy(), minlength=5)
    else:
        counts = counted(law, REMEDIES[name])
    assert (counts_fit(counts, law.numpy()) > LEVEL) == (name != "specimen")


def test_float32_draws_of_the_specimen():
    """Real float32: 4 sigma around the law counted over all uniforms, at weights that matter not.

    Where the lattice matters a token has probability about 2^-24 a draw, too little to be seen by
    drawing within seconds: that regime is held by counting, above.
    """
    law = kernel([0.25, 0.75], 0.5)
    counts = counted(law, lambda laws: gumbel_race(laws, 0))
    assert counts_fit(counts, law.numpy()) > LEVEL


def test_specimen_step_carries_over_and_keeps_its_mistake_to_the_masks():
    xt = torch.tensor([[0, 3, 3]]).expand(100_000, -1)
    p = torch.tensor([0.02, 0.18, 0.8], dtype=torch.float64)
    probs = p.expand(*xt.shape, -1)
    xs = step_race(xt, probs, 2.0**-4, 0, bits=8)
    assert (xs[:, 0] == 0).all()
    counts = np.bincount(xs[:, 1:].flatten().numpy(), minlength=4)
    assert counts_fit(counts, race_law(kernel(p, 2.0**-4), 8).numpy()) > LEVEL
    fine = step_race(xt, probs, 2.0**-4, 0, bits=numerics.FLOAT64_BITS)
    counts = np.bincount(fine[:, 1:].flatten().numpy(), minlength=4)
    assert counts_fit(counts, kernel(p, 2.0**-4).numpy()) > LEVEL


def text_law(lang, steps, bits=None):
    """The law over texts of length 3, by the race if `bits` is given."""

    def matrix(table, r):
        states = torch.as_tensor(every_state(lang.vocab_size, 3))
        kernel = reverse.reverse_kernel(states, table, r)
        if bits is not None:
            laws, index = torch.unique(kernel.flatten(0, 1), dim=0, return_inverse=True)
            kernel = race_law(laws, bits)[index].reshape(kernel.shape)
        return np.prod([kernel[:, i][:, states[:, i]].numpy() for i in range(3)], axis=0)

    law = push_forward(answers(Oracle(lang), 3), reveal_probabilities("linear", steps), matrix)
    return without_masks(law, lang.vocab_size, 3)


def distance(p, q):
    return np.abs(p - q).sum() / 2


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_the_sequence_error_rate_does_not_show_the_trap(seed):
    """Fewer wrong texts than the kernel's, and a law that is further from the language."""
    lang = NGram.random(2, 3, prune=0.12, rng=seed)
    q = lang.enumerate(3)[1]
    right, raced = text_law(lang, 8), text_law(lang, 8, bits=5)
    expected = exact.sequence_error_rate(lang, 3, reveal_probabilities("linear", 8))
    assert right[q == 0].sum() == pytest.approx(expected, abs=1e-12)
    assert raced[q == 0].sum() < 0.9 * expected
    assert distance(raced, q) > 1.5 * distance(right, q)


def test_steps_beyond_the_lattice_change_nothing():
    """With 2^3 uniforms and 128 or 512 steps: the kernel's SER falls to a quarter, the race's not.

    So the race's ends up above the kernel's, in however many steps.
    """
    lang = NGram.random(2, 3, prune=0.12, rng=4)
    wrong = lang.enumerate(3)[1] == 0
    few, many = text_law(lang, 128, bits=3), text_law(lang, 512, bits=3)
    assert distance(few, many) < 1e-6 and few[wrong].sum() > 1e-5
    kernel = [
        exact.sequence_error_rate(lang, 3, reveal_probabilities("linear", n)) for n in (128, 512)
    ]
    assert kernel[1] < 0.3 * kernel[0]


def entropies(p, r, bits):
    """(H(p~), cross-entropy of p~ under p), nats, of the law that a short race reveals by."""
    law = p * race_rate(p, r, bits)
    assume(law.sum() > 0)  # else r is so small that nothing is revealed at all
    law = law / law.sum()
    shown = law > 0
    return -(law[shown] @ np.log(law[shown])), -(law @ np.log(p))


def tailed(seed):
    """A random law in increasing order, without zeros."""
    p = np.random.default_rng(seed).dirichlet(np.ones(5)).clip(1e-6)
    return np.sort(p / p.sum())


@few
@given(seeds, st.floats(1e-4, 0.5), st.integers(6, 24))
def test_rate_sharpens_the_law_and_shorter_steps_sharpen_it_more(seed, r, bits):
    """prop-race-sharpens: H(p~) <= cross-entropy of p~ under p <= H(p), and ratios fall with r."""
    p = tailed(seed)
    rates = [race_rate(p, step, bits) for step in (r, r / 2)]
    for step, rate in zip((r, r / 2), rates, strict=True):
        assert (np.diff(rate) >= -1e-12).all()
        own, cross = entropies(p, step, bits)
        assert own <= cross + 1e-12 and cross <= -(p @ np.log(p)) + 1e-12
    assert (rates[1] <= rates[0]).all()
    assert (rates[1][:-1] * rates[0][1:] <= rates[0][:-1] * rates[1][1:] + 1e-12).all()


@pytest.mark.parametrize(
    "change",
    [pytest.param(0.5, id="stated"), mistaken(2.0, id="longer steps")],
)
@pytest.mark.parametrize("which", [0, 1], ids=["entropy", "perplexity"])
@few
@given(seeds, st.floats(1e-3, 0.5), st.integers(6, 14))
def test_neither_entropy_nor_perplexity_rises_as_steps_get_shorter(which, change, seed, r, bits):
    """prop-race-sharpens, 3; were it said of longer steps, it would be wrong of either."""
    p = tailed(seed)
    assert entropies(p, change * r, bits)[which] <= entropies(p, r, bits)[which] + 1e-12


def test_rate_at_its_ends():
    assert race_rate(0.3, 1.0) == 1 and race_rate(0.0, 0.5) == 0 and race_rate(0.5, 0.0) == 0
    x = 2.0**-24 * (1 - 2.0**-10) / (2.0**-10 * 1e-4)
    assert np.isclose(race_rate(1e-4, 2.0**-10), x / (np.exp(x) - 1), rtol=1e-14)
    assert race_rate([0.1, 0.2], 0.5).shape == (2,)


def test_float32_uniforms_never_hit_a_small_token_by_inverse_cdf():
    """All 2^12 uniforms of a 12-bit lattice: a token of probability 2^-14 has none, or one."""
    lattice = torch.arange(2**12, dtype=torch.float64) / 2**12
    for start, hits in ((1000.5 / 2**12, 0), (0.25 - 2.0**-15, 1)):
        p = torch.tensor([start, 2.0**-14, 1 - start - 2.0**-14], dtype=torch.float64)
        drawn = reverse.inverse_cdf(p.expand(2**12, -1), lattice)
        assert (drawn == 1).sum() == hits


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda p: gumbel_race(2 * p, 0), "probs"),
        (lambda p: gumbel_race(p, None), "generator"),
        (lambda p: gumbel_race(p, 0, bits=54), "bits"),
        (lambda p: gumbel_race(p, 0, bits=0), "bits"),
        (lambda p: race_law(p, bits=25), "bits"),
        (lambda p: race_rate(1.5, 0.5), "p"),
        (lambda p: race_rate(0.5, -0.1), "reveal"),
    ],
)
def test_wrong_input_is_named(call, named):
    with pytest.raises(ValueError, match=f"^{named} must"):
        call(torch.tensor([0.5, 0.5], dtype=torch.float64))
