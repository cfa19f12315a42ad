"""The information curve, the factorisation error and first-order constants against brute force."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import (
    hmms,
    ngrams,
    random_hmm,
    random_ngram,
    random_table,
    reveals,
    seeds,
    worlds,
    zeros,
)

from mdm_lab import exact
from mdm_lab.information import (
    end_points,
    factorisation_error,
    factorisation_error_estimate,
    factorisation_error_in_order,
    first_order_excess,
    impossible_pair_curve,
    impossible_pair_mass,
    information_curve,
    information_curve_enumerated,
    information_curve_estimate,
    kappa,
    optimal_reveal,
    pair_information,
    reveal_by_density,
)
from mdm_lab.information import estimate as estimation
from mdm_lab.information.curve import is_small, total_entropy
from mdm_lab.information.estimate import _curve_samples, _with_control
from mdm_lab.languages import HMM, NGram, Table, pairs
from mdm_lab.schedules import reveal_probabilities, revealed_fractions, widths

relaxed = settings(deadline=None, max_examples=20)
TIGHT = 1e-10


def entropy(law):
    return -(law * np.log(np.where(law > 0, law, 1))).sum(axis=-1)


def brute_curve(lang, length, u):
    """f(u) by its definition: every token, every set of visible others, every sequence."""
    x, q = lang.enumerate(length)
    x, q = x[q > 0], q[q > 0]
    out = np.zeros(np.shape(u))
    for visible in product([False, True], repeat=length):
        visible = np.array(visible)
        if visible.all():
            continue
        left = entropy(lang.posterior(np.where(visible, x, lang.mask_id)))
        seen = visible.sum()
        # i is masked, and the mask pattern of the others is `visible`
        out += q @ left[:, ~visible].sum(axis=1) * u**seen * (1 - u) ** (length - 1 - seen)
    return out


def brute_factorisation_error(lang, length, reveal):
    """The mean of KL(q || p_sigma) over all assignments sigma of tokens to steps."""
    x, q = lang.enumerate(length)
    x, q = x[q > 0], q[q > 0]
    w, total = widths(reveal), 0.0
    for sigma in product(range(len(reveal)), repeat=length):
        sigma, log_p = np.array(sigma), 0.0
        for k in set(sigma.tolist()):
            probs = lang.posterior(np.where(sigma < k, x, lang.mask_id))
            for i in np.flatnonzero(sigma == k):
                log_p = log_p + np.log(probs[np.arange(len(x)), i, x[:, i]])
        total += w[sigma].prod() * (q @ (np.log(q) - log_p))
    return total


def sticky(stay=0.98):
    """Two tokens that mostly repeat: a curve far from a straight line."""
    return NGram(np.array([0.5, 0.5]), np.array([[stay, 1 - stay], [1 - stay, stay]]))


def noisy_copy():
    """A hidden bit that mostly stays, seen through noise."""
    return HMM(np.array([0.3, 0.7]), sticky(0.9).transition, sticky(0.95).transition)


def parity(length):
    """Uniform over the bit strings with an even sum."""
    even = np.indices((2,) * length).sum(axis=0) % 2 == 0
    return Table(even / even.sum())


# The curve

U = np.array([0.0, 0.13, 0.5, 0.94, 1.0])


@relaxed
@given(worlds())
def test_curve_is_its_definition(world):
    lang, length = world
    truth = brute_curve(lang, length, U)
    assert np.abs(information_curve(lang, length, U) - truth).max() < TIGHT
    assert np.abs(information_curve_enumerated(lang, length, U) - truth).max() < TIGHT


@relaxed
@given(seeds, zeros, st.integers(1, 400))
def test_integral_of_the_curve_is_the_entropy(seed, share, length):
    lang = random_ngram(2, 3, share, seed)
    nodes, weights = np.polynomial.legendre.leggauss(220)  # exact for polynomials of degree 439
    integral = weights / 2 @ information_curve(lang, length, (nodes + 1) / 2)
    entropies = lang.entropy(length) if length > 1 else entropy(lang.initial)
    assert integral == pytest.approx(entropies, rel=TIGHT, abs=TIGHT)


@relaxed
@given(worlds())
def test_curve_never_rises(world):
    lang, length = world
    curve = information_curve(lang, length, np.linspace(0, 1, 50))
    assert (np.diff(curve) <= 1e-12).all()


def test_curve_keeps_the_shape_of_u():
    lang = NGram.random(2, 3)
    assert information_curve(lang, 5, 0.5).shape == ()
    assert information_curve(lang, 5, U.reshape(1, 5)).shape == (1, 5)
    assert information_curve(pairs(2), 4, 0.5).shape == ()


@relaxed
@given(ngrams(), st.integers(0, 2))
def test_end_points_are_those_of_the_enumerated_curve(world, more):
    lang, length = world
    length += more if lang.vocab_size == 2 else 0
    truth = information_curve_enumerated(lang, length, np.array([0.0, 1.0]))
    assert np.abs(np.array(end_points(lang, length)) - truth).max() < TIGHT


def test_end_points_of_long_ngrams():
    """A 2-gram written as a 4-gram has the closed form's end points at any length."""
    chain = random_ngram(2, 3, 0.3, 7)
    start = chain.initial[:, None, None] * chain.transition[:, :, None] * chain.transition
    four = NGram(start, np.broadcast_to(chain.transition, (3, 3, 3, 3)))
    truth = information_curve(chain, 90, np.array([0.0, 1.0]))
    assert np.abs(np.array(end_points(four, 90)) - truth).max() < TIGHT
    assert np.abs(information_curve(four, 90, np.array([1.0, 0.0])) - truth[::-1]).max() < TIGHT


@relaxed
@given(worlds())
def test_pair_information_is_the_slope_at_zero(world):
    lang, length = world
    x, q = lang.enumerate(length)
    table, truth = q.reshape((lang.vocab_size,) * length), 0.0
    for i, j in combinations(range(length), 2):
        joint = table.sum(axis=tuple(k for k in range(length) if k not in (i, j)))
        both = entropy(joint.ravel())
        truth += entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - both
    assert pair_information(lang, length) == pytest.approx(truth, abs=TIGHT)
    step = 1e-5
    f = information_curve(lang, length, np.array([0.0, step, 2 * step]))
    assert (4 * f[1] - 3 * f[0] - f[2]) / (2 * step) == pytest.approx(-2 * truth, abs=1e-6)


def brute_pair_information(lang, length, u):
    """sum_{i<j} E I(X_i; X_j | X_S), from the posteriors: H(X_i | x_S) - H(X_i | x_S, X_j)."""
    x, q = lang.enumerate(length)
    x, q, total = x[q > 0], q[q > 0], 0.0
    for visible in product([False, True], repeat=length):
        visible, seen = np.array(visible), sum(visible)
        hidden = np.flatnonzero(~visible)
        alone = entropy(lang.posterior(np.where(visible, x, lang.mask_id)))
        for j in hidden:
            with_j = visible | (np.arange(length) == j)
            told = alone - entropy(lang.posterior(np.where(with_j, x, lang.mask_id)))
            mean = q @ told[:, hidden[hidden < j]].sum(axis=1)
            total = total + mean * u**seen * (1 - u) ** (length - 2 - seen)
    return total


@relaxed
@given(worlds())
def test_pair_information_is_its_definition_at_every_level(world):
    lang, length = world
    inside = U[1:-1]
    truth = brute_pair_information(lang, length, inside) if length > 1 else 0 * inside
    assert np.abs(pair_information(lang, length, inside) - truth).max() < 1e-9
    ends = pair_information(lang, length, U[[0, -1]])
    near = pair_information(lang, length, np.array([1e-9, 1 - 1e-9]))
    assert ends == pytest.approx(near, abs=1e-5)


def test_pair_information_of_a_long_chain_is_half_the_slope_and_keeps_the_shape():
    lang, step = NGram.random(2, 4, prune=0.1, rng=2), 1e-4
    u = np.array([[0.2, 0.5], [0.7, 0.9]])
    slope = information_curve(lang, 60, u + step) - information_curve(lang, 60, u - step)
    told = pair_information(lang, 60, u)
    assert told.shape == (2, 2)
    assert told == pytest.approx(-slope / (4 * step), rel=1e-4)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    total = weights / 2 @ pair_information(lang, 60, (1 + nodes) / 2)
    assert total == pytest.approx(first_order_excess(lang, 60))
    with pytest.raises(ValueError, match="u must lie in"):
        pair_information(lang, 60, 1.5)


def test_what_is_not_exact_is_refused_and_the_estimate_named():
    with pytest.raises(ValueError, match=r"use information_curve_estimate\(lang, length, u, num"):
        information_curve(NGram.random(3, 4), 64, 0.5)
    with pytest.raises(ValueError, match="use information_curve_estimate"):
        factorisation_error(pairs(16), 64, [1.0])
    with pytest.raises(ValueError, match="too large to enumerate"):
        impossible_pair_mass(pairs(16), 64)
    with pytest.raises(ValueError, match="u must lie in"):
        information_curve(pairs(2), 2, 1.5)


def test_worlds_of_the_largest_size_count_as_small_and_no_larger():
    """(V+1)^L up to 2^24."""
    for vocab_size, length in ((3, 12), (15, 6)):
        assert is_small(pairs(vocab_size), length)
        assert not is_small(pairs(vocab_size), length + 1)


def test_long_curves_are_refused_as_soon_as_one_point_is_inside():
    with pytest.raises(ValueError, match="use information_curve_estimate"):
        information_curve(NGram.random(3, 4), 64, np.array([0.0, 0.5, 1.0]))
    for u in (-0.1, 1.1):
        with pytest.raises(ValueError, match="u must lie in"):
            information_curve(NGram.random(2, 3), 5, u)


# The factorisation error


@relaxed
@given(worlds(), reveals())
def test_factorisation_error_is_the_mean_divergence_over_assignments(world, reveal):
    lang, length = world
    truth = brute_factorisation_error(lang, length, reveal)
    assert factorisation_error(lang, length, reveal) == pytest.approx(truth, abs=TIGHT)


@relaxed
@given(worlds(), reveals())
def test_factorisation_error_bounds_the_true_excess_and_is_bounded(world, reveal):
    lang, length = world
    error = factorisation_error(lang, length, reveal)
    assert length * exact.true_excess(lang, length, reveal) <= error + TIGHT
    first, last = end_points(lang, length)
    assert error <= widths(reveal).max() * (first - last) + TIGHT


def test_convexity_gap_on_pairs():
    """KL(q || p) = -(L/2) ln(1 - (1 - 1/V)/N) < E_sigma KL = (L/2) ln V / N for N > 1."""
    for steps in (2, 3, 5):
        reveal = reveal_probabilities("linear", steps)
        assert factorisation_error(pairs(2), 6, reveal) == pytest.approx(3 * np.log(2) / steps)
        truth = -3 * np.log1p(-1 / (2 * steps))
        assert 6 * exact.true_excess(pairs(2), 6, reveal) == pytest.approx(truth)


def in_order_by_posteriors(lang, steps):
    """KL(q || p_sigma) from log p_sigma, token by token, at every text of the support."""
    x, q = lang.enumerate(len(steps))
    x, q = x[q > 0], q[q > 0]
    log_p = np.zeros(len(x))
    for i, step in enumerate(steps):
        probs = lang.posterior(np.where(steps < step, x, lang.mask_id))
        log_p += np.log(probs[np.arange(len(x)), i, x[:, i]])
    return q @ (np.log(q) - log_p)


@relaxed
@given(worlds(), st.data())
def test_error_in_order_is_the_divergence_of_that_order(world, data):
    """Steps need not start at 0 nor be without gaps."""
    lang, length = world
    steps = np.array(data.draw(st.lists(st.integers(0, 4), min_size=length, max_size=length)))
    truth = in_order_by_posteriors(lang, steps)
    assert factorisation_error_in_order(lang, steps) == pytest.approx(truth, abs=TIGHT)
    assert factorisation_error_in_order(lang, 3 * steps + 2) == pytest.approx(truth, abs=TIGHT)


def test_error_in_order_ends_and_refusals():
    lang = NGram.random(2, 4, prune=0.1, rng=2)
    one_step = factorisation_error(lang, 70, [1.0])
    assert factorisation_error_in_order(lang, np.zeros(70, dtype=int)) == pytest.approx(one_step)
    assert factorisation_error_in_order(lang, np.arange(70)[::-1]) == pytest.approx(0, abs=1e-9)
    for steps in ([], [0.5, 1.0], [-1, 0], [[0, 1]]):
        with pytest.raises(ValueError, match="steps must be a list of whole numbers"):
            factorisation_error_in_order(lang, steps)
    with pytest.raises(ValueError, match="too large to enumerate"):
        factorisation_error_in_order(pairs(16), np.zeros(64, dtype=int))


@relaxed
@given(seeds, zeros)
def test_first_order_excess_is_the_limit_of_the_error(seed, share):
    lang, scaled = random_ngram(2, 3, share, seed), []
    for steps in (400, 800):
        reveal = reveal_probabilities("linear", steps)
        scaled.append(steps * factorisation_error(lang, 30, reveal))
    limit = 2 * scaled[1] - scaled[0]  # the 1/N term removed
    assert first_order_excess(lang, 30) == pytest.approx(limit, rel=1e-3, abs=1e-8)


# The optimal schedule


def left_error(curve, total, u):
    u = np.concatenate([[0.0], np.atleast_1d(u), [1.0]])
    return np.diff(u) @ curve(u[:-1]) - total


def curve_of(lang, length):
    return (lambda u: information_curve(lang, length, u)), total_entropy(lang, length)


CURVES = {
    "sticky": curve_of(sticky(), 60),
    "parity": curve_of(parity(7), 7),
    "table": curve_of(random_table(2, 6, 0.5, 1), 6),
    "4-gram": curve_of(random_ngram(4, 2, 0.5, 3), 8),
}


@pytest.mark.parametrize("name", CURVES)
def test_optimal_schedule_is_no_worse_than_any_on_a_grid(name):
    curve, total = CURVES[name]
    grid = np.linspace(0, 1, 201)
    f = curve(grid)
    two = (grid * f[0] + (1 - grid) * f).min() - total
    three = min(
        (a * f[0] + (grid[i:] - a) * f[i] + (1 - grid[i:]) * f[i:]).min()
        for i, a in enumerate(grid)
    )
    for steps, best in ((2, two), (3, three - total)):
        found = left_error(curve, total, revealed_fractions(optimal_reveal(curve, steps))[1:])
        assert found <= best + TIGHT
        assert found >= best - 0.01 * total


@pytest.mark.parametrize("name", CURVES)
def test_optimal_schedule_is_better_than_uniform_and_its_neighbours(name):
    curve, total = CURVES[name]
    rng = np.random.default_rng(0)
    for steps in (2, 5, 16):
        reveal = optimal_reveal(curve, steps)
        best = widths(reveal) @ curve(revealed_fractions(reveal)) - total
        assert best < left_error(curve, total, np.arange(1, steps) / steps)
        for _ in range(20):
            w = widths(reveal) * np.exp(0.02 * rng.standard_normal(steps))
            assert best <= left_error(curve, total, np.cumsum(w / w.sum())[:-1]) + 1e-12


@pytest.mark.parametrize("name", ["sticky", "parity"])
def test_many_optimal_steps_follow_the_square_root_of_the_slope(name):
    curve, total = CURVES[name]
    grid = np.linspace(0, 1, 20001)
    density = np.sqrt(np.maximum(-np.gradient(curve(grid), grid), 0))
    limit = np.trapezoid(density, grid) ** 2 / 2
    reveal = optimal_reveal(curve, 256)
    error = widths(reveal) @ curve(revealed_fractions(reveal)) - total
    assert 256 * error == pytest.approx(limit, rel=0.02)
    assert limit < 0.8 * (curve(0.0) - curve(1.0)) / 2  # uniform steps tend to the latter


def test_optimal_schedule_of_straight_and_rough_curves():
    straight = optimal_reveal(lambda u: 3 - 2 * u, 4)
    assert straight == pytest.approx(reveal_probabilities("linear", 4))
    assert optimal_reveal(lambda u: 3 + 0 * u, 2) == pytest.approx([0.5, 1])
    assert optimal_reveal(CURVES["parity"][0], 1) == pytest.approx([1])
    for name, (curve, _) in CURVES.items():  # independent tokens beside change nothing
        raised = optimal_reveal(lambda u, curve=curve: 50 + curve(u), 5)
        assert raised == pytest.approx(optimal_reveal(curve, 5), abs=1e-5), name
    with pytest.raises(ValueError, match="curve must be smooth"):
        optimal_reveal(lambda u: np.where(u < 0.3, 1.0, 0.0), 4)


def test_optimal_schedule_of_a_curve_that_is_zero_is_uniform():
    """The curve of a text that is certain: no schedule loses anything."""
    assert optimal_reveal(lambda u: 0 * u, 4) == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])


@pytest.mark.parametrize(
    "density, inverse",
    [
        (lambda u: 3 + 0 * u, lambda mass: mass),
        (lambda u: u, np.sqrt),
        (lambda u: (1 - u) ** 2, lambda mass: 1 - np.cbrt(1 - mass)),
        (lambda u: (u > 0.5) * 1.0, lambda mass: np.where(mass > 0, 0.5 + mass / 2, 0)),
    ],
    ids=["flat", "rising", "falling", "zero at first"],
)
def test_steps_by_density_take_equal_masses(density, inverse):
    for steps in (1, 2, 7):
        reveal = reveal_by_density(density, steps)
        begin = inverse(np.arange(steps) / steps)
        assert reveal[-1] == 1 and len(reveal) == steps
        assert revealed_fractions(reveal) == pytest.approx(begin, abs=5e-4)


def test_steps_by_density_do_not_depend_on_its_size_and_refuse_what_is_none():
    shape = reveal_by_density(lambda u: 1 + u**2, 5)
    assert reveal_by_density(lambda u: 70 + 70 * u**2, 5) == pytest.approx(shape)
    assert reveal_by_density(lambda u: 0 * u + 2, 4) == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])
    for bad in (lambda u: 0 * u, lambda u: u - 0.5, lambda u: np.where(u > 0.5, np.nan, 1)):
        with pytest.raises(ValueError, match="density must be finite, at least 0"):
            reveal_by_density(bad, 4)
    with pytest.raises(ValueError, match="steps"):
        reveal_by_density(lambda u: 1 + u, 0)


# Estimates


@pytest.mark.parametrize(
    "lang",
    [random_ngram(3, 2, 0.4, 1), random_hmm(3, 2, 0.3, 2), random_ngram(2, 3, 0.3, 3)],
    ids=["3-gram", "HMM", "2-gram"],
)
def test_curve_estimate_covers_the_exact_curve(lang):
    value, error = information_curve_estimate(lang, 8, U, 4000, 1)
    truth = information_curve_enumerated(lang, 8, U)
    assert (np.abs(value - truth) <= 4 * error + TIGHT).all()
    assert (error[1:-1] > 0).all() and (error < 0.02 * truth[0]).all()
    assert error[0] == 0


def test_curve_estimate_at_the_end_of_an_hmm_is_sampled_and_of_an_ngram_exact():
    hmm, length = HMM.random(3, 8, rng=0), 40
    value, error = information_curve_estimate(hmm, length, np.array([0.0, 1.0]), 50, 0)
    assert error[0] == 0 and error[1] > 0
    lang = random_ngram(3, 8, 0.3, 0)
    value, error = information_curve_estimate(lang, length, np.array([0.0, 1.0]), 50, 0)
    assert (error == 0).all() and value == pytest.approx(end_points(lang, length))


def test_curve_estimate_of_a_long_hmm_agrees_with_the_chain_it_is():
    chain = NGram.random(2, 4, prune=0.1, rng=2)
    hmm = HMM(chain.initial, chain.transition, np.eye(4))
    value, error = information_curve_estimate(hmm, 40, U, 400, 0)
    assert (np.abs(value - information_curve(chain, 40, U)) <= 4 * error + TIGHT).all()
    assert error[0] == 0 and (error[1:] > 0).all()


def test_standard_error_of_the_curve_estimate_divides_by_num_less_one():
    lang = random_ngram(3, 2, 0.0, 1)
    samples = _curve_samples(lang, 8, U[1:-1], 5, 3)
    value, error = information_curve_estimate(lang, 8, U[1:-1], 5, 3)
    assert value == pytest.approx(samples.mean(axis=0))
    assert error == pytest.approx(np.sqrt(samples.var(axis=0, ddof=1) / 5))


@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_degree_is_refused_from_four_errors_and_a_thousandth_of_the_result(spread, monkeypatch):
    """Curves are set to (tail + noise) T_4 + rest T_1; no H(X) is known at this length."""
    z = spread * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    own = np.sqrt((z @ z) / 3 / 5)  # the standard error: 5 sequences, less 2 for the regression
    top = np.array([1.0, -1.0, 1.0, -1.0, 1.0])  # T_4 at its 5 nodes
    slope = np.array([-1.0, -np.sqrt(0.5), 0.0, np.sqrt(0.5), 1.0])  # T_1 there

    def estimate(tail, rest):
        samples = np.outer(tail + z, top) + rest * slope
        monkeypatch.setattr(estimation, "_curve_samples", lambda *args: samples)
        return factorisation_error_estimate(pairs(16), 64, [[1.0]], 5, 0, degree=4)

    last = 16 / 15  # T_4(-1) less its integral over [0, 1], -1/15
    edge = 4 * own / (1 - 1e-3) if spread else 1e-3 / (1 - 1e-3)
    rest = 0.0 if spread else -last  # T_1(-1) less its integral: -1
    value, error = estimate(0.99 * edge, rest)
    assert value == pytest.approx([last * 0.99 * edge - rest])
    assert error == pytest.approx([last * own])
    with pytest.raises(ValueError, match="use a larger degree"):
        estimate(1.01 * edge, rest)


LISTS = [
    reveal_probabilities("linear", 4),
    reveal_probabilities("linear", 64),
    reveal_probabilities("cosine", 16),
]


def test_error_estimate_is_calibrated_against_the_closed_form():
    """Scores of independent runs have mean 0 and spread 1, and the estimate is very accurate."""
    lang, length = NGram.random(2, 4, prune=0.1, rng=2), 48
    truth = np.array([factorisation_error(lang, length, r) for r in LISTS])
    runs = [factorisation_error_estimate(lang, length, LISTS, 60, seed) for seed in range(60)]
    scores = np.array([(value - truth) / error for value, error in runs])
    assert (np.abs(scores.mean(axis=0)) < 4 / np.sqrt(60)).all()
    assert (np.abs(scores.std(axis=0) - 1) < 0.4).all()
    assert (runs[0][1][:2] < [0.01, 0.001] * truth[:2]).all()


@pytest.mark.parametrize(
    "lang",
    [random_ngram(3, 2, 0.0, 1), random_ngram(4, 2, 0.0, 4), noisy_copy()],
    ids=["3-gram", "4-gram", "HMM"],
)
def test_error_estimate_covers_the_enumerated_error(lang):
    truth = np.array([factorisation_error(lang, 9, r) for r in LISTS])
    value, error = factorisation_error_estimate(lang, 9, LISTS, 2000, 5)
    assert (np.abs(value - truth) < 4 * error).all()
    assert (error < 0.05 * truth).all()


def test_control_variate_takes_out_all_that_the_control_explains():
    rng = np.random.default_rng(0)
    control, noise = rng.standard_normal((2, 50)) + 0.3
    left = _with_control(np.stack([2 * control + noise, noise + 1], axis=1), control)
    assert np.abs((control - control.mean()) @ left).max() < TIGHT
    slope = np.polyfit(control, noise, 1)[0]
    assert (
        np.abs(left - np.stack([noise, noise + 1], axis=1) + slope * control[:, None]).max() < TIGHT
    )


def test_error_estimate_of_a_long_hmm_agrees_with_the_chain_it_is():
    """A chain written as an HMM: its H(X) and f(1) are then not known to the estimate."""
    chain = NGram.random(2, 4, rng=5)
    hmm = HMM(chain.initial, chain.transition, np.eye(4))
    truth = np.array([factorisation_error(chain, 60, r) for r in LISTS])
    value, error = factorisation_error_estimate(hmm, 60, LISTS, 400, 0)
    assert (np.abs(value - truth) < 4 * error).all() and (error < 0.1 * truth).all()


def test_error_estimate_refuses_a_degree_that_does_not_follow_the_curve():
    lang, reveal = sticky(), [reveal_probabilities("linear", 8)]
    with pytest.raises(ValueError, match="use a larger degree"):
        factorisation_error_estimate(lang, 200, reveal, 100, 0, degree=4)
    value, error = factorisation_error_estimate(lang, 200, reveal, 100, 0, degree=24)
    assert abs(value[0] - factorisation_error(lang, 200, reveal[0])) < 4 * error[0]


# First-order constants of the true law


def limit_of(values):
    """The limit of a + b/N + c/N^2 + ... from its values at N, 2N, 4N."""
    once = [2 * late - early for early, late in zip(values, values[1:], strict=False)]
    return (4 * once[1] - once[0]) / 3


@pytest.mark.parametrize(
    "lang, length",
    [
        (random_table(2, 4, 0.5, 2), 4),
        (random_table(3, 3, 0.5, 4), 3),
        (random_ngram(3, 2, 0.5, 4), 5),
        (random_hmm(3, 3, 0.6, 1), 3),
    ],
)
def test_impossible_pair_mass_is_the_limit_of_error_rate_and_divergence(lang, length):
    laws = [reveal_probabilities("linear", n) for n in (64, 128, 256)]
    rates = [len(r) * exact.sequence_error_rate(lang, length, r) for r in laws]
    mass = impossible_pair_mass(lang, length)
    assert mass > 0.01
    assert limit_of(rates) == pytest.approx(mass, rel=1e-4)
    excess = [len(r) * length * exact.true_excess(lang, length, r) for r in laws]
    assert limit_of(excess) == pytest.approx(mass, rel=1e-3)


def brute_impossible_pairs(lang, length, u):
    """sum_{i<j} E M_ij(S_u): draw i and j from their posteriors and look at the marginal law."""
    x, q = lang.enumerate(length)
    total = 0.0
    for visible in product([False, True], repeat=length):
        visible, seen = np.array(visible), sum(visible)
        probs = lang.posterior(np.where(visible, x, lang.mask_id), off_support="local")
        for i, j in combinations(np.flatnonzero(~visible), 2):
            shown = visible | (np.arange(length) == i) | (np.arange(length) == j)
            mean = 0.0
            for a, b in product(range(lang.vocab_size), repeat=2):
                new = x.copy()
                new[:, i], new[:, j] = a, b
                agree = (new[:, None, shown] == x[None, :, shown]).all(axis=2)
                lost = agree @ q == 0
                mean += (q * lost) @ (probs[:, i, a] * probs[:, j, b])
            total = total + mean * u**seen * (1 - u) ** (length - 2 - seen)
    return total


@pytest.mark.parametrize(
    "lang, length",
    [
        (random_table(2, 5, 0.5, 2), 5),
        (random_table(3, 3, 0.5, 4), 3),
        (random_ngram(2, 3, 0.5, 4), 4),
        (random_hmm(3, 3, 0.6, 1), 3),
        (pairs(2), 2),
    ],
)
def test_impossible_pair_curve_is_its_definition_and_its_integral_the_mass(lang, length):
    truth = brute_impossible_pairs(lang, length, U[1:-1])
    assert np.abs(impossible_pair_curve(lang, length, U[1:-1]) - truth).max() < TIGHT
    nodes, weights = np.polynomial.legendre.leggauss(length)
    mass = weights / 2 @ impossible_pair_curve(lang, length, (1 + nodes) / 2)
    assert impossible_pair_mass(lang, length) == pytest.approx(mass, abs=TIGHT)


def test_impossible_pair_curve_at_its_ends_and_where_it_is_zero():
    even = parity(4)  # two tokens do not fit only if all others are visible, and then half the time
    assert impossible_pair_curve(even, 4, np.array([[0.0, 0.5], [1.0, 0.1]])) == pytest.approx(
        3 * np.array([[0.0, 0.25], [1.0, 0.01]])
    )
    assert impossible_pair_curve(pairs(3), 4, 0.0) == pytest.approx(2 * (1 - 1 / 3))
    assert (impossible_pair_curve(random_table(2, 4, 0.0, 0), 4, U) == 0).all()
    assert (impossible_pair_curve(pairs(3), 1, U) == 0).all()
    with pytest.raises(ValueError, match="u must lie in"):
        impossible_pair_curve(even, 4, -0.1)
    with pytest.raises(ValueError, match="too large to enumerate"):
        impossible_pair_curve(pairs(16), 64, 0.5)


def test_impossible_pair_mass_of_pairs_and_of_full_support():
    assert impossible_pair_mass(pairs(3), 5) == pytest.approx(2 * (1 - 1 / 3), abs=TIGHT)
    assert impossible_pair_mass(random_table(2, 5, 0.0, 0), 5) == 0
    assert impossible_pair_mass(pairs(3), 1) == 0


@pytest.mark.parametrize("seed, prune", [(0, 0.15), (8, 0.2), (18, 0.25)])
def test_kappa_is_the_limit_of_the_error_rate_per_token(seed, prune):
    """N c_N -> kappa, with c_N the decay of log(1 - SER) in the length, from the recursion."""
    lang = NGram.random(2, 4, prune=prune, rng=seed)
    steps = [64, 128, 256]
    log_valid = exact.linear_valid_log_probabilities(lang, 40, steps)
    rates = [n * exact.extrapolate(y, 80, 1e-3).rate for n, y in zip(steps, log_valid, strict=True)]
    assert kappa(lang) == pytest.approx(limit_of(rates), rel=1e-4)


def cycle_with_a_short_cut():
    """P^d has zeros for several d, so that tokens that are not neighbours count as well."""
    step = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.7, 0.3, 0.0]])
    return NGram(np.array([1.0, 0.0, 0.0]), step)


def test_kappa_counts_pairs_that_are_not_neighbours():
    steps, lang = [64, 128, 256], cycle_with_a_short_cut()
    log_valid = exact.linear_valid_log_probabilities(lang, 80, steps)
    rates = [-n * np.diff(y)[-1] for n, y in zip(steps, log_valid, strict=True)]
    assert kappa(lang) == pytest.approx(limit_of(rates), rel=1e-3)


def test_kappa_ignores_transient_tokens_and_refuses_periodic_chains():
    inner = cycle_with_a_short_cut()
    step = np.zeros((4, 4))
    step[:3, :3], step[3] = inner.transition, 0.25
    assert kappa(NGram(np.full(4, 0.25), step)) == pytest.approx(kappa(inner), abs=TIGHT)
    assert kappa(NGram.random(2, 3, rng=0)) == 0
    flip = NGram(np.array([0.5, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="primitive chain"):
        kappa(flip)
    with pytest.raises(ValueError, match="use impossible_pair_mass"):
        kappa(pairs(2))


def test_hmms_agree_with_enumeration_of_their_entropy():
    lang = random_hmm(3, 2, 0.3, 4)
    assert total_entropy(lang, 6) == pytest.approx(entropy(lang.enumerate(6)[1]), abs=TIGHT)
    low, high = lang.entropy_bounds(6, 6)
    assert low - TIGHT <= total_entropy(lang, 6) <= high + TIGHT


@relaxed
@given(hmms())
def test_one_step_loses_the_total_correlation(world):
    """N = 1: the error is sum_i H(X_i) - H(X), and the sampler's true excess is the same."""
    lang, length = world
    x, q = lang.enumerate(length)
    table = q.reshape((lang.vocab_size,) * length)
    alone = [table.sum(axis=tuple(j for j in range(length) if j != i)) for i in range(length)]
    truth = sum(map(entropy, alone)) - entropy(q)
    assert factorisation_error(lang, length, [1.0]) == pytest.approx(truth, abs=TIGHT)
    assert length * exact.true_excess(lang, length, [1.0]) == pytest.approx(truth, abs=TIGHT)
