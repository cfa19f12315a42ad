"""The book's theorems by brute force on random small worlds, one section a chapter.

A chapter's check cell shows a theorem on its toy world and names the test that holds it in general.
"""

import math
from collections import defaultdict
from functools import cache, reduce
from itertools import combinations, permutations, product
from math import comb, perm

import numpy as np
import pytest
import torch
from brute import (
    answers,
    every_x,
    given_steps,
    mixture,
    number,
    one_stage_matrix,
    push_forward,
    sequences_fit,
    without_masks,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mutants import tightened
from scipy import optimize, special, stats
from worlds import (
    as_table,
    every_state,
    hmms,
    law,
    ngrams,
    random_hmm,
    random_ngram,
    random_table,
    seeds,
    worlds,
    zeros,
)

from mdm_lab import exact, forward, reverse
from mdm_lab.denoisers import NoisyOracle, Oracle
from mdm_lab.information import (
    birthday_steps,
    factorisation_error,
    factorisation_error_in_order,
    impossible_pair_curve,
    impossible_pair_mass,
    information_curve,
    kappa,
    least_mismatch,
    ngram_excess_bound,
    ngram_steps,
    optimal_reveal,
    pair_information,
    pairs_lower_bound,
    reveal_by_density,
    sequence_error_bound,
    steps_for_excess,
    steps_for_sequence_error,
    steps_per_token,
    worst_law,
)
from mdm_lab.languages import HMM, NGram, Table, pairs, shared_bits
from mdm_lab.languages.random import _closed_class, random_rows, stationary_law
from mdm_lab.metrics import clopper_pearson
from mdm_lab.orders import bisection, odd_even
from mdm_lab.schedules import (
    Cosine,
    Linear,
    Power,
    reveal_from_widths,
    reveal_probabilities,
    reveal_probability,
    revealed_fractions,
    widths,
)

relaxed = settings(deadline=None, max_examples=25)
few = settings(deadline=None, max_examples=12)
levels = st.floats(0.02, 0.98)
TIGHT = 1e-10


@st.composite
def reveals(draw, max_steps=4):
    """A reveal list of any shape that ends in 1."""
    return np.array(
        [*draw(st.lists(st.floats(0, 1, allow_subnormal=False), max_size=max_steps - 1)), 1.0]
    )


@st.composite
def tiny_tables(draw):
    """A law without any structure, small enough for matrices on all (V+1)^L states."""
    return random_table(*draw(st.sampled_from([(2, 2), (3, 2), (2, 3)])), draw(zeros), draw(seeds))


def entropy(p):
    p = np.asarray(p).ravel()
    return -(p[p > 0] * np.log(p[p > 0])).sum()


def kl(q, p):
    """KL(q || p), nats; infinite where p is 0 and q is not."""
    on = q > 0
    with np.errstate(divide="ignore"):
        return (q[on] * (np.log(q[on]) - np.log(p[on]))).sum()


def marginals(q):
    """The laws of the single tokens of a table (V,)*L."""
    return [q.sum(axis=tuple(j for j in range(q.ndim) if j != i)) for i in range(q.ndim)]


def total_correlation(q, positions=None):
    """sum_i H(X_i) - H(X) of a table, or of its marginal on some positions; nats."""
    if positions is not None:
        q = q.sum(axis=tuple(j for j in range(q.ndim) if j not in positions))
    return sum(map(entropy, marginals(q))) - entropy(q)


# Why decode in parallel?


@relaxed
@given(worlds())
def test_one_step_draws_the_product_of_marginals(world):
    """The law of one step, its divergence (total correlation) and its error rate."""
    lang, length = world
    q = as_table(lang, length).probabilities
    _, p = exact.push_forward(lang, length, [1.0])
    independent = reduce(np.multiply.outer, marginals(q)).ravel()
    assert np.abs(p - independent).max() < TIGHT
    lost = total_correlation(q)
    assert kl(q.ravel(), p) == pytest.approx(lost, abs=TIGHT)
    wrong = independent[q.ravel() == 0].sum()
    assert exact.sequence_error_rate(lang, length, [1.0]) == pytest.approx(wrong, abs=TIGHT)
    assert wrong <= -np.expm1(-lost) + TIGHT


@relaxed
@given(worlds(), seeds)
def test_one_token_at_a_time_is_exact_in_every_order(world, seed):
    lang, length = world
    x, q = lang.enumerate(length)
    order = np.random.default_rng(seed).permutation(length)
    assert np.abs(given_steps(answers(Oracle(lang), length), x, order) - q).max() < TIGHT


@relaxed
@given(st.integers(2, 4), zeros, seeds, reveals())
def test_two_masks_err_when_they_share_a_step(vocab_size, share, seed, reveal):
    """p = (1 - c) q + c q_1 q_2, where c is the chance that both fall in one step."""
    lang = random_table(vocab_size, 2, share, seed)
    q = lang.probabilities
    independent = np.multiply.outer(*marginals(q))
    collide = (widths(reveal) ** 2).sum()
    _, p = exact.push_forward(lang, 2, reveal)
    assert np.abs(p - ((1 - collide) * q + collide * independent).ravel()).max() < TIGHT
    wrong = exact.sequence_error_rate(lang, 2, reveal)
    assert wrong == pytest.approx(collide * independent[q == 0].sum(), abs=TIGHT)
    assert kl(q.ravel(), p) <= collide * total_correlation(q) + TIGHT
    steps = len(reveal)
    assert collide >= 1 / steps - TIGHT
    linear = (widths(reveal_probabilities("linear", steps)) ** 2).sum()
    assert linear == pytest.approx(1 / steps, abs=TIGHT)


@few
@given(seeds, st.integers(0, 3), reveals(), st.sampled_from([2, 3]))
def test_independent_sentences_multiply(seed, impossible, reveal, sentences):
    """p is a product over sentences; 1 - SER multiplies, KL adds."""
    three = law(np.random.default_rng(seed), (3,), 0.0)
    one = Table(np.insert(three, impossible, 0).reshape(2, 2))
    many = Table(reduce(np.multiply.outer, [one.probabilities] * sentences))
    _, p = exact.push_forward(one, 2, reveal)
    _, together = exact.push_forward(many, 2 * sentences, reveal)
    assert np.abs(together - reduce(np.multiply.outer, [p] * sentences).ravel()).max() < TIGHT
    right = 1 - exact.sequence_error_rate(one, 2, reveal)
    wrong = exact.sequence_error_rate(many, 2 * sentences, reveal)
    assert wrong == pytest.approx(1 - right**sentences, abs=TIGHT)
    whole = exact.true_excess(many, 2 * sentences, reveal)
    assert whole == pytest.approx(exact.true_excess(one, 2, reveal), abs=TIGHT)


# The forward process


def forward_matrix(vocab_size, length, alpha_s, alpha_t):
    """q(x_t | x_s) between all states, rows x_s."""
    states = torch.as_tensor(every_state(vocab_size, length))
    num = len(states)
    xs = states.repeat_interleave(num, dim=0)
    table = forward.log_q_between(states.repeat(num, 1), xs, alpha_s, alpha_t, vocab_size)
    return table.exp().reshape(num, num).numpy()


def forward_law(vocab_size, length, alpha_t):
    """q(x_t | x_0): rows x_0 in the order of every_x, columns all states."""
    x = number(every_x(vocab_size, length), vocab_size)
    return forward_matrix(vocab_size, length, 1.0, alpha_t)[x]


@relaxed
@given(st.sampled_from([(2, 2), (3, 1), (2, 3)]), levels, levels, levels)
def test_forward_transitions_compose(size, one, two, three):
    alpha_t, alpha_s, alpha_r = sorted([one, two, three])
    once = forward_matrix(*size, alpha_r, alpha_t)
    twice = forward_matrix(*size, alpha_r, alpha_s) @ forward_matrix(*size, alpha_s, alpha_t)
    assert np.abs(once.sum(axis=1) - 1).max() < TIGHT
    assert np.abs(once - twice).max() < TIGHT


@relaxed
@given(levels, levels, levels, st.integers(1, 3))
def test_arrival_times_give_the_forward_chain(one, two, three, length):
    """The joint law of x_t at three times, from one uniform a token: integrated cell by cell."""
    alphas = sorted([one, two, three], reverse=True)
    edges = np.array([0, *alphas[::-1], 1])
    x0 = torch.zeros(1, length, dtype=torch.int64)
    by_times = defaultdict(float)
    for cells in product(range(4), repeat=length):
        cells = np.array(cells)
        middle = torch.as_tensor((edges[cells] + edges[cells + 1]) / 2)[None]
        run = [forward.mask_by_times(x0, middle, alpha, 1) for alpha in alphas]
        by_times[tuple(map(tuple, torch.cat(run).tolist()))] += np.diff(edges)[cells].prod()
    everything = [torch.tensor(state) for state in product((0, 1), repeat=length)]
    for run in product(everything, repeat=3):
        chain, before, level = 1.0, x0, 1.0
        for xt, alpha in zip(run, alphas, strict=True):
            step = forward.log_q_between(xt[None], before, level, alpha, 1)
            chain, before, level = chain * float(step.exp()), xt[None], alpha
        assert by_times[tuple(tuple(xt.tolist()) for xt in run)] == pytest.approx(chain, abs=TIGHT)


@relaxed
@given(levels, st.integers(1, 4))
def test_three_ways_of_masking_are_one_law(alpha_t, length):
    """Coins; arrival times; a binomial number of masks and then a uniform choice of places."""
    coins = forward_law(1, length, alpha_t)[0]
    states = every_state(1, length)
    count = states.sum(axis=1)
    chosen = forward.num_masked_law(length, alpha_t).numpy()[count]
    chosen /= [comb(length, k) for k in count]
    edges = np.array([0, alpha_t, 1])
    times = np.zeros(len(states))
    for cells in product((0, 1), repeat=length):
        middle = torch.as_tensor((edges[list(cells)] + edges[np.array(cells) + 1]) / 2)[None]
        xt = forward.mask_by_times(torch.zeros(1, length, dtype=torch.int64), middle, alpha_t, 1)
        times[number(xt.numpy(), 1)] += np.diff(edges)[list(cells)].prod()
    assert np.abs(coins - chosen).max() < TIGHT and np.abs(coins - times).max() < TIGHT


@relaxed
@given(seeds, st.sampled_from([Linear(), Cosine(), Power(0.5), Power(3)]))
def test_a_schedule_is_the_linear_one_at_another_speed(seed, schedule):
    """A token's masking time under a schedule is where 1 - alpha passes its linear masking time."""
    times = forward.draw_times(20, 5, seed)
    x0 = torch.zeros(20, 5, dtype=torch.int64)

    def masked_since(schedule, grid):
        run = [forward.mask_by_times(x0, times, float(schedule.alpha(t)), 1) for t in grid]
        return (torch.stack(run) == 0).sum(dim=0).numpy()  # the number of grid times visible at

    grid = np.linspace(0, 1, 41)
    clock = 1 - schedule.alpha(grid)
    assert (masked_since(schedule, grid) == masked_since(Linear(), clock)).all()
    linear = 1 - times.numpy()
    assert (masked_since(schedule, grid) == (clock[:, None, None] < linear).sum(axis=0)).all()


@few
@given(st.one_of(tiny_tables().map(lambda t: (t, t.length)), worlds()), levels)
def test_masked_sequence_says_the_integral_of_the_information_curve(world, alpha_t):
    """I(X_0; X_t) by Bayes on all states, against the integral of f from 0 to alpha_t."""
    lang, length = world
    assume((lang.vocab_size + 1) ** length <= 300)
    q = as_table(lang, length).probabilities.ravel()
    given_x0 = forward_law(lang.vocab_size, length, alpha_t)
    told = sum(q[x] * kl(given_x0[x], q @ given_x0) for x in np.flatnonzero(q > 0))
    nodes, weights = np.polynomial.legendre.leggauss(length + 1)
    curve = information_curve(lang, length, alpha_t * (1 + nodes) / 2)
    assert told == pytest.approx(alpha_t / 2 * weights @ curve, abs=1e-8)
    assert (np.diff(information_curve(lang, length, np.linspace(0, 1, 9))) < 1e-9).all()


@relaxed
@given(levels, levels, st.integers(1, 4), seeds)
def test_clipped_ends_leave_a_gap_of_known_size(one, two, length, seed):
    """alpha_1 > 0: a start from masks is off by 1 - (1 - alpha_1)^L; alpha_end < 1: masks stay."""
    alpha_1, alpha_end = sorted([one, two])
    start = forward_law(1, length, alpha_1)[0]
    masks = np.eye(len(start))[-1]
    gap = 1 - (1 - alpha_1) ** length
    assert np.abs(start - masks).sum() / 2 == pytest.approx(gap, abs=TIGHT)
    middle = (alpha_1 + alpha_end) / 2
    reveal = [reveal_probability(middle, alpha_1), reveal_probability(alpha_end, middle)]
    last = push_forward(np.ones((2**length, length, 1)), reveal)
    clean = last[number(np.zeros((1, length), dtype=int), 1)]
    left = (1 - alpha_end) / (1 - alpha_1)
    assert clean == pytest.approx((1 - left) ** length, abs=TIGHT)


# The reverse process


def true_reverse(lang, alpha_s, alpha_t):
    """q(x_s | x_t) by Bayes from the forward process, rows x_t; and q(x_t). Rows of chance 0: 0."""
    size = lang.vocab_size, lang.length
    joint = (lang.probabilities.ravel() @ forward_law(*size, alpha_s))[:, None]
    joint = joint * forward_matrix(*size, alpha_s, alpha_t)
    total = joint.sum(axis=0)
    return np.divide(joint, total, out=np.zeros_like(joint), where=total > 0).T, total


def given_visible(lang, xt):
    """q(x_0 | the visible tokens of xt): a table (V,)*L."""
    fits = np.ones_like(lang.probabilities)
    for i, token in enumerate(xt):
        if token < lang.vocab_size:
            only = np.eye(lang.vocab_size)[token]
            fits = fits * only.reshape([-1 if j == i else 1 for j in range(lang.length)])
    left = lang.probabilities * fits
    return left / left.sum()


def possible_states(lang, total):
    states = every_state(lang.vocab_size, lang.length)
    return [(row, states[row]) for row in np.flatnonzero(total > 1e-12)]


def random_denoiser(seed, vocab_size, length):
    """An arbitrary answer to every state, one-hot where visible: ((V+1)^L, L, V)."""
    states = every_state(vocab_size, length)
    table = law(np.random.default_rng(seed), (*states.shape, vocab_size), 0.2)
    certain = np.eye(vocab_size + 1)[states][..., :-1]
    return np.where((states == vocab_size)[..., None], table, certain)


@relaxed
@given(levels, levels)
def test_reverse_of_a_token_given_the_clean_one(one, two):
    """q(x_s^i | x_t^i, x_0^i): the four cases against Bayes."""
    alpha_t, alpha_s = sorted([one, two])
    r = reveal_probability(alpha_s, alpha_t)
    mask = 3
    to_s, to_t = forward_law(3, 1, alpha_s), forward_law(3, 1, alpha_t)
    between = forward_matrix(3, 1, alpha_s, alpha_t)
    for x0, xt in product(range(3), (0, 1, 2, mask)):
        if to_t[x0, xt] == 0:
            continue
        bayes = to_s[x0] * between[:, xt] / to_t[x0, xt]
        for xs in range(4):
            if xt != mask:
                expected = float(xs == xt)
            elif xs == mask:
                expected = (1 - alpha_s) / (1 - alpha_t)
            else:
                expected = r * (xs == x0)
            assert bayes[xs] == pytest.approx(expected, abs=TIGHT)


@relaxed
@given(tiny_tables(), levels)
def test_x0_prediction_is_free_of_time(lang, alpha_t):
    q, size = lang.probabilities.ravel(), (lang.vocab_size, lang.length)
    joint = q[:, None] * forward_law(*size, alpha_t)
    for row, xt in possible_states(lang, joint.sum(axis=0)):
        bayes = joint[:, row] / joint[:, row].sum()
        assert np.abs(bayes - given_visible(lang, xt).ravel()).max() < TIGHT
        alone = marginals(bayes.reshape(lang.probabilities.shape))
        assert np.abs(lang.posterior(xt[None])[0] - alone).max() < TIGHT


@relaxed
@given(tiny_tables(), levels, levels)
def test_true_reverse_step_reveals_jointly(lang, one, two):
    """Coins say which masks are revealed; the tokens there come from their joint law."""
    alpha_t, alpha_s = sorted([one, two])
    kernel, total = true_reverse(lang, alpha_s, alpha_t)
    r, mask = reveal_probability(alpha_s, alpha_t), lang.vocab_size
    for row, xt in possible_states(lang, total):
        masked, law_x0 = np.flatnonzero(xt == mask), given_visible(lang, xt).ravel()
        expected = np.zeros(kernel.shape[1])
        for coins in product((False, True), repeat=len(masked)):
            xs = every_x(*kernel_size(lang))
            xs[:, masked[~np.array(coins, dtype=bool)]] = mask
            weight = r ** sum(coins) * (1 - r) ** (len(masked) - sum(coins))
            np.add.at(expected, number(xs, mask), weight * law_x0)
        assert np.abs(kernel[row] - expected).max() < TIGHT


def kernel_size(lang):
    return lang.vocab_size, lang.length


def as_states(kernel):
    """A product of laws (L, V + 1) as a law over all states."""
    return reduce(np.multiply.outer, kernel).ravel()


@relaxed
@given(tiny_tables(), levels, levels, seeds)
def test_product_kernel_is_the_nearest_product(lang, one, two, seed):
    """It has the marginals of the true kernel, and no product is closer to it."""
    alpha_t, alpha_s = sorted([one, two])
    kernel, total = true_reverse(lang, alpha_s, alpha_t)
    r, rng = reveal_probability(alpha_s, alpha_t), np.random.default_rng(seed)
    for row, xt in possible_states(lang, total):
        ours = reverse.reverse_kernel(xt[None], lang.posterior(xt[None]), r)[0].numpy()
        true = kernel[row].reshape((lang.vocab_size + 1,) * lang.length)
        assert np.abs(ours - marginals(true)).max() < TIGHT
        other = 0.9 * ours + 0.1 * law(rng, ours.shape, 0.0)
        assert kl(kernel[row], as_states(ours)) <= kl(kernel[row], as_states(other)) + TIGHT


@relaxed
@given(tiny_tables(), levels, levels)
def test_loss_of_a_step_is_the_mean_total_correlation(lang, one, two):
    """KL(true kernel || product) = E_S TC(X^S | x_t), of order r^2, with both bounds."""
    alpha_t, alpha_s = sorted([one, two])
    kernel, total = true_reverse(lang, alpha_s, alpha_t)
    r = float(reveal_probability(alpha_s, alpha_t))
    for row, xt in possible_states(lang, total):
        ours = reverse.reverse_kernel(xt[None], lang.posterior(xt[None]), r)[0].numpy()
        lost, conditional = kl(kernel[row], as_states(ours)), given_visible(lang, xt)
        masked = [i for i in range(lang.length) if xt[i] == lang.vocab_size]
        m, mean = len(masked), 0.0
        for size in range(m + 1):
            for places in combinations(masked, size):
                chance = r**size * (1 - r) ** (m - size)
                mean += chance * total_correlation(conditional, places)
        assert lost == pytest.approx(mean, abs=TIGHT)
        pairs = sum(total_correlation(conditional, pair) for pair in combinations(masked, 2))
        rest = comb(m, 3) * r**3 * total_correlation(conditional, masked)
        assert (
            r**2 * (1 - r) ** max(m - 2, 0) * pairs - TIGHT <= lost <= r**2 * pairs + rest + TIGHT
        )


@few
@given(tiny_tables(), reveals())
def test_divergence_of_runs_adds_up_and_bounds_that_of_the_text(lang, reveal):
    """sum_k E D_{r_k}(x_{t_k}) = E_sigma KL(q || p_sigma) >= KL(q || p)."""
    runs, mask = 0.0, lang.vocab_size
    q = lang.probabilities.ravel()
    for r, u in zip(reveal, revealed_fractions(reveal), strict=True):
        total = q @ forward_law(*kernel_size(lang), u)
        for row, xt in possible_states(lang, total):
            conditional = given_visible(lang, xt)
            masked = np.flatnonzero(xt == mask)
            for coins in product((False, True), repeat=len(masked)):
                chance = r ** sum(coins) * (1 - r) ** (len(masked) - sum(coins))
                places = masked[np.array(coins, dtype=bool)]
                runs += total[row] * chance * total_correlation(conditional, places)
    assert runs == pytest.approx(factorisation_error(lang, lang.length, reveal), abs=1e-8)
    _, p = exact.push_forward(lang, lang.length, reveal)
    assert kl(q, p) <= runs + TIGHT


@few
@given(st.sampled_from([(2, 2), (3, 2), (2, 3)]), st.lists(levels, min_size=2, max_size=4), seeds)
def test_reveal_steps_are_independent_of_the_text(size, alphas, seed):
    """The run of the kernel is a mixture over iid steps, on any grid and for any denoiser."""
    alphas = np.sort(alphas)
    assume((np.diff(alphas) > 0).all())
    table = random_denoiser(seed, *size)
    vocab_size, length = size
    w = np.append(np.diff(alphas), 1 - alphas[-1]) / (1 - alphas[0])  # the last: never revealed
    expected = np.zeros((vocab_size + 1) ** length)
    x = every_x(*size)
    for steps in product(range(len(w)), repeat=length):
        steps = np.array(steps)
        seen = steps < len(w) - 1
        p = np.ones(len(x))
        for k in range(len(w) - 1):
            xt = np.where(steps >= k, vocab_size, x)
            for i in np.flatnonzero(steps == k):
                p *= table[number(xt, vocab_size), i, x[:, i]]
        p /= vocab_size ** (~seen).sum()  # each end state is met once for every hidden token
        np.add.at(expected, number(np.where(seen, x, vocab_size), vocab_size), w[steps].prod() * p)
    run = push_forward(table, reveal_probability(alphas[1:], alphas[:-1]))
    assert np.abs(run - expected).max() < TIGHT
    assert np.abs(one_stage_matrix(table, 0.3).sum(axis=1) - 1).max() < TIGHT


@few
@given(st.sampled_from([(2, 2), (3, 2), (2, 3)]), reveals(), seeds)
def test_first_hitting_is_the_limit_of_many_steps(size, reveal, seed):
    """TV(p, first hitting) <= (L choose 2) sum w_k^2, for any denoiser; so it vanishes with w."""
    table, length, x = random_denoiser(seed, *size), size[1], every_x(*size)
    orders = list(permutations(range(length)))
    limit = sum(given_steps(table, x, np.array(order)) for order in orders) / len(orders)
    for steps in (reveal, reveal_probabilities("linear", 5)):
        w = widths(steps)
        distance = np.abs(mixture(table, w) - limit).sum() / 2
        assert distance <= comb(length, 2) * (w**2).sum() + TIGHT


# Chapter *Languages with a known law*


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 8), st.sampled_from([0.0, 0.1, 0.25]), seeds)
def test_one_closed_class(size, share, seed):
    """thm-stationary, thm-closed-class: the walk decides, and the law found lives on its class."""
    rng = np.random.default_rng(seed)
    weights = (rng.random((size, size)) < share) * rng.exponential(size=(size, size))
    weights[np.arange(size), rng.integers(0, size, size)] += 1  # every state goes somewhere
    transition = weights / weights.sum(axis=1, keepdims=True)
    reach = np.linalg.matrix_power(np.eye(size) + (transition > 0), size) > 0
    classes = {tuple(row) for row in reach if (reach[row] == row).all()}
    moves = (lambda law: law @ transition), (lambda values: transition @ values)
    # thm-stationary: the left eigenvectors of 1 are spanned by one law for each closed class
    nullity = size - np.linalg.matrix_rank(transition.T - np.eye(size), tol=1e-9)
    assert nullity == len(classes) >= 1
    if len(classes) > 1:
        assert _closed_class(*moves, size) is None
        with pytest.raises(ValueError, match="reducible"):
            stationary_law(*moves, size, "the chain")
    else:
        found = stationary_law(*moves, size, "the chain")
        assert np.abs(found @ transition - found).max() < 1e-12
        assert tuple(_closed_class(*moves, size)) in classes
        assert tuple(found > 0) in classes


@pytest.mark.parametrize("size, threshold", [(2, 0.5), (4, 0.2), (8, 0.05)])
def test_flat_laws(size, threshold):
    """lem-flat, prop-pruning: uniform on the simplex, and no row dies at a threshold <= 1/V."""
    rows = random_rows((20_000, size), 0.0, np.random.default_rng(1))
    for column in rows.T:
        assert stats.kstest(column, lambda p: 1 - (1 - p) ** (size - 1)).pvalue > 1e-4
    # uniform: the density is the same wherever it is asked; halves of the simplex weigh alike
    assert abs((rows[:, 0] < rows[:, 1]).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(rows))
    pruned = random_rows((20_000, size), 1 / size, np.random.default_rng(1))
    assert (pruned.max(axis=1) > 0).all() and np.allclose(pruned.sum(axis=1), 1)
    almost_flat = np.full(size, 1 / size)
    assert (almost_flat < threshold).all() == (threshold > 1 / size)


@relaxed
@given(ngrams())
def test_every_ngram_is_an_hmm(world):
    """prop-ngram-hmm: states are the windows of n-1 tokens that begin at a position."""
    lang, length = world
    v, memory = lang.vocab_size, lang.n - 1
    windows = np.indices((v,) * memory).reshape(memory, -1).T
    transition = np.zeros((len(windows),) * 2)
    for z, window in enumerate(windows):
        moved = np.ravel_multi_index([*np.repeat(window[1:, None], v, 1), range(v)], (v,) * memory)
        transition[z, moved] = lang.transition[tuple(window)]
    hidden = HMM(lang.initial.ravel(), transition, np.eye(v)[windows[:, 0]])
    x, q = lang.enumerate(length)
    assert np.abs(np.exp(hidden.log_prob(x)) - q).max() < 1e-13


@pytest.mark.parametrize("vocab_size, length", [(2, 4), (2, 7), (3, 5)])
def test_pairs_in_disguise(vocab_size, length):
    """prop-pairs: the 2-gram over 2V tokens reads as PAIRS; PAIRS itself is no n-gram."""
    v, none = vocab_size, np.zeros((vocab_size, vocab_size))
    first = np.concatenate([np.full(v, 1 / v), np.zeros(v)])
    disguise = NGram(first, np.block([[none, np.eye(v)], [np.full((v, v), 1 / v), none]]))
    x, q = pairs(v).enumerate(length)
    image = np.zeros((v,) * length)
    for tail in product(range(2), repeat=length):
        np.add.at(image, tuple(x.T), np.exp(disguise.log_prob(x + v * np.array(tail))))
    assert np.abs(image.ravel() - q).max() < 1e-14
    for n in range(2, length):  # after n-1 zeros, the next token is a copy, or it is uniform
        zero = [q[(x[:, :i] == 0).all(axis=1)].sum() for i in range(length + 1)]
        nexts = {round(zero[i + 1] / zero[i], 9) for i in (n - 1, n)}
        assert nexts == {1.0, round(1 / v, 9)}


@relaxed
@given(st.integers(2, 4), st.integers(2, 3), zeros, seeds)
def test_hmm_entropy_gap(states, vocab_size, share, seed):
    """thm-hmm-bounds, 3 and 4: the gap of the bounds on the rate is below both of its bounds."""
    try:
        lang = random_hmm(states, vocab_size, share, seed)
        start = lang.stationary()
    except ValueError:
        assume(False)
    assert entropy(start) <= np.log(states) + 1e-12
    ratio = 1 - lang.transition.min() / lang.transition.max()
    for depth in range(2, 7):
        low, high = lang.entropy_rate_bounds(depth)
        assert high - low <= entropy(start) / depth + 1e-12
        assert high - low <= ratio ** (depth - 1) * np.log(states) + 1e-12


# Chapter *Exact posteriors*


@relaxed
@given(ngrams(orders=(2, 3)), seeds)
def test_a_run_of_tokens_separates(world, seed):
    """lem-separation: given n-1 consecutive tokens the two sides are independent."""
    lang, length = world
    q = as_table(lang, length).probabilities
    for j in range(length - lang.n + 2):
        run = q.reshape(lang.vocab_size**j, lang.vocab_size ** (lang.n - 1), -1)
        both = run.sum(axis=2)[:, :, None] * run.sum(axis=0)[None]
        assert np.abs(run * run.sum(axis=(0, 2))[None, :, None] - both).max() < 1e-13


def test_one_visible_token_is_not_a_state():
    """ex-xor: behind the same nearest neighbour a token is a fair coin, or certain."""
    step = np.zeros((2, 2, 2))
    for a, c in product(range(2), repeat=2):
        step[a, c, a ^ c] = 1
    xor = NGram(np.full((2, 2), 0.25), step)
    answer = xor.posterior(np.array([[2, 0, 2], [1, 0, 2]]))
    assert np.allclose(answer[0, 2], 0.5) and np.allclose(answer[1, 2], [0, 1])


@relaxed
@given(st.integers(2, 4), zeros, seeds, st.integers(1, 4))
def test_tokens_are_forgotten(size, share, seed, distance):
    """prop-forgetting: I(X^i; X^{i+d}) <= lambda^d H(X^i)."""
    lang = random_ngram(2, size, share, seed)
    start = lang.initial
    joint = start[:, None] * np.linalg.matrix_power(lang.transition, distance)
    information = kl(joint.ravel(), np.outer(start, joint.sum(axis=0)).ravel())
    forget = 1 - lang.transition.min(axis=0).sum()
    assert information <= forget**distance * entropy(start) + 1e-12


@few
@given(worlds(), seeds)
def test_joint_sampling_has_the_law_of_the_text(world, seed):
    """thm-joint: chi-square of joint samples against the law given the visible tokens."""
    lang, length = world
    x, q = lang.enumerate(length)
    row = lang.sample(1, length, seed)
    xt = np.where(np.random.default_rng(seed).random(row.shape) < 0.6, lang.mask_id, row)
    given_visible = np.where(((xt == lang.mask_id) | (xt == x)).all(axis=1), q, 0)
    drawn = lang.sample_joint(np.repeat(xt, 4000, axis=0), seed)
    assert sequences_fit(drawn, given_visible / given_visible.sum()) > 1e-6


@few
@given(worlds(), reveals(3), seeds)
def test_policy_changes_no_error_rate(world, reveal, seed):
    """prop-policy-harmless: p(x) on the support is the same whatever is answered off it."""
    lang, length = world
    assume((2 * lang.vocab_size + 1) ** length < 2**18)
    rng = np.random.default_rng(seed)
    x, q = lang.enumerate(length)

    def whatever(xt):
        """The posterior where there is one, and anything at all where there is none."""
        agrees = ((xt[:, None] == lang.mask_id) | (xt[:, None] == x)).all(axis=2)
        answer = lang.posterior(xt, off_support="local")
        dead = agrees @ q == 0
        answer[dead] = law(rng, answer[dead].shape, 0.3)
        return answer

    usual = exact.push_forward(lang, length, reveal)[1]
    other = exact.push_forward(lang, length, reveal, whatever)[1]
    assert np.abs(usual - other)[q > 0].max() < 1e-13


@relaxed
@given(hmms(), seeds, st.floats(0, 0.3))
def test_settled_messages_stay_settled(world, seed, epsilon):
    """prop-settled: a relative error of a forward message does not grow on its way."""
    lang, length = world
    rng = np.random.default_rng(seed)
    message = rng.random(lang.num_states) + 0.1
    moved = message * rng.uniform(1 - epsilon, 1 + epsilon, lang.num_states)
    for token in lang.sample(1, length, seed)[0]:
        message, moved = (
            (state * lang.emission[:, token]) @ lang.transition for state in (message, moved)
        )
        assert ((1 - epsilon) * message <= moved * (1 + 1e-12)).all()
        assert (moved <= (1 + epsilon) * message * (1 + 1e-12)).all()


# Chapter *Error rates*


def sampler_law(lang, length, reveal, noise=0.0):
    """(p, p_sigma and its weight for each sigma) over every sequence, by enumeration."""
    table, w = answers(NoisyOracle(lang, noise), length), widths(reveal)
    x = every_x(lang.vocab_size, length)
    laws, weights = [], []
    for steps in product(range(len(w)), repeat=length):
        steps = np.array(steps)
        laws.append(given_steps(table, x, steps))
        weights.append(w[steps].prod())
    laws, weights = np.array(laws), np.array(weights)
    return weights @ laws, laws[weights > 0], weights[weights > 0]


@few
@given(tiny_tables(), reveals(3), st.sampled_from([0.0, 0.05]))
def test_order_of_the_token_error_rates(lang, reveal, noise):
    """thm-ter-floor, thm-ter-order: TER(q) <= TER(p) <= TER_3 <= TER_2 <= TER_1, each exactly."""
    q = lang.probabilities.ravel()
    p, laws, weights = sampler_law(lang, lang.length, reveal, noise)
    on = q > 0
    rates = []
    for orders in (1, 2, 3):
        value = 0.0
        for chosen in product(range(len(laws)), repeat=orders):
            mean = laws[list(chosen)].mean(axis=0)[on]
            value -= weights[list(chosen)].prod() * q[on] @ np.log(mean)
        rates.append(value)
    own = -q[on] @ np.log(p[on])
    assert own - entropy(q) == pytest.approx(kl(q, p), abs=TIGHT)
    chain = [entropy(q), own, *rates[::-1]]
    assert all(low <= high + TIGHT for low, high in zip(chain, chain[1:], strict=False))
    forced = weights @ [kl(q, law) for law in laws]
    assert rates[0] - entropy(q) == pytest.approx(forced, abs=TIGHT)


@relaxed
@given(tiny_tables(), reveals(3), st.sampled_from([0.0, 0.2]))
def test_sequence_error_rate_is_below_its_bound(lang, reveal, noise):
    """thm-ser-bound: SER <= 1 - exp(-KL(q || p)); zero where every sequence is possible."""
    q = lang.probabilities.ravel()
    p, _, _ = sampler_law(lang, lang.length, reveal, noise)
    share = p[q == 0].sum()
    assert share <= -np.expm1(-kl(q, p)) + TIGHT
    assert share < TIGHT or (q == 0).any()
    mixed = np.where(q > 0, 0.7 * q, 0.3 / max(1, (q == 0).sum()))  # proportional on the support
    if (q == 0).any():
        assert mixed[q == 0].sum() == pytest.approx(-np.expm1(-kl(q, mixed)), abs=TIGHT)


@few
@given(tiny_tables(), reveals(3), st.sampled_from([0.01, 0.3]))
def test_learning_error_adds_at_most_epsilon_a_token(lang, reveal, epsilon):
    """thm-learning: E_sigma KL grows by exactly epsilon a token when every answer is off by it."""
    q = lang.probabilities.ravel()
    exactly, noisy = (sampler_law(lang, lang.length, reveal, noise) for noise in (0.0, epsilon))
    excess = [weights @ [kl(q, law) for law in laws] for _, laws, weights in (exactly, noisy)]
    assert excess[1] == pytest.approx(excess[0] + lang.length * epsilon, abs=TIGHT)
    assert kl(q, noisy[0]) <= excess[0] + lang.length * epsilon + TIGHT


@relaxed
@given(tiny_tables(), seeds)
def test_generative_rate_rewards_low_entropy(lang, seed):
    """prop-generative: E_p[-log q] = H(p) + KL(p || q) >= -log max q, which one text attains."""
    q = lang.probabilities.ravel()
    p = np.where(q > 0, np.random.default_rng(seed).exponential(size=len(q)), 0)
    p /= p.sum()
    cross = -p[q > 0] @ np.log(q[q > 0])
    assert cross == pytest.approx(entropy(p) + kl(p, q), abs=TIGHT)
    assert cross >= -np.log(q.max()) - TIGHT
    assert -np.log(q.max()) <= entropy(q) + TIGHT


def test_rates_may_rank_samplers_differently():
    """Eight oracle steps have the better TER, the uniform law on the support the better SER."""
    lang = NGram.random(2, 4, prune=0.1, rng=0)
    x, q = lang.enumerate(6)
    p = np.exp(exact.log_prob(lang, x, reveal_probabilities("linear", 8)))
    uniform = (q > 0) / (q > 0).sum()
    assert kl(q, p) < 0.5 * kl(q, uniform)
    assert p[q == 0].sum() > 0.01 and uniform[q == 0].sum() == 0


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_clopper_pearson_covers_and_shrinks(share):
    """thm-clopper-pearson: coverage by the binomial law, and the reach after no error."""
    for num in (7, 60):
        counts = np.arange(num + 1)
        low, high = np.array([clopper_pearson(k, num, 0.95) for k in counts.tolist()]).T
        assert stats.binom.pmf(counts, num, share) @ ((low <= share) & (share <= high)) >= 0.95
        assert high[0] == pytest.approx(1 - 0.025 ** (1 / num)) and high[0] <= np.log(40) / num


# Chapter *Factorisation error*


def repetition(vocab_size, length):
    """All tokens equal, and uniform."""
    q = np.zeros((vocab_size,) * length)
    q[(np.arange(vocab_size),) * length] = 1 / vocab_size
    return Table(q)


def parity_law(length):
    """Uniform over the bit strings with an even sum."""
    even = np.indices((2,) * length).sum(axis=0) % 2 == 0
    return even / even.sum()


def pair_terms(q):
    """Of each pair and each set S of others: (|S|, I(X_i; X_j | X_S), M_ij(S)), from the table."""
    length, terms = q.ndim, []
    for i, j in combinations(range(length), 2):
        rest = [k for k in range(length) if k not in (i, j)]
        for seen in range(length - 1):
            for kept in combinations(rest, seen):
                out = tuple(k for k in rest if k not in kept)
                both = np.moveaxis(q.sum(axis=out, keepdims=True), (i, j), (-2, -1))
                information = mismatch = 0.0
                for joint in both.reshape(-1, *q.shape[:2]):
                    mass = joint.sum()
                    if mass > 0:
                        apart = np.outer(joint.sum(axis=1), joint.sum(axis=0)) / mass**2
                        information += mass * kl((joint / mass).ravel(), apart.ravel())
                        mismatch += mass * apart[joint == 0].sum()
                terms.append((seen, information, mismatch))
    return np.array(terms).reshape(-1, 3)


def pair_curves(q, u):
    """-f'(u) / 2 and g(u): sums over pairs, averaged over S_u."""
    seen, information, mismatch = pair_terms(q).T
    others = q.ndim - 2
    chance = np.asarray(u)[:, None] ** seen * (1 - np.asarray(u)[:, None]) ** (others - seen)
    return chance @ information, chance @ mismatch


def three_errors(lang, reveal):
    """(E_sigma KL(q || p_sigma), SER, KL(q || p)), from the enumerated law of the sampler."""
    q = lang.probabilities.ravel()
    p = exact.push_forward(lang, lang.length, reveal)[1]
    wrong = p[q == 0].sum()
    return factorisation_error(lang, lang.length, reveal), wrong, kl(q, p)


@few
@given(tiny_tables(), reveals(3))
def test_factorisation_error_three_ways(lang, reveal):
    """thm-left-riemann: mean divergence of the orders = mean total correlation = left sum - H."""
    q, w, u, length = lang.probabilities, widths(reveal), revealed_fractions(reveal), lang.length
    forced = correlated = 0.0
    for order in product(range(len(w)), repeat=length):
        order, weight = np.array(order), w[list(order)].prod()
        forced += weight * kl(q.ravel(), exact.law_in_order(lang, order)[1])
        for k in range(len(w)):
            now, before = np.flatnonzero(order == k), np.flatnonzero(order < k)
            given_before = [marginal_entropy(q, [*before, i]) for i in now]
            together = marginal_entropy(q, [*before, *now])
            seen = marginal_entropy(q, before)
            correlated += weight * (sum(given_before) - len(now) * seen - (together - seen))
    left = w @ information_curve(lang, length, u) - entropy(q)
    assert forced == pytest.approx(left, abs=TIGHT)
    assert correlated == pytest.approx(left, abs=TIGHT)
    first, last = information_curve(lang, length, np.array([0.0, 1.0]))
    assert -TIGHT <= left <= w.max() * (first - last) + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.9)])
@pytest.mark.parametrize("vocab_size, steps", [(2, 4), (3, 2)])
def test_left_riemann_bound_is_sharp(vocab_size, steps, constant):
    """prop-repetition: L tokens all equal, by the number of tokens in the first step that has any.

    Tightened: the error is above 0.9 max_k w_k (f(0) - f(1)) at L = 10 N + 1, and at no small L.
    """

    def lost(length, reveal):
        w, done, total = widths(reveal), np.append(revealed_fractions(reveal), 1.0), 0.0
        for m in range(1, length + 1):  # m tokens in step k, the others later
            chance = comb(length, m) * w**m * (1 - done[1:]) ** (length - m)
            total += (m - 1) * np.log(vocab_size) * chance.sum()
        return total

    reveal = reveal_probabilities("linear", steps)
    small = repetition(vocab_size, 4)
    assert lost(4, reveal) == pytest.approx(factorisation_error(small, 4, reveal), abs=TIGHT)
    assert lost(4, reveal) == pytest.approx(three_errors(small, reveal)[0], abs=TIGHT)
    for length in (4, 10 * steps + 1):
        height = length * np.log(vocab_size)
        assert lost(length, reveal) <= constant * height / steps + TIGHT


@pytest.mark.parametrize("factor", [pytest.param(0.5, id="stated"), tightened(0.6)])
def test_the_pace_at_most_halves(factor):
    """prop-pace-halves, for learning curves of any shape.

    Tightened: of the repetition language more than 0.6 of the pace of one step is left at many.
    """
    rng, counts = np.random.default_rng(0), np.array([1, 2, 4, 8, 16, 64])
    laws = [random_table(2, 4, share, seed) for share in (0.0, 0.4) for seed in range(5)]
    for lang in [*laws, Table(parity_law(4)), repetition(2, 8)]:
        length, grid = lang.length, np.linspace(0, 1, 41)
        errors = [
            factorisation_error(lang, length, reveal_probabilities("linear", int(n)))
            for n in counts
        ]
        paces = counts * errors / length
        curve = information_curve(lang, length, grid)
        constant = (curve[0] - curve[-1]) / (2 * length)
        if (np.diff(curve, 2) >= -TIGHT).all():
            assert (paces >= constant - TIGHT).all()
        learning = rng.exponential(size=(20, 64)) ** 3  # at k / 64
        learning[:5].sort(axis=1)  # the first five do not decrease
        learning[10:] *= rng.integers(0, 2, (10, 64))  # the last ten are often 0
        parts = np.array([learning[:, :: 64 // n].mean(axis=1) for n in counts])  # Lambda(N)
        rise = (np.maximum.accumulate(learning, axis=1) / np.maximum(learning, 1e-300)).max(axis=1)
        for i, j in combinations(range(len(counts)), 2):
            theta = min(paces[j] / constant, 2) if constant > TIGHT else 0.0
            early, late = paces[i] + counts[i] * parts[i], paces[j] + counts[j] * parts[j]
            assert (late >= factor * theta * early - TIGHT).all()
            assert paces[j] >= factor * theta * paces[i] - TIGHT
            assert (parts[i] <= late / counts[i] + TIGHT).all()
            assert (parts[i] <= rise * late / counts[j] + TIGHT).all()
        assert (rise[:5] == 1).all()


@few
@given(
    st.one_of(tiny_tables(), st.builds(random_table, *map(st.just, (2, 4)), zeros, seeds)),
    reveals(),
)
def test_first_order_errors_have_explicit_bounds(lang, reveal):
    """thm-first-order with the constants of its proof, for any widths."""
    q, w, u, length = lang.probabilities, widths(reveal), revealed_fractions(reveal), lang.length
    information, mismatch = pair_curves(q, u)
    forced, wrong, own = three_errors(lang, reveal)
    couples, collide = comb(length, 2), (w**2).sum()
    rest = (comb(length, 3) + 3 * comb(length, 4)) * w.max() * collide
    most = max(length, couples) * np.log(lang.vocab_size)
    assert abs(forced - w**2 @ information) <= most * rest + TIGHT
    assert abs(wrong - w**2 @ mismatch) <= couples * rest + TIGHT
    second = couples**2 * max(4 * length * np.log(lang.vocab_size), (1 / q[q > 0]).sum())
    assert -TIGHT <= own - wrong <= second * collide**2 + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.9)])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["forced", "SER", "KL"])
@pytest.mark.parametrize(
    "lang",
    [random_table(2, 4, 0.4, 2), random_table(3, 3, 0.5, 4), as_table(pairs(2), 4)],
    ids=["binary", "ternary", "pairs"],
)
def test_first_order_law_of_rates_and_divergence(lang, which, constant):
    """thm-first-order: the distance from sum_k w_k^2 h(u_k), over w* c, stays bounded.

    The widths grow or fall threefold along the run. Tightened: the quotient grows with N.
    """
    for slope in (-1.0, 1.0):
        quotients = []
        for steps in (8, 16, 128):
            w = 1 + slope * np.linspace(-0.5, 0.5, steps)
            reveal = reveal_from_widths(w / w.sum())
            w, u = widths(reveal), revealed_fractions(reveal)
            information, mismatch = pair_curves(lang.probabilities, u)
            first = constant * (w**2 @ (information, mismatch, mismatch)[which])
            error = three_errors(lang, reveal)[which]
            quotients.append(abs(error - first) / (w.max() * (w**2).sum()))
        assert quotients[2] <= 1.5 * max(quotients[:2]) + 1e-6


@relaxed
@given(tiny_tables())
def test_divergence_is_of_second_order_at_full_support(lang):
    """thm-first-order: KL - SER = O(c^2); where every text is possible that is all of KL."""
    q = (lang.probabilities + 0.02) / (lang.probabilities + 0.02).sum()
    couples = comb(lang.length, 2)
    for steps in (16, 64):
        own = three_errors(Table(q), reveal_probabilities("linear", steps))[2]
        assert own <= (couples / steps) ** 2 * (1 / q).sum() + 1e-12


def moved(q, u):
    """psi_u(x): how much too often x is drawn when one pair shares a step, by the definition."""
    length, total = q.ndim, np.zeros((len(u), *q.shape))

    def at(x, positions):
        """The chance of the tokens that x has at `positions`."""
        return q[tuple(x[k] if k in positions else slice(None) for k in range(length))].sum()

    for x in np.argwhere(q > 0).tolist():
        for i, j in combinations(range(length), 2):
            rest = [k for k in range(length) if k not in (i, j)]
            for seen in range(length - 1):
                for s in combinations(rest, seen):
                    apart = at(x, {*s, i}) * at(x, {*s, j})
                    extra = apart / (at(x, {*s, i, j}) * at(x, set(s))) - 1
                    chance = u**seen * (1 - u) ** (length - 2 - seen)
                    total[(slice(None), *x)] += chance * extra
    return total.reshape(len(u), -1)[:, q.ravel() > 0]


@pytest.mark.parametrize(
    "power, constant", [pytest.param(2, 1.0, id="stated"), tightened(3, 1.0), tightened(2, 0.95)]
)
@pytest.mark.parametrize(
    "lang",
    [random_table(2, 4, 0.0, 3), random_table(2, 4, 0.4, 2), random_table(3, 3, 0.5, 4)],
    ids=["full", "pruned", "ternary"],
)
def test_divergence_exceeds_error_rate_to_second_order(lang, power, constant):
    """prop-second-order: KL - SER over its leading term tends to 1, at the rate w*.

    Four times the steps divide it by sixteen; a term of first order would divide by four. The
    widths are equal, or fall threefold along the run.
    """
    q = lang.probabilities
    on = q.ravel() > 0
    nodes, weights = np.polynomial.legendre.leggauss(lang.length)
    assert q.ravel()[on] @ moved(q, nodes).T == pytest.approx(-pair_curves(q, nodes)[1], abs=1e-9)
    limit = q.ravel()[on] @ (weights / 2 @ moved(q, (1 + nodes) / 2)) ** 2 / 2
    assert limit >= impossible_pair_mass(lang, lang.length) ** 2 / 2 - TIGHT
    for slope in (0.0, -1.0):
        gaps, off = [], []
        for steps in (128, 512):
            w = 1 + slope * np.linspace(-0.5, 0.5, steps)
            reveal = reveal_from_widths(w / w.sum())
            w, u = widths(reveal), revealed_fractions(reveal)
            psi = moved(q, u)
            p = exact.push_forward(lang, lang.length, reveal)[1]
            ratio = p[on] / q.ravel()[on] - 1
            off.append(np.abs(ratio - w**2 @ psi).max() / (w.max() * (w**2).sum()))
            gaps.append(kl(q.ravel(), p) - p[~on].sum())
            leading = q.ravel()[on] @ (w**2 @ psi) ** 2 / 2
            assert gaps[-1] == pytest.approx(constant * leading, rel=8 / steps)
        assert off[1] <= 1.1 * off[0]  # the law itself, up to O(w* c)
        assert gaps[0] >= 0.9 * 4**power * gaps[1]
    gap = [three_errors(lang, reveal_probabilities("linear", 512))[k] for k in (2, 1)]
    assert 512**2 * (gap[0] - gap[1]) == pytest.approx(constant * limit, rel=0.015)


@pytest.mark.parametrize(
    "disjoint, constant", [pytest.param(3, 1.0, id="stated"), tightened(1, 1.0), tightened(3, 0.95)]
)
def test_at_most_one_pair_shares_a_step(disjoint, constant):
    """lem-shared-steps, 1: P(E^c) <= a_L w* c, by enumeration for any widths; sharp in the limit.

    Of equal steps, perm(N, L) assignments have no pair, comb(L, 2) perm(N, L - 1) have one.
    """
    rng = np.random.default_rng(0)

    def bound(length, w):
        classes = comb(length, 3) + disjoint * comb(length, 4)
        return constant * classes * w.max() * (w**2).sum()

    for length, steps in product((2, 3, 4, 5), (2, 3)):
        for w in (np.full(steps, 1 / steps), rng.dirichlet(np.ones(steps))):
            bad = 0.0
            for k in product(range(steps), repeat=length):
                bad += w[list(k)].prod() * (len(set(k)) < length - 1)
            assert bad <= bound(length, w) + TIGHT
    for length, steps in ((3, 60), (4, 600), (5, 600)):
        kept = perm(steps, length) + comb(length, 2) * perm(steps, length - 1)
        bad = (steps**length - kept) / steps**length
        assert bad <= bound(length, np.full(steps, 1 / steps)) + 1e-15
        assert bad >= 0.99 * bound(length, np.full(steps, 1 / steps))


@pytest.mark.parametrize("shift", [pytest.param(0, id="stated"), tightened(1)])
def test_pairs_that_share_a_step_add_up(shift):
    """lem-shared-steps, 2, for any numbers phi_ij(S). Tightened: S_u at the end of the step."""
    rng = np.random.default_rng(1)
    for length, steps in ((3, 3), (4, 3), (5, 2)):
        w, phi = rng.dirichlet(np.ones(steps)), defaultdict(rng.standard_normal)
        mean = 0.0
        for k in product(range(steps), repeat=length):
            for i, j in combinations(range(length), 2):
                if k[i] == k[j]:
                    before = frozenset(a for a in range(length) if k[a] < k[i])
                    mean += w[list(k)].prod() * phi[i, j, before]
        right, u = 0.0, np.append(0, np.cumsum(w))[shift : steps + shift]
        for i, j in combinations(range(length), 2):
            rest = [a for a in range(length) if a not in (i, j)]
            for seen in range(length - 1):
                for s in combinations(rest, seen):
                    chance = u**seen * (1 - u) ** (length - 2 - seen)
                    right += phi[i, j, frozenset(s)] * (w**2 @ chance)
        assert mean == pytest.approx(right, abs=TIGHT)


@pytest.mark.parametrize("support", [pytest.param("product", id="stated"), tightened("all")])
def test_no_mismatch_exactly_at_product_supports(support):
    """prop-product-support: all sets of texts of three bits. Tightened: only the set of all."""
    rng = np.random.default_rng(0)
    for chosen in product([False, True], repeat=8):
        on = np.array(chosen).reshape(2, 2, 2)
        if not on.any():
            continue
        q = np.where(on, 0.1 + rng.random(on.shape), 0)
        lang = Table(q / q.sum())
        sides = [on.any(axis=tuple({0, 1, 2} - {k})) for k in range(3)]
        free = np.einsum("i,j,k->ijk", *sides) if support == "product" else np.ones_like(on)
        fits = bool((on == free).all())
        assert (pair_terms(lang.probabilities)[:, 2].max() < 1e-12) == fits
        assert (impossible_pair_mass(lang, 3) < 1e-12) == fits
        for reveal in ([1.0], [0.3, 1.0]):
            assert (three_errors(lang, np.array(reveal))[1] < 1e-12) == fits


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.9)])
@pytest.mark.parametrize(
    "lang, length",
    [
        (random_table(2, 5, 0.4, 3), 5),
        (random_ngram(2, 3, 0.4, 2), 4),
        (random_hmm(3, 2, 0.3, 1), 5),
    ],
    ids=["table", "chain", "HMM"],
)
def test_pair_information_is_the_slope(lang, length, constant):
    """prop-slope: -f'/2 by differences of f = sum of the mutual informations of all pairs."""
    u, step = np.array([0.03, 0.4, 0.9]), 1e-4
    told = constant * pair_curves(as_table(lang, length).probabilities, u)[0]
    slope = information_curve(lang, length, u + step) - information_curve(lang, length, u - step)
    assert told == pytest.approx(-slope / (4 * step), abs=1e-6)
    assert constant * pair_information(lang, length, u) == pytest.approx(told, abs=1e-8)


@relaxed
@given(worlds())
def test_mismatch_is_below_information(world):
    """prop-mismatch: M_ij(S) <= 1 - exp(-I_ij(S)) <= I_ij(S), hence K_1 <= (f(0) - f(1)) / 2."""
    lang, length = world
    assume(1 < length <= 5)
    _, information, mismatch = pair_terms(as_table(lang, length).probabilities).T
    assert (mismatch <= -np.expm1(-information) + TIGHT).all()
    half = np.subtract(*information_curve(lang, length, np.array([0.0, 1.0]))) / 2
    assert impossible_pair_mass(lang, length) <= half + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.95)])
@pytest.mark.parametrize(
    "q, bound",
    [
        (np.eye(3) / 3, lambda information: -np.expm1(-information)),
        (np.array([[0.96, 0.02], [0.02, 0.0]]), lambda information: information),
    ],
    ids=["equal tokens", "rarely together"],
)
def test_mismatch_bounds_are_sharp(q, bound, constant):
    """prop-mismatch: met by equal tokens; M / I tends to 1 if rare tokens exclude each other."""
    [(_, information, mismatch)] = pair_terms(q)
    assert mismatch <= constant * bound(information) + 1e-12


def stepwise_bound(denoiser, lang, reveal):
    """The N-step bound: E_q sum_k KL(q(x_s | x_t, x_0) || p(x_s | x_t)), by matrices on all states.

    The kernel given x_0 is that of a sampler whose denoiser is certain of x_0.
    """
    v, length, total = lang.vocab_size, lang.length, 0.0
    states, table = every_state(v, length), answers(denoiser, length)
    model = [one_stage_matrix(table, r) for r in reveal]
    for x, q in zip(every_x(v, length), lang.probabilities.ravel(), strict=True):
        if q == 0:
            continue
        certain = np.broadcast_to(np.eye(v)[x], table.shape)
        at = np.zeros(len(states))
        at[-1] = 1
        for r, step in zip(reveal, model, strict=True):
            true = one_stage_matrix(certain, r)
            total += q * sum(at[s] * kl(true[s], step[s]) for s in np.flatnonzero(at > 0))
            at = at @ true
    return total


def continuous_bound(denoiser, lang, schedule=None):
    """The bound in continuous time by its definition, an integral over t, by quadrature."""
    v, length = lang.vocab_size, lang.length
    states, table = every_state(v, length), answers(denoiser, length)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    t, total, schedule = (1 + nodes) / 2, 0.0, schedule or Linear()
    alpha, rate = schedule.alpha(t), -schedule.dalpha(t) / (1 - schedule.alpha(t))
    for x, q in zip(every_x(v, length), lang.probabilities.ravel(), strict=True):
        if q == 0:
            continue
        for s, state in enumerate(states):
            if ((state == v) | (state == x)).all() and (state == v).any():
                seen, hidden = (state < v).sum(), np.flatnonzero(state == v)
                nats = -np.log(table[s, hidden, x[hidden]]).sum()
                chance = alpha**seen * (1 - alpha) ** len(hidden)
                total += q * nats * (weights / 2 @ (rate * chance))
    return total


@few
@given(tiny_tables(), reveals(3), st.sampled_from([0.0, 0.03]))
def test_continuous_bound_is_blind_and_stepwise_bound_is_not(lang, reveal, noise):
    """prop-elbo: the N-step bound is H + E KL(q || p_sigma) and holds; the other sees no steps."""
    q, length, denoiser = lang.probabilities.ravel(), lang.length, NoisyOracle(lang, noise)
    p, laws, weights = sampler_law(lang, length, reveal, noise)
    forced = weights @ [kl(q, one) for one in laws]
    stepwise, continuous = stepwise_bound(denoiser, lang, reveal), continuous_bound(denoiser, lang)
    assert stepwise == pytest.approx(entropy(q) + forced, abs=TIGHT)
    lost = factorisation_error(lang, length, reveal)
    assert stepwise == pytest.approx(entropy(q) + lost + length * noise, abs=1e-8)
    assert continuous == pytest.approx(entropy(q) + length * noise, abs=1e-8)
    for schedule in (Cosine(), Power(2.0)):
        assert continuous_bound(denoiser, lang, schedule) == pytest.approx(continuous, abs=1e-8)
    assert entropy(q) + kl(q, p) <= stepwise + TIGHT


@pytest.mark.parametrize("integral", [pytest.param("l", id="stated"), tightened("left sum")])
def test_bound_in_one_step_may_be_below_that_in_continuous_time(integral):
    """prop-elbo: two fair independent bits, and a denoiser misled by the bit it sees.

    The learning error l(u) = 2 u eps is read at the left ends, or integrated. Tightened: both
    bounds have the same part of it.
    """
    lang, steps = Table(np.full((2, 2), 0.25)), 4

    class Misled(Oracle):
        def __call__(self, xt):
            seen = (torch.as_tensor(xt) < 2).any(dim=1)[:, None, None]
            exact_answer = super().__call__(xt)
            return torch.where(seen, torch.tensor([0.6, 0.4], dtype=torch.float64), exact_answer)

    denoiser, eps, nats = Misled(lang), np.log(0.5) - np.log([0.6, 0.4]).mean(), np.log(4)
    one = stepwise_bound(denoiser, lang, [1.0])
    few_steps = stepwise_bound(denoiser, lang, reveal_probabilities("linear", steps))
    continuous = continuous_bound(denoiser, lang, Cosine())
    assert one == pytest.approx(nats, abs=TIGHT)
    assert few_steps == pytest.approx(nats + eps * (1 - 1 / steps), abs=TIGHT)
    assert continuous == pytest.approx(nats + eps * (1 if integral == "l" else 1 - 1 / steps))
    assert one < few_steps < continuous


@pytest.mark.parametrize("vocab_size", [2, 3])
def test_continuous_bound_is_no_bound_for_few_steps(vocab_size):
    """prop-elbo: on equal tokens it is below -E ln p of the sampler at any number of steps."""
    lang = repetition(vocab_size, 2)
    for steps in (1, 4, 64):
        p = exact.push_forward(lang, 2, reveal_probabilities("linear", steps))[1]
        on = p[lang.probabilities.ravel() > 0]
        assert continuous_bound(Oracle(lang), lang) < -np.log(on).mean() - 1e-3


def copy_and_parity():
    """Six bits that mostly agree, then three bits with an even sum: two tables and their curves."""
    ones = np.indices((2,) * 6).sum(axis=0)
    copy = (0.02**ones * 0.98 ** (6 - ones) + 0.98**ones * 0.02 ** (6 - ones)) / 2
    return Table(copy), Table(parity_law(3))


def test_independent_blocks_add_their_curves():
    """Both curves of prop-schedules, and the errors, of independent parts with different laws."""
    one, two = random_table(2, 3, 0.3, 1), Table(parity_law(2))
    text = Table(np.multiply.outer(one.probabilities, two.probabilities))
    u, reveal = np.linspace(0, 1, 5), np.array([0.3, 0.5, 1.0])
    for curve in (information_curve, impossible_pair_curve, pair_information):
        assert curve(text, 5, u) == pytest.approx(curve(one, 3, u) + curve(two, 2, u), abs=1e-9)
    forced, wrong, own = three_errors(text, reveal)
    forced_1, wrong_1, own_1 = three_errors(one, reveal)
    forced_2, wrong_2, own_2 = three_errors(two, reveal)
    assert [forced, own] == pytest.approx([forced_1 + forced_2, own_1 + own_2], abs=1e-9)
    assert 1 - wrong == pytest.approx((1 - wrong_1) * (1 - wrong_2), abs=1e-9)


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(1.15)])
@pytest.mark.parametrize("which", ["forced", "SER"])
def test_optimal_schedules_differ(which, constant):
    """prop-schedules: no list of 64 steps is below its limit by much, each optimum reaches its own.

    Tightened: a limit that is 15 per cent higher is undercut by the optimal schedule.
    """
    (copy, even), steps = copy_and_parity(), 64

    def curve(u):
        return information_curve(copy, 6, u) + information_curve(even, 3, u)

    def density(u):
        if which == "SER":
            return np.sqrt(impossible_pair_curve(even, 3, u))
        return np.sqrt(pair_information(copy, 6, u) + pair_information(even, 3, u))

    def error(reveal):
        if which == "SER":
            return exact.push_forward(even, 3, reveal)[1][even.probabilities.ravel() == 0].sum()
        left = widths(reveal) @ curve(revealed_fractions(reveal))
        return left - entropy(copy.probabilities) - entropy(even.probabilities)

    nodes, weights = np.polynomial.legendre.leggauss(60)
    limit = (weights / 2 @ density((1 + nodes) / 2)) ** 2
    best_forced = optimal_reveal(curve, steps)
    best_wrong = reveal_by_density(lambda u: np.sqrt(impossible_pair_curve(even, 3, u)), steps)
    lists = [best_forced, best_wrong, reveal_probabilities("linear", steps)]
    rng = np.random.default_rng(0)
    lists += [reveal_from_widths(rng.dirichlet(np.full(steps, 8.0))) for _ in range(10)]
    scaled = np.array([steps * error(reveal) for reveal in lists])
    assert scaled.min() >= 0.97 * constant * limit
    own, other = (0, 1) if which == "forced" else (1, 0)
    assert scaled[own] == scaled.min() and scaled[own] <= 1.03 * limit
    assert scaled[other] > 1.25 * scaled[own]  # the other rate's optimum


@pytest.mark.parametrize(
    "constant", [pytest.param(1.0, id="stated"), tightened(0.9), tightened(1.1)]
)
def test_best_widths_for_the_divergence(constant):
    """prop-schedules: N KL(q || p) tends to (int sqrt(g))^2 too; three noisy copies, three bits."""
    ones, steps = np.indices((2,) * 3).sum(axis=0), 1024
    copy = Table((0.02**ones * 0.98 ** (3 - ones) + 0.98**ones * 0.02 ** (3 - ones)) / 2)
    even = Table(parity_law(3))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    limit = (weights / 2 @ np.sqrt(impossible_pair_curve(even, 3, (1 + nodes) / 2))) ** 2
    reveal = reveal_by_density(lambda u: np.sqrt(impossible_pair_curve(even, 3, u)), steps)
    own = sum(three_errors(part, reveal)[2] for part in (copy, even))
    assert steps * own == pytest.approx(constant * limit, rel=0.03)
    equal = reveal_probabilities("linear", steps)
    assert steps * own < 0.95 * steps * sum(three_errors(part, equal)[2] for part in (copy, even))


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.95)])
@pytest.mark.parametrize(
    "phi",
    [
        np.polynomial.Polynomial([1, 3]),
        np.polynomial.Polynomial([0, 0, 0, 0, 1]),
        np.polynomial.Polynomial([0.25, -1, 1]),
        pytest.param(
            lambda u: np.maximum(0.5 - u, 0),
            marks=pytest.mark.xfail(strict=True, reason="no polynomial: the last step is wide"),
        ),
    ],
    ids=["positive", "zero of order four", "zero inside", "zero on an interval"],
)
def test_equal_masses_reach_the_limit(phi, constant):
    """prop-schedules, 1 to 3: N sum_k w_k^2 phi(u_k) for equal masses, and for other lists."""
    grid = np.linspace(0, 1, 200001)
    square = np.trapezoid(np.sqrt(phi(grid)), grid) ** 2

    def scaled(reveal):
        return len(reveal) * (widths(reveal) ** 2 @ phi(revealed_fractions(reveal)))

    for steps in (64, 256):
        reveal = reveal_by_density(lambda u: np.sqrt(phi(u)), steps)
        assert scaled(reveal) == pytest.approx(constant * square, rel=8 / steps)
    positive = reveal_by_density(lambda u: np.sqrt(phi(u) + 0.01), 1024)
    assert scaled(positive) <= 1.02 * (np.sqrt(square) + 0.1) ** 2
    rng = np.random.default_rng(0)
    for _ in range(10):
        reveal = reveal_from_widths(rng.dirichlet(np.full(256, 8.0)))
        assert scaled(reveal) >= 0.98 * square


@pytest.mark.parametrize("lost", [pytest.param(1.0, id="stated"), tightened(0.95)])
def test_errors_on_parity_are_one_number(lost):
    """prop-parity: all three errors by chi, for any widths; tightened: each is a little smaller."""
    rng = np.random.default_rng(0)
    for length in (2, 3, 5):
        lang = Table(parity_law(length))
        for w in (np.full(4, 0.25), rng.dirichlet(np.ones(3)), np.array([0.0, 0.7, 0.3])):
            reveal = reveal_from_widths(w)
            chi = 1 - length * (widths(reveal) @ revealed_fractions(reveal) ** (length - 1))
            forced, wrong, own = three_errors(lang, reveal)
            told = lost * np.array([chi * np.log(2), chi / 2, -np.log1p(-chi / 2)])
            assert [forced, wrong, own] == pytest.approx(told, abs=TIGHT)


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.95)])
def test_optimal_steps_on_parity(constant):
    """prop-parity: N E KL tends to L ln 2 / 2 for uniform steps, to 2 (1 - 1/L) ln 2 at best."""
    n, u = 7, np.linspace(0, 1, 6)
    lang = Table(parity_law(n))
    assert information_curve(lang, n, u) == pytest.approx(n * np.log(2) * (1 - u ** (n - 1)))
    both = pair_curves(lang.probabilities, u)
    assert both[0] == pytest.approx(comb(n, 2) * np.log(2) * u ** (n - 2))
    assert both[1] == pytest.approx(comb(n, 2) / 2 * u ** (n - 2))
    reveal = optimal_reveal(lambda u: information_curve(lang, n, u), 512)
    limit = constant * 2 * (1 - 1 / n) * np.log(2)
    assert 512 * factorisation_error(lang, n, reveal) == pytest.approx(limit, rel=0.01)
    even = 512 * factorisation_error(lang, n, reveal_probabilities("linear", 512))
    assert even == pytest.approx(constant * n * np.log(2) / 2, rel=0.01)


# Chapter *The TER theorem*


def subset_entropies(q):
    """H(X_S), nats, of a table as a function of the positions S."""
    known = {}

    def h(kept):
        kept = tuple(sorted(set(map(int, kept))))
        if kept not in known:
            known[kept] = entropy(q.sum(axis=tuple(i for i in range(q.ndim) if i not in kept)))
        return known[kept]

    return h


def orders_with_chances(length, steps):
    """Every order of `length` tokens, ties allowed, and its chance under `steps` uniform steps."""
    for order in product(range(length), repeat=length):
        sets = max(order) + 1
        if len(set(order)) == sets:
            yield np.array(order), comb(steps, sets) / steps**length


def lost_in_order(h, order):
    """KL(q || p_sigma) = sum_i H(X_i | X_T) - H(X)."""
    total = -h(range(len(order)))
    for i, step in enumerate(order):
        before = np.flatnonzero(order < step)
        total += h([*before, i]) - h(before)
    return total


def same_step_left(order, i):
    return np.flatnonzero(order[:i] == order[i])


def is_bad(order, i, run):
    """A same-step token left of i, and no `run` tokens in a row of earlier steps in between."""
    left = same_step_left(order, i)
    if len(left) == 0:
        return False
    longest = count = 0
    for visible in order[left[-1] + 1 : i] < order[i]:
        count = count + 1 if visible else 0
        longest = max(longest, count)
    return longest < run


def bad_chance(n, steps, left):
    """P(bad) of a token with `left` tokens on its left, one after the other from the token on."""
    seen = np.arange(steps) / steps
    later = 1 - seen - 1 / steps
    state, bad = np.zeros((n - 1, steps)), np.zeros(steps)  # by the number visible in a row
    state[0] = 1
    for _ in range(left):
        bad += state.sum(axis=0) / steps
        state = np.concatenate([(state.sum(axis=0) * later)[None], state[:-1] * seen])
    return bad.mean()


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.99)])
def test_ter_bound_for_every_language(constant):
    """thm-ter-every by brute force; tightened: one step on a long repetition loses more."""
    rng = np.random.default_rng(0)
    for vocab_size, length in product((2, 16), (1, 6, 1000)):
        lost = np.log(1 / vocab_size) - length * np.log(1 / vocab_size)  # q and p of each text
        assert lost / length <= constant * np.log(vocab_size)
        if length <= 6 and vocab_size == 2:
            one_step = exact.true_excess(repetition(vocab_size, length), length, np.ones(1))
            assert one_step == pytest.approx(lost / length, abs=TIGHT)
    for lang, noise in [
        (random_table(3, 1, 0.0, 1), 0.05),
        (repetition(2, 6), 0.0),
        (repetition(3, 3), 0.1),
        (as_table(pairs(2), 4), 0.0),
        (as_table(random_ngram(2, 2, 0.3, 1), 4), 0.05),
        (as_table(random_hmm(2, 2, 0.0, 2), 4), 0.01),
        *((random_table(2, 4, share, 3), 0.05) for share in (0.0, 0.3, 0.6)),
    ]:
        q, length = lang.probabilities, lang.length
        h = subset_entropies(q)
        all_but = [[j for j in range(length) if j != i] for i in range(length)]
        told = [h([i]) + h(all_but[i]) - h(range(length)) for i in range(length)]
        small = (lang.vocab_size, length) != (2, 6)
        uneven = reveal_from_widths(rng.dirichlet(np.ones(3)))
        for reveal in [np.ones(1), np.array([0.5, 1.0]), uneven][: 3 if small else 1]:
            p, _, _ = sampler_law(lang, length, reveal, noise)
            excess = kl(q.ravel(), p) / length
            bound = widths(reveal).max() * sum(told) / length
            height = widths(reveal).max() * np.log(lang.vocab_size)
            assert excess <= noise + constant * bound + TIGHT
            assert bound <= height + TIGHT
        for epsilon in (0.3, 0.2, 0.1) if small else ():  # one, two and three steps
            reveal = reveal_probabilities("linear", steps_for_excess(epsilon))
            p, _, _ = sampler_law(lang, length, reveal, noise)
            assert kl(q.ravel(), p) / length <= noise + 4 * epsilon * np.log(lang.vocab_size)


@pytest.mark.parametrize("constant", [pytest.param(1 / 16, id="stated"), tightened(0.99 / 16)])
def test_constant_of_the_talk(constant):
    """Above one step, ceil(1/(4 eps)) is at most a sixteenth of (n - 1)/eps^{n + 1/2}."""
    for n, epsilon in product((2, 3, 5), [*np.geomspace(0.001, 0.24, 400), 0.25 - 1e-6]):
        assert steps_for_excess(epsilon) > 1
        assert steps_for_excess(epsilon) * epsilon ** (n + 0.5) <= constant * (n - 1)


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.1)])
def test_ter_bound_is_attained_and_of_the_right_order(factor):
    """prop-ter-tight; tightened: PAIRS is within 4 eps ln V in fewer than 1.1 times the steps."""
    rng = np.random.default_rng(1)
    for vocab_size, length, steps in [(2, 4, 1), (3, 3, 3), (2, 5, 2), (4, 2, 3)]:
        w, lang = rng.dirichlet(np.ones(steps)), repetition(vocab_size, length)
        later = np.maximum(1 - np.cumsum(w), 0)
        same = ((w / vocab_size + later) ** length - later**length).sum()
        q, p = (
            lang.probabilities.ravel(),
            exact.push_forward(lang, length, reveal_from_widths(w))[1],
        )
        assert np.abs(p[q > 0] - same).max() < TIGHT
        lost = kl(q, p)
        assert lost == pytest.approx(-np.log(vocab_size * same), abs=TIGHT)
        if steps == 1:
            assert lost == pytest.approx((length - 1) * np.log(vocab_size), abs=TIGHT)
        other = random_table(vocab_size, length, 0.6, length).probabilities
        assert total_correlation(other) <= (length - 1) * np.log(vocab_size) + TIGHT
    for vocab_size, steps, length in product((2, 16), (1, 2, 7), (1, 8, 100, 3000)):
        inside = (np.arange(steps) + 1 / vocab_size) / steps
        outside = np.arange(steps) / steps
        top = inside[-1]
        rest = ((inside / top) ** length - (outside / top) ** length).sum()
        excess = -np.log(top) - (np.log(vocab_size) + np.log(rest)) / length
        limit = -np.log(1 - (1 - 1 / vocab_size) / steps)
        slack = -np.log(1 - (outside[-1] / top) ** length)
        assert -TIGHT <= excess - limit + np.log(vocab_size) / length <= slack / length + TIGHT
        if length == 3000:
            assert excess == pytest.approx(limit, rel=0.02)
            assert excess > 0.9 * (1 - 1 / vocab_size) / steps
    for vocab_size, epsilon in product((2, 3, 16), (0.001, 0.01, 0.2)):

        def excess(steps, v=vocab_size):
            return -np.log(1 - (1 - 1 / v) / steps) / 2

        if vocab_size < 4:
            p = exact.push_forward(pairs(vocab_size), 4, reveal_probabilities("linear", 3))[1]
            q = pairs(vocab_size).enumerate(4)[1]
            assert kl(q, p) / 4 == pytest.approx(excess(3), abs=TIGHT)
            uneven = reveal_from_widths(rng.dirichlet(np.ones(3)))
            p = exact.push_forward(pairs(vocab_size), 4, uneven)[1]
            assert kl(q, p) / 4 >= excess(3) - TIGHT
        allowed = 4 * epsilon * np.log(vocab_size)
        least = next(n for n in range(1, 1000) if excess(n) <= allowed + TIGHT)
        assert factor * (1 - 1 / vocab_size) / (2 * allowed) <= least <= steps_for_excess(epsilon)


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.1)])
@pytest.mark.parametrize("vocab_size", [2, 3, 16])
def test_two_grams_need_the_order_for_equal_steps(vocab_size, factor):
    """prop-ter-tight, 4, by the limit of repetition, whose finite lengths are tested above."""
    share = 1 - 1 / vocab_size
    for epsilon in (0.001, 0.01, 0.1):
        allowed = 4 * epsilon * np.log(vocab_size)
        least = next(n for n in range(1, 1000) if -np.log1p(-share / n) <= allowed)
        assert factor * share / allowed <= least <= steps_for_excess(epsilon)


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.1)])
@pytest.mark.parametrize("vocab_size", [4, 5, 6])
def test_two_grams_need_the_order_for_steps_of_any_widths(vocab_size, factor):
    """prop-ter-tight, 5: PAIRS written with two sets of letters; one is unused if V is odd."""
    rng, v = np.random.default_rng(3), vocab_size // 2
    lang = as_table(disguised_pairs(v), 4)
    q = np.zeros((vocab_size,) * 4)
    q[(slice(2 * v),) * 4] = lang.probabilities
    lang = Table(q)
    for w in [np.array([0.01, 0.99]), *(rng.dirichlet(np.ones(n)) for n in (1, 3))]:
        p, _, _ = sampler_law(lang, 4, reveal_from_widths(w))
        excess = kl(q.ravel(), p) / 4
        assert excess == pytest.approx(-np.log(1 - (1 - 1 / v) * (w**2).sum()) / 2, abs=TIGHT)
        assert excess >= (1 - 1 / v) / (2 * len(w)) - TIGHT
    many = [rng.dirichlet(np.full(40, size)) for size in (0.5, 5.0)]
    for w in [np.full(40, 1 / 40), *many]:
        reveal = reveal_from_widths(w)
        excess = exact.true_excess(disguised_pairs(v), 2, reveal)
        assert excess == pytest.approx(-np.log(1 - (1 - 1 / v) * (w**2).sum()) / 2, abs=1e-8)
        assert excess >= factor * (1 - 1 / v) / (2 * 40)
        epsilon = excess / (4 * np.log(vocab_size))  # 40 steps keep within this
        assert factor * (1 - 1 / v) / (8 * epsilon * np.log(vocab_size)) <= 40


def ladder(v, length):
    """Components d = 1..L-1 of the tokens: values of a random polynomial of degree < d over F_v."""
    points, parts = np.arange(length), []
    for d in range(1, length):
        coefficients = product(range(v), repeat=d)
        parts.append([sum(c * points**j for j, c in enumerate(cs)) % v for cs in coefficients])
    q = np.zeros((v ** (length - 1),) * length)
    for choice in product(*parts):
        q[tuple(v ** np.arange(length - 1) @ np.array(choice))] += 1
    return Table(q / q.sum())


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(1.05)])
def test_no_order_helps_the_ladder(constant):
    """prop-ladder: every order, and every mixture of orders, of two and three tokens."""
    parity = np.zeros((4,) * 3)  # v = 2 < L = 3: a repeated bit and a bit of an even triple
    for bit, one, two in product(range(2), repeat=3):
        parity[tuple(2 * bit + np.array([one, two, one ^ two]))] = 1 / 8
    rng = np.random.default_rng(2)
    for v, lang in [(2, ladder(2, 2)), (3, ladder(3, 2)), (3, ladder(3, 3)), (2, Table(parity))]:
        q, length, vocab_size = lang.probabilities.ravel(), lang.length, lang.vocab_size
        assert vocab_size == v ** (length - 1)
        laws = {}
        for order in product(range(length), repeat=length):
            sizes = np.bincount(order)
            laws[order] = exact.law_in_order(lang, np.array(order))[1]
            by_hand = np.log(v) * (sizes * (sizes - 1)).sum() / 2
            assert kl(q, laws[order]) == pytest.approx(by_hand, abs=TIGHT)
        for steps in range(1, length + 1):
            least = np.log(vocab_size) / (2 * steps) * (length - steps) / (length - 1)
            few_steps = np.array([laws[o] for o in product(range(steps), repeat=length)])
            for sharp in (0.05, 1.0, 1e6):
                p = rng.dirichlet(np.full(len(few_steps), sharp)) @ few_steps
                assert kl(q, p) / length >= constant * least - TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(1.05)])
def test_ladder_bound_is_met_by_sets_of_equal_size(constant):
    """prop-ladder where N divides L: four tokens over F_3, the last the leading coefficient."""
    f = np.array(list(product(range(3), repeat=6)))  # of degree < 1, < 2 and < 3
    parts = []
    for c in (f[:, :1], f[:, 1:3], f[:, 3:]):
        values = [c @ x ** np.arange(c.shape[1]) % 3 for x in range(3)]
        parts.append(np.stack([*values, c[:, -1]], axis=1))
    words = parts[0] + 3 * parts[1] + 9 * parts[2]
    assert len(np.unique(words, axis=0)) == len(words)
    alike = words[:, None] == words[None]  # (729, 729, 4)
    sizes_met = defaultdict(list)
    for order in product(range(4), repeat=4):
        order = np.array(order)
        log_p = np.zeros(len(words))
        for i, step in enumerate(order):
            seen = alike[:, :, order < step].all(axis=2)
            log_p += np.log((seen & alike[:, :, i]).sum(axis=1) / seen.sum(axis=1))
        sizes = np.bincount(order, minlength=4)
        by_hand = np.log(3) * (sizes * (sizes - 1)).sum() / 2
        assert np.abs(-np.log(729) - log_p - by_hand).max() < TIGHT
        for steps in range(order.max() + 1, 5):
            sizes_met[steps].append(by_hand / 4)  # the same for each text, so for mixtures too
    for steps, lost in sizes_met.items():
        least = constant * np.log(27) / (2 * steps) * (4 - steps) / 3
        assert min(lost) >= least - TIGHT
        if steps != 3:
            assert min(lost) == pytest.approx(np.log(27) / (2 * steps) * (4 - steps) / 3)


@few
@given(tiny_tables(), st.sampled_from([2, 3]))
def test_total_correlation_splits_from_left_to_right(lang, steps):
    """lem-left-to-right: KL(q || p_sigma) = sum_i I(X^i; X^{S_k,<i} | X^{T_k}), every sigma."""
    q, length = lang.probabilities, lang.length
    h = subset_entropies(q)
    for order in product(range(steps), repeat=length):
        order = np.array(order)
        total = correlated = 0.0
        for i, step in enumerate(order):
            before, left = np.flatnonzero(order < step), same_step_left(order, i)
            total += h([*before, i]) + h([*before, *left]) - h([*before, *left, i]) - h(before)
        for step in np.unique(order):
            before, now = np.flatnonzero(order < step), np.flatnonzero(order == step)
            alone = [h([*before, i]) - h(before) for i in now]
            correlated += sum(alone) - (h([*before, *now]) - h(before))
        lost = kl(q.ravel(), exact.law_in_order(lang, order)[1])
        assert total == pytest.approx(lost, abs=TIGHT)
        assert correlated == pytest.approx(lost, abs=TIGHT)


@pytest.mark.parametrize("shorter", [pytest.param(0, id="stated"), tightened(1)])
@pytest.mark.parametrize("size", [(2, 2, 6), (2, 3, 5), (3, 2, 6)], ids=str)
def test_separated_tokens_cost_nothing(size, shorter):
    """lem-separated, all orders of three steps; tightened: a run shorter by one is enough."""
    n, vocab_size, length = size
    for share, seed in [(0.0, 1), (0.3, 2), (0.6, 3)]:
        lang = random_ngram(n, vocab_size, share, seed)
        h = subset_entropies(as_table(lang, length).probabilities)
        for order in product(range(3), repeat=length):
            order = np.array(order)
            for i, step in enumerate(order):
                if not is_bad(order, i, n - 1 - shorter):
                    before, left = np.flatnonzero(order < step), same_step_left(order, i)
                    apart = h([*before, i]) + h([*before, *left])
                    assert abs(apart - h([*before, *left, i]) - h(before)) < TIGHT


def copying():
    """A 2-gram whose tokens are all the same."""
    return NGram(np.full(2, 0.5), np.eye(2))


@pytest.mark.parametrize(
    "lang, length, constant",
    [
        (copying(), 6, 1.0),
        (random_ngram(2, 2, 0.0, 6), 6, 1.0),
        (random_ngram(2, 3, 0.6, 5), 5, 1.0),
        (random_ngram(3, 2, 0.3, 6), 6, 1.0),
        (random_ngram(3, 2, 0.0, 5), 5, 1.0),
        tightened(copying(), 6, 0.01),
    ],
)
def test_ngram_bound_with_constant_one(lang, length, constant):
    """thm-ter-ngram by all orders: the cost of each, the chance of the bad event, their mean.

    Far from tight: what fails is a hundredth of the constant.
    """
    n, height = lang.n, np.log(lang.vocab_size)
    h = subset_entropies(as_table(lang, length).probabilities)
    orders = [order for order, _ in orders_with_chances(length, 1)]
    bad = np.array([[is_bad(order, i, n - 1) for i in range(length)] for order in orders])
    lost = np.array([lost_in_order(h, order) for order in orders])
    assert (lost <= height * bad.sum(axis=1) + TIGHT).all()
    for epsilon in (0.25, 0.1):
        for steps in (ngram_steps(n, epsilon), 3 * ngram_steps(n, epsilon) + 1):
            chances = np.array([chance for _, chance in orders_with_chances(length, steps)])
            assert chances.sum() == pytest.approx(1, abs=1e-9)
            bound = 3 * epsilon + 1 / steps
            assert (chances @ bad <= bound).all()
            assert chances @ bad[:, -1] == pytest.approx(bad_chance(n, steps, length - 1), abs=1e-9)
            assert chances @ lost / length <= constant * bound * height
            if length < 6 and steps < 1000:
                reveal = reveal_probabilities("linear", steps)
                noisy = NoisyOracle(lang, 0.05)
                _, p = exact.push_forward(
                    lang, 3, reveal, lambda xt, noisy=noisy: noisy(torch.as_tensor(xt)).numpy()
                )
                own = kl(lang.enumerate(3)[1], p) / 3
                assert 0 < own <= 0.05 + bound * height
            assert bound <= 25 / 8 * epsilon
            if steps == ngram_steps(n, epsilon):
                stated = ngram_excess_bound(n, epsilon, lang.vocab_size)
                assert bound * height == pytest.approx(stated)


@pytest.mark.parametrize("share", [pytest.param(25 / 8, id="stated"), tightened(3.1)])
def test_excess_of_the_ngram_bound_is_below_four(share):
    """3 eps + 1/N <= (25/8) eps from N_0 on, an equality at n = 2 and eps = 1/4."""
    for n, epsilon in product((2, 3, 4), (0.25, 0.2, 0.1, 0.02)):
        assert ngram_excess_bound(n, epsilon, 5) <= share * epsilon * np.log(5) + TIGHT


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.01)])
def test_floor_of_the_bad_event(factor):
    """prop-bad-floor: an equality at one step, where every token but the first is bad."""
    for n, steps, left in product((2, 3, 4), (1, 2, 7, 50), (1, 2, 5, 40)):
        chance = bad_chance(n, steps, left)
        assert chance >= factor * (1 - (1 - 1 / steps) ** left) / steps - 1e-15


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(0.9)])
def test_chance_of_the_bad_event_in_closed_form(factor):
    """eq-bad-chance far from the left end, and the step count (n - 1)/eps^n that follows.

    Tightened: a factor before the bound (n - 1)/(N u^{n-1}) in one step.
    """
    for n, steps in product((2, 3, 4), (1, 2, 5, 12)):
        u = np.arange(steps) / steps
        row = sum(u**j for j in range(n - 1))
        given_step = row / (row + steps * u ** (n - 1))
        assert bad_chance(n, steps, 4000) == pytest.approx(given_step.mean(), abs=1e-9)
        assert bad_chance(n, steps, 3) <= given_step.mean() + TIGHT
    u = np.arange(1, 10**4) / 10**4
    for n in (2, 3, 4):
        row = sum(u**j for j in range(n - 1))
        above = (n - 1) / (10**4 * u ** (n - 1))
        assert (row / (row + 10**4 * u ** (n - 1)) <= factor * above).all()
        for epsilon in (0.9, 0.5, 0.25, 0.1, 0.05):
            steps = int(np.ceil((n - 1) / epsilon**n - 1e-9))
            seen = np.arange(steps) / steps
            runs = sum(seen**j for j in range(n - 1))
            bad = (runs / (runs + steps * seen ** (n - 1))).mean()
            assert bad <= 2 * epsilon + 1 / steps <= 3 * epsilon + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.1)])
def test_bad_event_is_rarer_than_its_three_parts(constant):
    """thm-ter-ngram at lengths beyond enumeration; the containment of the event by enumeration."""
    for n, epsilon in [(2, 0.1), (2, 0.25), (2, 0.02), (3, 0.25), (3, 0.15), (4, 0.25)]:
        steps = ngram_steps(n, epsilon)
        m = int(np.ceil(epsilon ** -(n - 1) * np.log(1 / epsilon)))
        d, seen = (n - 1) * m, np.arange(steps) / steps
        early, near = (seen < epsilon).mean(), 1 - (1 - 1 / steps) ** d
        no_run = ((1 - seen ** (n - 1)) ** m)[seen >= epsilon]
        assert early < epsilon + 1 / steps and near <= d / steps <= epsilon
        assert no_run.max() <= np.exp(-(epsilon ** (n - 1)) * m) <= epsilon
        for left in (1, d, 4 * d):
            chance = bad_chance(n, steps, left)
            assert chance <= early + near + no_run.sum() / steps
            assert chance <= constant * (3 * epsilon + 1 / steps)
            assert chance >= (1 - (1 - 1 / steps) ** left) / steps - 1e-15  # prop-bad-floor
    harmonic = (1 / np.arange(1, 318)).sum() / 317
    assert bad_chance(2, 317, 5000) == pytest.approx(harmonic, rel=1e-3)
    for (n, m), order in product([(2, 1), (2, 2), (3, 1)], product(range(3), repeat=6)):
        order, d = np.array(order), (n - 1) * m
        for i in range(6):
            same = (order[max(0, i - d) : i] == order[i]).any()
            none = i >= d and not any(
                (order[i - (n - 1) * (r + 1) : i - (n - 1) * r] < order[i]).all() for r in range(m)
            )
            assert not is_bad(order, i, n - 1) or same or none


@pytest.mark.parametrize(
    "constant", [pytest.param(2 / np.e, id="stated"), tightened(0.99 * 2 / np.e)]
)
def test_logarithm_is_absorbed(constant):
    """ln(1/eps) <= (2/e) eps^{-1/2}, and with it the ceilings in the proof of thm-ter-ngram."""
    grid = np.concatenate([np.geomspace(1e-6, 1, 500), [np.exp(-2)]])
    assert (np.log(1 / grid) <= constant * grid**-0.5 + 1e-12).all()
    for n, epsilon in product((2, 3, 4, 7), np.append(np.geomspace(0.01, 0.25, 60), np.exp(-2))):
        m = np.ceil(epsilon ** -(n - 1) * np.log(1 / epsilon))
        assert m <= epsilon ** -(n - 0.5)
        assert (n - 1) * m / epsilon <= ngram_steps(n, epsilon)
        assert 1 / ngram_steps(n, epsilon) <= epsilon / 8 * (1 + 1e-12)


# Chapter *SER with enough steps*


def told_by_the_rest(q):
    """sum_i I(X^i; all others) of a table (V,)*L, nats, from entropies."""
    return sum(
        entropy(law) + entropy(q.sum(axis=i)) - entropy(q) for i, law in enumerate(marginals(q))
    )


def noisy_law(lang, length, reveal, epsilon):
    """(p, q) over every sequence: the sampler whose denoiser errs by epsilon, by push-forward."""
    noisy = NoisyOracle(lang, epsilon)
    p = exact.push_forward(lang, length, reveal, lambda xt: noisy(torch.as_tensor(xt)).numpy())[1]
    return p, lang.enumerate(length)[1]


def with_unused_token(lang):
    """The same HMM with one token more, number 0, that it never writes."""
    return HMM(lang.initial, lang.transition, np.pad(lang.emission, ((0, 0), (1, 0))))


def block_language(allowed):
    """The HMM of independent pairs, uniform over the pairs of tokens that `allowed` (V, V) lets."""
    v = len(allowed)
    start, none, same = np.full(v, 1 / v), np.zeros((v, v)), np.eye(v)
    second = allowed / allowed.sum(axis=1, keepdims=True)
    return HMM(
        np.concatenate([start, np.zeros(v)]),
        np.block([[none, second], [np.full((v, v), 1 / v), none]]),
        np.concatenate([same, same]),
    )


@few
@given(worlds(), reveals(), st.sampled_from([0.0, 0.05, 0.5]))
def test_error_rate_bound_for_every_language(world, reveal, epsilon):
    """thm-ser-steps: each of its inequalities, and sum_i I <= L ln V."""
    lang, length = world
    assume((2 * lang.vocab_size + 1) ** length < 2**18)
    p, q = noisy_law(lang, length, reveal, epsilon)
    told, divergence = told_by_the_rest(as_table(lang, length).probabilities), kl(q, p)
    exponent = length * epsilon + widths(reveal).max() * told
    assert p[q == 0].sum() <= -np.expm1(-divergence) + TIGHT
    assert divergence <= exponent + TIGHT
    assert told <= length * np.log(lang.vocab_size) + TIGHT
    bound = sequence_error_bound(length, reveal, max(told, 0), epsilon)
    assert bound == pytest.approx(-np.expm1(-exponent), abs=TIGHT)


@few
@given(worlds(), reveals(3), seeds)
def test_error_rate_bound_with_uneven_errors(world, reveal, seed):
    """thm-ser-steps with the mean error eq-mean-learning: another error in each context.

    eps-bar by all assignments of steps and all texts; it is also the sum of eq-learning-curve.
    """
    lang, length = world
    w, v = widths(reveal), lang.vocab_size
    assume((v + 1) ** length * len(w) ** length < 2**15)
    rng = np.random.default_rng(seed)
    right, x, q = answers(Oracle(lang), length), *lang.enumerate(length)
    share = rng.uniform(size=(len(right), length, 1)) * (rng.uniform(size=(len(right), 1, 1)) < 0.5)
    wrong = (1 - share) * right + share * law(rng, right.shape, 0)
    divergence, learning = special.rel_entr(right, wrong).sum(axis=2), 0.0
    for steps in product(range(len(w)), repeat=length):
        steps = np.array(steps)
        for i in range(length):
            context = np.where(steps < steps[i], x, v)
            learning += w[steps].prod() * (q @ divergence[number(context, v), i])
    curve = 0.0
    for k, visible in enumerate(revealed_fractions(reveal)):
        for shown in product([False, True], repeat=length):
            chance = visible ** sum(shown) * (1 - visible) ** (length - sum(shown))
            at = divergence[number(np.where(shown, x, v), v)]
            hidden = ~np.array(shown)
            curve += w[k] * chance / max(1 - visible, 1e-300) * (q @ at[:, hidden].sum(axis=1))
    assert learning == pytest.approx(curve, abs=1e-8)
    p = mixture(wrong, w)
    told = told_by_the_rest(as_table(lang, length).probabilities)
    assert kl(q, p) <= learning + w.max() * told + TIGHT
    assert p[q == 0].sum() <= -np.expm1(-kl(q, p)) + TIGHT


@pytest.mark.parametrize("weighting", [pytest.param("steps", id="stated"), tightened("loss")])
def test_error_rate_bound_by_the_loss_is_false(weighting):
    """thm-ser-steps: the errors count at the left ends of the steps, not as the loss has them.

    Independent tokens and one never used, which is guessed while no token is visible. One step.
    """
    lang, length, error = with_unused_token(HMM([1.0], [[1.0]], [[0.5, 0.5]])), 3, 0.2
    table = answers(Oracle(lang), length)
    blank = number(np.full(length, lang.vocab_size), lang.vocab_size)
    table[blank] = answers(NoisyOracle(lang, error), length)[blank]
    p, q = mixture(table, np.array([1.0])), lang.enumerate(length)[1]
    learning = {"steps": length * error, "loss": error}[weighting]  # the loss: int L (1-u)^{L-1}
    assert p[q == 0].sum() <= -np.expm1(-learning) + TIGHT


@pytest.mark.parametrize(
    ("learning", "information"),
    [pytest.param(1.0, 1.0, id="stated"), tightened(0.9, 1.0), tightened(1.0, 0.8)],
)
def test_error_rate_bound_is_attained(learning, information):
    """thm-ser-steps: met by independent tokens and one never used; nearly, by copies in one step.

    On `length` copies the exponent is 1 - 1/length of the bound's (prop-ser-sharp, 2).
    """
    independent = with_unused_token(HMM([1.0], [[1.0]], [[0.5, 0.5]]))
    for lang, length, epsilon in [(independent, 3, 0.2), (repetition(2, 6), 6, 0.0)]:
        p, q = noisy_law(lang, length, np.array([1.0]), epsilon)
        told = max(0, told_by_the_rest(as_table(lang, length).probabilities))
        bound = -np.expm1(-(learning * length * epsilon + information * told))
        wrong = p[q == 0].sum()
        assert wrong <= bound + TIGHT
        attained = told * (1 - 1 / length) + length * epsilon
        assert wrong == pytest.approx(-np.expm1(-attained), abs=TIGHT)


@few
@given(st.integers(1, 3), zeros, seeds, reveals(), st.floats(0.01, 2))
def test_a_token_never_used_multiplies(states, share, seed, reveal, epsilon):
    """prop-ser-sharp, 1: 1 - SER = e^{-L epsilon} (1 - SER of the exact denoiser), whatever w."""
    lang, length = with_unused_token(random_hmm(states, 2, share, seed)), 3
    p, q = noisy_law(lang, length, reveal, epsilon)
    right = 1 - exact.sequence_error_rate(lang, length, reveal)
    assert p[q > 0].sum() == pytest.approx(np.exp(-length * epsilon) * right, abs=TIGHT)


@pytest.mark.parametrize(
    ("share", "constant"),
    [pytest.param(0.9, 1.0, id="stated"), tightened(1.05, 1.0), tightened(0.9, 0.35)],
)
def test_learning_threshold_is_sharp(share, constant):
    """cor-ser-linear, 1: enough steps below L epsilon = ln(1/(1 - delta)), never enough above.

    Three copies and a token never used. Below, the corollary asks for 30 steps, and 12 are needed.
    """
    lang, length, delta = with_unused_token(HMM([0.5, 0.5], np.eye(2), np.eye(2))), 3, 0.5
    epsilon = share * np.log(1 / (1 - delta)) / length
    told = told_by_the_rest(as_table(lang, length).probabilities)
    steps = 256
    if share < 1:
        enough = steps_for_sequence_error(delta, length, told, epsilon)
        assert enough == np.ceil(told / (-np.log1p(-delta) - length * epsilon))
        steps = int(np.ceil(constant * enough))
    else:
        with pytest.raises(ValueError, match="too large"):
            steps_for_sequence_error(delta, length, told, epsilon)
    p, q = noisy_law(lang, length, reveal_probabilities("linear", steps), epsilon)
    assert p[q == 0].sum() <= delta


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.83)])
def test_number_of_steps_by_the_information(constant):
    """cor-ser-linear, 1: no constant below 5/6 does for six copies (prop-ser-sharp, 2).

    The corollary asks for 1.2 steps, hence two; one step is not enough.
    """
    lang, length, delta = repetition(2, 6), 6, 0.9687
    told = told_by_the_rest(lang.probabilities)
    steps = int(np.ceil(constant * told / -np.log1p(-delta)))
    if constant == 1:
        assert steps_for_sequence_error(delta, length, told) == steps
    assert exact.sequence_error_rate(lang, length, reveal_probabilities("linear", steps)) <= delta


@pytest.mark.parametrize(
    ("learning", "steps"),
    [pytest.param(1.0, 1.0, id="stated"), tightened(2.4, 1.0), tightened(1.0, 0.3)],
)
def test_linear_number_of_steps_suffices(learning, steps):
    """cor-ser-linear, 2 and 3: epsilon = delta / 2L, N = 2 L ln V / delta or with ln min(V, M).

    On two copies, and on random HMMs with fewer states than tokens; a token is never used.
    """
    delta, copies = 0.1, HMM([0.5, 0.5], np.eye(2), np.eye(2))
    for lang, length in [(copies, 2), *((random_hmm(2, 3, 0.3, seed), 3) for seed in range(4))]:
        lang = with_unused_token(lang)
        told = told_by_the_rest(as_table(lang, length).probabilities)
        for size in (lang.vocab_size, min(lang.vocab_size, lang.num_states)):
            assert told <= length * np.log(size) + TIGHT
            number_of_steps = int(np.ceil(steps * 2 * length * np.log(size) / delta))
            reveal = reveal_probabilities("linear", number_of_steps)
            p, q = noisy_law(lang, length, reveal, learning * delta / (2 * length))
            assert p[q == 0].sum() <= delta


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.8)])
def test_linear_number_of_steps_is_needed_on_pairs(constant):
    """prop-ser-sharp, 3: the least N on blocks of two, by push-forward, and for other widths."""
    length, delta = 4, 0.3
    for allowed in (np.eye(2), np.eye(3), 1 - np.eye(3)):
        lang, mismatch = block_language(allowed), 1 - allowed.mean()
        told = told_by_the_rest(as_table(lang, length).probabilities)
        assert told == pytest.approx(-length * np.log1p(-mismatch))
        need = mismatch / (1 - (1 - delta) ** (2 / length))
        assert need >= mismatch * length / (2 * np.log(1 / (1 - delta)))
        for steps in range(1, 9):
            reveal = reveal_probabilities("linear", steps)
            p, q = noisy_law(lang, length, reveal, 0.0)
            assert (p[q == 0].sum() <= delta) == (steps >= need)
            if steps >= constant * need:
                assert p[q == 0].sum() <= delta
            uneven = np.random.default_rng(steps).dirichlet(np.ones(steps))
            other = noisy_law(lang, length, reveal_from_widths(uneven), 0.0)[0]
            assert other[q == 0].sum() >= p[q == 0].sum() - TIGHT
        enough = steps_for_sequence_error(delta, length, told)
        assert enough >= need
        assert enough - 1 <= need * 2 * np.log(1 / (1 - mismatch)) / mismatch


@pytest.mark.parametrize("share", [pytest.param(0.49, id="stated"), tightened(0.55)])
def test_half_the_information_is_needed(share):
    """prop-ser-sharp, 3: on pairs of different tokens, a share below 1/2 of the steps fails.

    The formula is checked over 3 tokens by law; over 50 it is used, with N real, not whole.
    """
    small = block_language(1 - np.eye(3))
    reveal = reveal_probabilities("linear", 3)
    formula = 1 - (1 - (1 / 3) / 3) ** 2
    assert exact.sequence_error_rate(small, 4, reveal) == pytest.approx(formula, abs=TIGHT)
    vocab_size, length, delta = 50, 1000, 0.05
    told = length * np.log(vocab_size / (vocab_size - 1))
    steps = share * told / np.log(1 / (1 - delta))
    assert 1 - (1 - 1 / (vocab_size * steps)) ** (length / 2) > delta


@relaxed
@given(st.integers(1, 3), st.integers(2, 4), zeros, seeds)
def test_hidden_states_bound_the_information(states, vocab_size, share, seed):
    """lem-hidden-states: I(X^i; X^{-i}) <= I(X^i; Z^i) <= min(H(X^i), H(Z^i)) at each position."""
    lang, length = random_hmm(states, vocab_size, share, seed), 4
    q, state = as_table(lang, length).probabilities, lang.initial
    for i, alone in enumerate(marginals(q)):
        told = entropy(alone) + entropy(q.sum(axis=i)) - entropy(q)
        emitted = entropy(state) + entropy(alone) - entropy(state[:, None] * lang.emission)
        assert told <= emitted + TIGHT
        assert emitted <= min(entropy(state), entropy(alone)) + TIGHT
        assert entropy(state) <= np.log(states) + TIGHT
        state = state @ lang.transition


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.95)])
def test_hidden_states_can_tell_all(constant):
    """lem-hidden-states: two states in turn with tokens of their own; sum_i I = L ln 2 exactly."""
    lang = HMM([0.5, 0.5], [[0, 1], [1, 0]], [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    told = told_by_the_rest(as_table(lang, 4).probabilities)
    assert told <= constant * 4 * np.log(lang.num_states) + TIGHT


@few
@given(worlds(), reveals(3), st.sampled_from([0.0, 0.1]))
def test_birthday_bound(world, reveal, epsilon):
    """prop-birthday: SER <= 1 - P(all steps differ) e^{-L epsilon}, by all assignments."""
    lang, length = world
    assume((2 * lang.vocab_size + 1) ** length < 2**16)
    w = widths(reveal)
    apart = sum(
        w[list(steps)].prod()
        for steps in product(range(len(w)), repeat=length)
        if len(set(steps)) == length
    )
    p, q = noisy_law(lang, length, reveal, epsilon)
    assert p[q == 0].sum() <= 1 - apart * np.exp(-length * epsilon) + TIGHT
    assert 1 - apart <= comb(length, 2) * (w**2).sum() + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.8)])
def test_birthday_bound_is_met_in_the_limit(constant):
    """prop-birthday: two equal tokens are lost with 1 - 1/V whenever they meet."""
    for vocab_size in (2, 8):
        p, q = noisy_law(repetition(vocab_size, 2), 2, np.array([0.5, 1.0]), 0.0)
        assert p[q == 0].sum() == pytest.approx(0.5 * (1 - 1 / vocab_size), abs=TIGHT)
        assert p[q == 0].sum() <= constant * 0.5


@pytest.mark.parametrize(("length", "delta"), [(2, 0.5), (5, 0.1), (23, 0.508), (40, 0.9)])
def test_birthday_steps_are_the_least(length, delta):
    """prop-birthday: the least N by exact counting, and its two bounds."""

    def collide(steps):
        return 1 - perm(steps, length) / steps**length

    least = birthday_steps(length, delta)
    assert collide(least) <= delta < collide(least - 1)
    pair_count = comb(length, 2)
    assert pair_count / np.log(1 / (1 - delta)) <= least <= np.ceil(pair_count / delta)


@few
@given(st.sampled_from([2, 3]), reveals(3))
def test_a_value_for_each_pair(values, reveal):
    """ex-ser-steps-hand: each two tokens share a value; 1 - SER = E values^{-meetings}."""
    q = np.zeros((values, values) * 3)
    for a, b, c in product(range(values), repeat=3):  # of the pairs 12, 13, 23
        q[a, b, a, c, b, c] = values**-3.0
    lang, w = Table(q.reshape((values**2,) * 3)), widths(reveal)
    right = 0.0
    for steps in product(range(len(w)), repeat=3):
        meetings = sum(one == other for one, other in combinations(steps, 2))
        right += w[list(steps)].prod() * values ** -float(meetings)
    assert exact.sequence_error_rate(lang, 3, reveal) == pytest.approx(1 - right, abs=TIGHT)


@few
@given(
    tiny_tables(),
    st.lists(st.floats(0.05, 0.95), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.3]),
)
def test_leftover_masks_multiply(lang, reveal, epsilon):
    """prop-leftover: on all (V+1)^L states, against the sampler with the widths renormalised."""
    reveal, length = np.array(reveal), lang.length
    q = lang.probabilities.ravel()
    last = push_forward(answers(NoisyOracle(lang, epsilon), length), reveal)
    right = without_masks(last, lang.vocab_size, length)[q > 0].sum()
    left = np.prod(1 - reveal)
    w = reveal * np.concatenate([[1.0], np.cumprod(1 - reveal)[:-1]]) / (1 - left)
    p = noisy_law(lang, length, reveal_from_widths(w / w.sum()), epsilon)[0]
    assert right == pytest.approx((1 - left) ** length * p[q > 0].sum(), abs=TIGHT)
    exponent = length * epsilon + w.max() * told_by_the_rest(lang.probabilities)
    assert 1 - right <= -np.expm1(-exponent + length * np.log1p(-left)) + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.9)])
def test_cost_of_leftover_masks_is_met(constant):
    """prop-leftover: where every text is possible, masks are all that can be wrong."""
    lang = Table(np.full((2, 2, 2), 1 / 8))
    last = push_forward(answers(Oracle(lang), 3), np.array([0.5, 0.8]))
    wrong = 1 - without_masks(last, 2, 3).sum()
    assert wrong <= -np.expm1(constant * 3 * np.log1p(-0.1)) + TIGHT


@pytest.mark.parametrize(
    ("learning", "width", "left"),
    [
        pytest.param(1.0, 1.0, 1.0, id="stated"),
        tightened(2.2, 1.0, 1.0),
        tightened(1.0, 4.5, 1.0),
        tightened(1.0, 1.0, 2.6),
    ],
)
def test_three_parts_of_delta_suffice(learning, width, left):
    """prop-leftover: delta/3 for the learning error, delta/3 for the width, delta/4L for rho.

    On two copies with a token never used, on all (V+1)^L states.
    """
    lang, length = with_unused_token(HMM([0.5, 0.5], np.eye(2), np.eye(2))), 2
    q = lang.enumerate(length)[1]
    told = told_by_the_rest(as_table(lang, length).probabilities)
    for delta in (0.05, 0.1):
        steps, rho = int(np.ceil(3 * told / (width * delta))), left * delta / (4 * length)
        each = (1 - rho) / steps  # of the widths, which add up to 1 - rho
        reveal = each / (1 - each * np.arange(steps))
        noisy = NoisyOracle(lang, learning * delta / (3 * length))
        last = push_forward(answers(noisy, length), reveal)
        assert 1 - without_masks(last, lang.vocab_size, length)[q > 0].sum() <= delta


@few
@given(hmms(), st.floats(0.01, 1))
def test_one_token_at_a_time_pays_for_learning_too(world, epsilon):
    """prop-ser-left-to-right: SER <= 1 - e^{-L epsilon}, equal if a token is never used."""
    lang, length = world
    assume((lang.vocab_size + 2) ** length < 2**13)
    for model in (lang, with_unused_token(lang)):
        x, q = model.enumerate(length)
        p = given_steps(answers(NoisyOracle(model, epsilon), length), x, np.arange(length))
        wrong, bound = p[q == 0].sum(), -np.expm1(-length * epsilon)
        assert wrong <= bound + TIGHT
    assert wrong == pytest.approx(bound, abs=TIGHT)


# Chapter *The SER lower bound*


def best_match(vocab_size, epsilon, rng):
    """The largest sum_a P_a Q_a over the ball KL(U || .) <= epsilon that an optimiser finds."""

    def slack(z):
        return epsilon + np.log(special.softmax(z)).mean() + np.log(vocab_size)

    best = 0.0
    for start in rng.normal(size=(8, 2 * vocab_size)):
        found = optimize.minimize(
            lambda z: -special.softmax(z[:vocab_size]) @ special.softmax(z[vocab_size:]),
            np.sqrt(epsilon) * start,
            method="SLSQP",
            constraints=[
                {"type": "ineq", "fun": lambda z: slack(z[:vocab_size])},
                {"type": "ineq", "fun": lambda z: slack(z[vocab_size:])},
            ],
            options={"maxiter": 300, "ftol": 1e-12},
        )
        if min(slack(found.x[:vocab_size]), slack(found.x[vocab_size:])) > -1e-8:
            best = max(best, -found.fun)
    return best


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.01)])
def test_ball_of_learning_error(factor):
    """lem-ball: no two laws of the ball agree more often than P* with itself; found by search.

    Tightened: a least mismatch larger by one per cent.
    """
    rng = np.random.default_rng(0)
    for vocab_size, epsilon in [(2, 1 / 128), (2, 1.0), (3, 0.1), (4, 0.5), (6, 1 / 128)]:
        mu = least_mismatch(vocab_size, epsilon)
        star, uniform = worst_law(vocab_size, epsilon), np.full(vocab_size, 1 / vocab_size)
        assert kl(uniform, star) == pytest.approx(epsilon, abs=1e-9)
        assert 1 - 1 / vocab_size - epsilon <= mu + TIGHT and mu < 1 - 1 / vocab_size
        found = best_match(vocab_size, epsilon, rng)
        assert found >= star @ star - 1e-6
        assert found <= 1 - mu * factor + 1e-6
        if vocab_size == 2:
            assert mu == pytest.approx(np.exp(-2 * epsilon) / 2, abs=TIGHT)


def law_given_steps(tables, steps):
    """p_sigma of every text, where tables[k] holds the answers of step k to every state."""
    _, length, vocab_size = tables[0].shape
    x, steps = every_x(vocab_size, length), np.array(steps)
    p = np.ones(len(x))
    for step in np.unique(steps):
        rows = number(np.where(steps >= step, vocab_size, x), vocab_size)
        for i in np.flatnonzero(steps == step):
            p *= tables[step][rows, i, x[:, i]]
    return p


def law_of_steps(tables, w):
    """As `mixture`, where tables[k] holds the answers of step k, or of a pass after the last."""
    every = product(range(len(w)), repeat=tables[0].shape[1])
    return sum(w[list(steps)].prod() * law_given_steps(tables, steps) for steps in every)


def within(q, epsilon, rng):
    """A random law P with KL(q || P) <= epsilon, often on the edge of what that allows."""
    other = rng.dirichlet(np.full(len(q), rng.choice([0.1, 1.0])))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if kl(q, (1 - middle) * q + middle * other) <= epsilon else (low, middle)
        )
    low *= rng.choice([1.0, rng.random()])
    return (1 - low) * q + low * other


def careless(lang, length, epsilon, rng):
    """Answers to every state: within epsilon on the support, anything beyond it."""
    states = every_state(lang.vocab_size, length)
    table = lang.posterior(states, off_support="local")
    possible = can_occur(lang, states)
    for state, i in zip(*np.nonzero(states == lang.mask_id), strict=True):
        if possible[state]:
            table[state, i] = within(table[state, i], epsilon, rng)
        else:
            table[state, i] = rng.dirichlet(np.ones(lang.vocab_size))
    return table


def can_occur(lang, states):
    """Which of the states have visible tokens that can occur together, by the whole texts."""
    x, q = lang.enumerate(states.shape[1])
    fits = ((states[:, None] == lang.mask_id) | (states[:, None] == x[q > 0])).all(axis=2)
    return fits.any(axis=1)


def adversary(vocab_size, epsilon):
    """P* for both tokens of a block while both are masked, the exact answer otherwise."""
    lang, star = pairs(vocab_size), worst_law(vocab_size, epsilon)

    def answer(xt):
        q = lang.posterior(xt, off_support="local")
        for i in range(0, xt.shape[1] - 1, 2):
            q[(xt[:, i : i + 2] == vocab_size).all(axis=1), i : i + 2] = star
        return q

    return answer


def share_possible(lang, length, p):
    return p[lang.enumerate(length)[1] > 0].sum()


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.02)])
@pytest.mark.parametrize("epsilon", [0.0, 1 / 128, 0.3])
@pytest.mark.parametrize("size", [(2, 4, 3), (2, 5, 2), (3, 4, 2), (4, 2, 3)], ids=str)
def test_sequence_error_lower_bound(size, epsilon, factor):
    """thm-ser-lower: denoisers that differ by place, context and step, any widths, by enumeration.

    Tightened: mu larger by 2 %, for each epsilon by itself.
    """
    vocab_size, length, steps = size
    rng, lang = np.random.default_rng(sum(size)), pairs(vocab_size)
    mu = factor * least_mismatch(vocab_size, epsilon)
    for trial in range(4):
        w = rng.dirichlet(np.ones(steps)) if trial else np.full(steps, 1 / steps)
        if trial < 2:
            states = every_state(vocab_size, length)
            tables = [adversary(vocab_size, epsilon)(states)] * steps
        else:
            tables = [careless(lang, length, epsilon, rng) for _ in range(steps)]
        right = share_possible(lang, length, law_of_steps(tables, w))
        assert right <= (1 - mu * (w**2).sum()) ** (length // 2) + TIGHT
        assert right <= (1 - mu / steps) ** (length // 2) + TIGHT


@pytest.mark.parametrize("size", [(2, 2, 3), (3, 2, 2), (2, 4, 2)], ids=str)
def test_lower_bound_where_the_denoiser_knows_the_steps(size):
    """thm-ser-lower: answers that depend on sigma, too; given each sigma and on average."""
    vocab_size, length, count = size
    rng, lang, average = np.random.default_rng(sum(size)), pairs(vocab_size), 0.0
    epsilon, w = 0.1, rng.dirichlet(np.ones(count))
    mu = least_mismatch(vocab_size, epsilon)
    some = [careless(lang, length, epsilon, rng) for _ in range(6)]
    for steps in product(range(count), repeat=length):
        tables = [some[k] for k in rng.integers(len(some), size=count)]
        right = share_possible(lang, length, law_given_steps(tables, steps))
        together = sum(steps[i] == steps[i + 1] for i in range(0, length - 1, 2))
        assert right <= (1 - mu) ** together + TIGHT
        average += w[list(steps)].prod() * right
    assert average <= (1 - mu * (w**2).sum()) ** (length // 2) + TIGHT


def disguised_pairs(vocab_size):
    first = np.concatenate([np.full(vocab_size, 1 / vocab_size), np.zeros(vocab_size)])
    none = np.zeros((vocab_size, vocab_size))
    uniform = np.full((vocab_size, vocab_size), 1 / vocab_size)
    return NGram(first, np.block([[none, np.eye(vocab_size)], [uniform, none]]))


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.02)])
@pytest.mark.parametrize("epsilon", [0.0, 1 / 128, 0.3])
def test_a_two_gram_has_the_same_bound(epsilon, factor):
    """prop-two-gram: the same SER with the exact denoiser, the same bound for all in the ball.

    Its adversary attains the bound; tightened: mu larger by 2 %.
    """
    lang, rng = disguised_pairs(2), np.random.default_rng(0)
    for length in (2, 3, 4, 6):
        for reveal in (np.ones(1), reveal_probabilities("linear", 3), np.array([0.1, 0.7, 1])):
            rate = exact.sequence_error_rate(lang, length, reveal)
            assert rate == pytest.approx(
                exact.pairs_sequence_error_rate(2, length, reveal), abs=TIGHT
            )
    w = rng.dirichlet(np.ones(2))
    at_most = (1 - factor * least_mismatch(2, epsilon) * (w**2).sum()) ** 2
    tables = [careless(lang, 4, epsilon, rng) for _ in range(2)]
    assert share_possible(lang, 4, law_of_steps(tables, w)) <= at_most + TIGHT
    states, star = every_state(4, 4), worst_law(2, epsilon)
    told = lang.posterior(states, off_support="local")
    for i in (0, 2):
        both = (states[:, i : i + 2] == 4).all(axis=1)
        told[both, i], told[both, i + 1] = [*star, 0, 0], [0, 0, *star]
    right = share_possible(lang, 4, law_of_steps([told] * 2, w))
    assert right == pytest.approx(at_most, abs=TIGHT)


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.02)])
@pytest.mark.parametrize(
    "world",
    [(2, 0.0), (2, 1 / 128), (16, np.log(2) / 128), (16, 1 / 128)],
    ids=["2-exact", "2-nats", "16-bits", "16-nats"],
)
def test_half_at_c_times_l(world, factor):
    """cor-half: N <= C L steps, the model that attains the bound; tightened: C larger by 2 %."""
    vocab_size, epsilon = world
    star = worst_law(vocab_size, epsilon)
    c = factor * (1 - star @ star) / (2 * np.log(2))
    if factor == 1:
        assert c == pytest.approx(steps_per_token(vocab_size, epsilon))
    for length in [*range(2, 200), 1000, 10000]:
        even = length - length % 2
        assert even >= 2 / 3 * length  # so that 2 C / 3 serves the odd lengths as well
        steps = np.arange(1, int(c * even) + 1)
        agree = 1 / steps * (star @ star) + (1 - 1 / steps)  # of a block
        assert (agree ** (length // 2) < 0.5).all()


@relaxed
@given(st.integers(2, 3), st.integers(1, 4), st.sampled_from([0.0, 1 / 128, 0.5, 3.0]), reveals(4))
def test_adversary_attains_the_bound(vocab_size, length, epsilon, reveal):
    """prop-attained, 1: it keeps within epsilon on the support, and its SER is the bound."""
    lang, answer = pairs(vocab_size), adversary(vocab_size, epsilon)
    states = every_state(vocab_size, length)
    states = states[can_occur(lang, states)]
    told, q = answer(states), lang.posterior(states)
    assert (
        max(
            kl(a, b)
            for a, b in zip(q.reshape(-1, vocab_size), told.reshape(-1, vocab_size), strict=True)
        )
        <= epsilon + 1e-9
    )
    _, p = exact.push_forward(lang, length, reveal, answer)
    bound = pairs_lower_bound(vocab_size, length, reveal, epsilon)
    assert 1 - share_possible(lang, length, p) == pytest.approx(bound, abs=TIGHT)


@relaxed
@given(st.integers(2, 3), st.integers(1, 4), st.sampled_from([0.0, 1 / 128, 0.5]), reveals(4))
def test_noisy_oracle_at_the_edge(vocab_size, length, epsilon, reveal):
    """prop-attained, 2: it answers P* without the partner, and errs as far as it may with it."""
    lang, noisy = pairs(vocab_size), NoisyOracle(pairs(vocab_size), epsilon)
    _, p = exact.push_forward(lang, length, reveal, lambda xt: noisy(torch.as_tensor(xt)).numpy())
    c, mu = (widths(reveal) ** 2).sum(), least_mismatch(vocab_size, epsilon)
    right = (c * (1 - mu) + (1 - c) * np.exp(-epsilon)) ** (length // 2)
    assert share_possible(lang, length, p) == pytest.approx(right, abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_argmax_clean_up_breaks_the_bound(epsilon):
    """prop-argmax: by enumeration, with the most probable token, lowest of equals, at the end.

    A sampled last pass of the same width keeps the bound (prop-lower-leftover).
    """
    rng = np.random.default_rng(1)
    for vocab_size, length, steps in [(2, 4, 2), (3, 3, 2), (3, 4, 1), (2, 4, 0)]:
        lang = pairs(vocab_size)
        told = adversary(vocab_size, epsilon)(every_state(vocab_size, length))
        sure = np.eye(vocab_size)[told.argmax(axis=2)]
        mu = least_mismatch(vocab_size, epsilon)
        for rho in (0.2, 0.9, 1.0) if steps else (1.0,):
            w = np.append((1 - rho) * rng.dirichlet(np.ones(steps)) if steps else [], rho)
            p = law_of_steps([told] * steps + [sure], w)
            right = share_possible(lang, length, p)
            c = (w[:-1] ** 2).sum()
            assert right == pytest.approx((1 - mu * c) ** (length // 2), abs=TIGHT)
            assert right > (1 - mu * (c + rho**2)) ** (length // 2)
            if rho == 1:
                assert p[0] == pytest.approx(1, abs=TIGHT)  # the text 0 0 ... 0, always
            sampled = share_possible(lang, length, law_of_steps([told] * (steps + 1), w))
            drawn = (1 - mu * (c + rho**2)) ** (length // 2)
            assert sampled == pytest.approx(drawn, abs=TIGHT)
            assert sampled <= (1 - mu / (steps + 1)) ** (length // 2) + TIGHT
            blocks = length - length % 2
            left = law_of_steps([told] * max(steps, 1), w[:-1] if steps else np.zeros(1))
            unfinished = share_possible(lang, length, left)
            exactly = ((1 - rho) ** 2 - mu * c) ** (blocks // 2) * (1 - rho) ** (length % 2)
            assert unfinished == pytest.approx(exactly, abs=TIGHT)
            assert unfinished <= (1 - mu / max(steps, 1)) ** (length // 2) + TIGHT
        edge = 1 - np.sqrt(steps / (steps + 1))
        for rho, broken in ((edge - 0.01, False), (edge + 0.01, True)) if steps else ():
            w = np.append(np.full(steps, (1 - rho) / steps), rho)
            right = share_possible(lang, length, law_of_steps([told] * steps + [sure], w))
            assert (right > (1 - mu / (steps + 1)) ** (length // 2)) == broken


def same_step_neighbours(steps, reach):
    return sum(
        steps[i] == steps[j]
        for i in range(len(steps))
        for j in range(i + 1, min(len(steps), i + reach + 1))
    )


def test_same_step_neighbours_cost_a_bit_each():
    """prop-shared-bits, 1: for every assignment, by the law of the sampler given it; any widths."""
    rng = np.random.default_rng(0)
    for reach, length, count in [(1, 4, 3), (1, 5, 2), (2, 3, 2)]:
        lang = shared_bits(reach)
        q = lang.enumerate(length)[1]
        for steps in product(range(count), repeat=length):
            wrong = exact.law_in_order(lang, np.array(steps))[1][q == 0].sum()
            assert 1 - wrong == pytest.approx(0.5 ** same_step_neighbours(steps, reach), abs=TIGHT)
        w = rng.dirichlet(np.ones(count))
        pushed = exact.sequence_error_rate(lang, length, reveal_from_widths(w))
        assert 1 - pushed == pytest.approx(no_bit_lost(reach, length, w), abs=TIGHT)


def no_bit_lost(reach, length, w):
    """E 2^{-D} over all assignments, for any widths."""
    return sum(
        w[list(steps)].prod() * 0.5 ** same_step_neighbours(steps, reach)
        for steps in product(range(len(w)), repeat=length)
    )


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.02)])
@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_no_schedule_saves_shared_bits(reach, factor):
    """prop-shared-bits, 5: all widths, by enumeration; attained by one step, and at R = 1.

    Tightened: 1 - 2^{-R} larger by 2 %.
    """
    rng, lost = np.random.default_rng(reach), 1 - 0.5**reach
    for steps in (2, 3, 4, 1):
        for length in range(max(reach, 2), 7 if steps < 4 else 6):
            mean = length - (reach + 1) / 2
            at_most = max(0, 1 - factor * lost / steps) ** mean
            for spread in (0.3, 1, 100):
                w = rng.dirichlet(np.full(steps, spread))
                assert no_bit_lost(reach, length, w) <= at_most + TIGHT
            if reach == 1 or steps == 1:
                equal = no_bit_lost(reach, length, np.full(steps, 1 / steps))
                assert equal == pytest.approx(at_most, abs=TIGHT)


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(1.02)])
@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_shared_bits_in_the_limit(reach, factor):
    """prop-shared-bits, 4: near a binomial law, and half wrong at R L / (2 ln 2) steps.

    Tightened: half wrong at 1 % more steps than that.
    """
    rate = exact.shared_bits_sequence_error_rate
    for length, steps in [(1, reach), (3, 5), (20, 10), (150, 7), (150, 100), (400, 3000)]:
        error = reach**2 / steps * (1 + (reach - 1) * length / (2 * steps))
        near = (1 - reach / (2 * steps)) ** length
        assert abs(1 - rate(reach, length, steps) - near) <= error
    length = 2048
    steps = reach * length / (2 * np.log(2))
    assert rate(reach, length, int(0.99 * factor * steps)) > 0.5
    assert rate(reach, length, int(1.01 * steps)) < 0.5


@pytest.mark.parametrize("factor", [pytest.param(0.99, id="stated"), tightened(1.01)])
def test_shared_bits_are_worse_than_pairs(factor):
    """prop-shared-bits, 2-4: exact at small lengths, and SER > 1/2 up to nearly L / ln 2 steps."""
    rate = exact.shared_bits_sequence_error_rate
    for reach in (0, 7):
        with pytest.raises(ValueError, match="reach"):
            rate(reach, 3, 2)
    small = [(1, 5, 3), (2, 6, 3), (3, 6, 2), (2, 1, 4), (3, 5, 4), (4, 6, 3), (5, 7, 2), (6, 8, 2)]
    for reach, length, steps in small:
        orders = product(range(steps), repeat=length)
        right = np.mean([0.5 ** same_step_neighbours(order, reach) for order in orders])
        assert rate(reach, length, steps) == pytest.approx(1 - right, abs=TIGHT)
    for reach, length, steps in [(1, 5, 2), (1, 4, 5), (2, 3, 3)]:
        pushed = exact.sequence_error_rate(
            shared_bits(reach), length, reveal_probabilities("linear", steps)
        )
        assert rate(reach, length, steps) == pytest.approx(pushed, abs=TIGHT)
    for steps in (1, 3, 50):
        assert rate(1, 40, steps) == pytest.approx(1 - (1 - 1 / (2 * steps)) ** 39, abs=TIGHT)
        move = np.array([[2 * steps - 3, 1], [2 * steps - 2, 0.5]]) / (2 * steps)
        right = np.array([1 - 1 / steps, 1 / (2 * steps)]) @ np.linalg.matrix_power(move, 38)
        assert rate(2, 40, steps) == pytest.approx(1 - right.sum(), abs=TIGHT)
    length = 4096
    steps = int(factor * length / np.log(2))
    assert exact.pairs_sequence_error_rate(16, length, reveal_probabilities("linear", steps)) < 0.5
    assert rate(2, length, steps) > 0.5


# Chapter *Exact laws*


@st.composite
def primitive_chains(draw):
    """A chain of 2 or 3 tokens with zeros, some power positive, forgetting soon; any start."""
    lang = random_ngram(2, draw(st.sampled_from([2, 3])), draw(zeros), draw(seeds))
    assume((np.linalg.matrix_power(lang.transition, 6) > 0).all())
    assume(np.sort(np.abs(np.linalg.eigvals(lang.transition)))[-2] < 0.8)
    return lang


def disguised_pairs_of_unknown_phase(vocab_size):
    chain = disguised_pairs(vocab_size)
    return NGram(chain.stationary(), chain.transition)


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.95)])
@pytest.mark.parametrize("vocab_size, length, steps", [(2, 4, 3), (2, 5, 2), (3, 4, 2), (2, 1, 2)])
def test_pairs_law(vocab_size, length, steps, constant):
    """prop-pairs-law, by enumeration, and the distance from the limit law: bounds and order.

    Tightened: 0.95 of the bound is exceeded on PAIRS(16) at N = 1024.
    """
    lang, mu = pairs(vocab_size), 1 - 1 / vocab_size
    q = lang.enumerate(length)[1]
    for seed in range(3):
        w = np.random.default_rng(seed).dirichlet(np.ones(steps))
        c = (w**2).sum()
        p, forced = 0, 0.0
        for order in product(range(steps), repeat=length):
            p_sigma = exact.law_in_order(lang, np.array(order))[1]
            p = p + w[list(order)].prod() * p_sigma
            forced += w[list(order)].prod() * kl(q, p_sigma)
        assert p[q > 0].sum() == pytest.approx((1 - mu * c) ** (length // 2), abs=TIGHT)
        assert kl(q, p) == pytest.approx(-(length // 2) * np.log1p(-mu * c), abs=TIGHT)
        assert forced == pytest.approx((length // 2) * c * np.log(vocab_size), abs=TIGHT)
    mu, furthest = 15 / 16, 0.0
    for steps in (1, 2, 8, 1024):
        for size in np.unique(np.geomspace(2, 16 * steps, 400).astype(int)):
            y = mu * (size // 2) / steps
            right = (1 - mu / steps) ** (size // 2)
            distance = np.exp(-y) - right
            assert -TIGHT <= distance <= mu / (2 * (steps - mu)) * y * np.exp(-y) + TIGHT
            furthest = max(furthest, distance * 2 * np.e * (steps - mu) / mu)
    steps = 2**16
    for ratio in (0.5, 1, 3):
        y = mu * (steps * ratio // 2) / steps
        distance = np.exp(-y) - (1 - mu / steps) ** (steps * ratio // 2)
        assert steps * distance == pytest.approx(mu / 2 * y * np.exp(-y), rel=1e-3)
    assert furthest <= constant


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize(
    "lang",
    [
        pytest.param(random_ngram(2, 3, 0.3, 2), id="three tokens"),
        pytest.param(NGram(np.array([0.5, 0.5]), np.array([[0, 1], [0.4, 0.6]])), id="two tokens"),
        pytest.param(NGram.random(2, 4, prune=0.15, rng=0), id="four tokens"),
        tightened(disguised_pairs_of_unknown_phase(2)),
    ],
)
def test_log_valid_is_a_line_for_primitive_chains(lang, steps):
    """thm-line: the changes of the increments shrink geometrically; a chain with two phases: not.

    The slope does not depend on the start, and is positive exactly if a move is forbidden.
    """
    rng = np.random.default_rng(steps)
    reveal = np.append(rng.uniform(0, 1, steps - 1), 1.0)
    slopes = []
    for start in (lang.initial, np.eye(lang.vocab_size)[0]):
        found = exact.valid_log_probabilities(NGram(start, lang.transition), 60, reveal)
        moves = np.abs(np.diff(found, 2))
        for early in (5, 15, 25):
            fall = 1e-4 * moves[early : early + 10].max()
            assert moves[early + 15 : early + 25].max() <= fall + 1e-12
        assert moves[-5:].max() < 1e-12
        slopes.append(-np.diff(found)[-1])
    assert slopes[0] == pytest.approx(slopes[1], abs=1e-10)
    assert slopes[0] > 1e-4 or (lang.transition > 0).all()


@few
@given(primitive_chains(), st.lists(st.floats(0.05, 1), max_size=2))
def test_slope_of_the_line_for_any_reveal_list(lang, chances):
    """thm-line on random chains: sign of the slope, and a distance that falls, not how fast.

    The rate is the matter of test_log_valid_is_a_line_for_primitive_chains.
    """
    found = exact.valid_log_probabilities(lang, 64, np.append(chances, 1.0))
    slope = -np.diff(found)[-1]
    away = np.abs(found + slope * np.arange(1, 65) - (found[-1] + 64 * slope))
    assert away[32:48].max() <= 0.1 * away[:16].max() + 1e-10
    if (lang.transition > 0).all():
        assert np.abs(found).max() < 1e-9
    else:
        assert slope > 0


def test_slope_is_the_root_of_its_equation():
    """The proof of thm-line, two steps: spectral radius 1 at xi = exp(slope); no long recursion."""
    lang, r, far = NGram.random(2, 3, prune=0.25, rng=25), 0.4, 120
    v, start, allowed = 3, lang.stationary(), lang.transition > 0
    power = [np.linalg.matrix_power(lang.transition, m) for m in range(far + 1)]
    kernel = np.zeros((far, v, v))
    for d in range(1, far):
        for a, b in product(range(v), repeat=2):
            row = np.eye(v)[a]
            for m in range(1, d):  # tokens drawn alone from their bridges over d places
                mass = power[d][a, b]
                row = (row @ allowed) * power[m][a] * power[d - m][:, b] / mass if mass else 0 * row
            kernel[d, a, b] = (1 - r) ** (d - 1) * (row @ allowed[:, b]) * r * start[b]

    def radius(xi):
        return np.abs(np.linalg.eigvals(np.tensordot(xi ** np.arange(far), kernel, 1))).max()

    xi = optimize.brentq(lambda xi: radius(xi) - 1, 1.0, 1.4, xtol=1e-13)
    found = exact.valid_log_probabilities(lang, 80, [r, 1.0])
    assert np.log(xi) == pytest.approx(-np.diff(found)[-1], abs=1e-8)


@pytest.mark.parametrize(
    "which",
    [pytest.param("one step", id="stated"), tightened("forgetting")],
)
@pytest.mark.parametrize("size", [(4, 0.2, 2126), (3, 0.15, 2401)], ids=["slow line", "fast line"])
def test_rate_of_one_step_is_the_ratio_of_eigenvalues(size, which):
    """prop-one-step-line: |nu_2 / nu_1| of Theta, and not |lambda_2| of P (tightened)."""
    vocab_size, prune, seed = size
    lang = NGram.random(2, vocab_size, prune=prune, rng=seed)
    fit = (lang.transition > 0) * lang.stationary()
    found = exact.valid_log_probabilities(lang, 60, [1.0])
    right = [
        lang.stationary() @ np.linalg.matrix_power(fit, m) @ np.ones(vocab_size) for m in range(60)
    ]
    assert np.abs(found - np.log(right)).max() < TIGHT
    nu = np.sort(np.abs(np.linalg.eigvals(fit)))
    assert np.diff(found)[-1] == pytest.approx(np.log(nu[-1]), abs=1e-3)
    moves = np.abs(np.diff(found, 2))
    last = np.flatnonzero(moves > 1e-11)[-1]
    speed = (moves[last] / moves[last // 2]) ** (1 / (last - last // 2))
    forgetting = np.sort(np.abs(np.linalg.eigvals(lang.transition)))[-2]
    claimed = {"one step": nu[-2] / nu[-1], "forgetting": forgetting}[which]
    assert speed == pytest.approx(claimed, rel=0.05)


@pytest.mark.parametrize("terms", [pytest.param(4, id="stated"), tightened(2)])
def test_error_of_one_step_is_a_combination_of_powers(terms):
    """prop-one-step-line: the error but for its second order; tightened: not all eigenvalues."""
    lang = NGram.random(2, 4, prune=0.2, rng=2126)
    fit = (lang.transition > 0) * lang.stationary()
    nu, right = np.linalg.eig(fit)
    order = np.argsort(-np.abs(nu))
    assert np.diff(np.abs(nu[order])).max() < -1e-3
    alpha = (lang.stationary() @ right * np.linalg.solve(right, np.ones(4)))[order]
    part, ratio = alpha[1:] / alpha[0], nu[order][1:] / nu[order][0]
    found = exact.valid_log_probabilities(lang, 40, [1.0])
    for length in range(2, 41):
        line = np.log(alpha[0] * nu[order][0] ** (length - 1))
        powers = part * ratio ** (length - 1)
        second = np.abs(powers).sum() ** 2
        assert np.abs(powers).sum() <= 0.5
        assert abs(found[length - 1] - line - powers[: terms - 1].sum()) <= second + 1e-12


@pytest.mark.parametrize("which", [pytest.param("forgetting", id="stated"), tightened("one step")])
def test_start_that_is_not_stationary_slows_the_line(which):
    """Chapter text: from token 0 the line of one step is approached with |lambda_2| of P."""
    lang = NGram.random(2, 3, prune=0.15, rng=2401)
    fit = (lang.transition > 0) * lang.stationary()
    speeds = {
        name: np.sort(np.abs(np.linalg.eigvals(matrix)))
        for name, matrix in (("forgetting", lang.transition), ("one step", fit))
    }
    text = NGram(np.eye(3)[0], lang.transition)
    moves = np.abs(np.diff(exact.valid_log_probabilities(text, 60, [1.0]), 2))
    speed = (moves[50] / moves[25]) ** (1 / 25)
    assert speed == pytest.approx(speeds[which][-2] / speeds[which][-1], rel=0.01)


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.99)])
@few
@given(st.integers(2, 3), reveals())
def test_two_phases_make_no_line(constant, vocab_size, reveal):
    """prop-two-phases: its formula, and limits of the increments that differ; tightened: mu."""
    lang, w = disguised_pairs_of_unknown_phase(vocab_size), widths(reveal)
    mu = constant * (1 - 1 / vocab_size)
    found = np.exp(exact.valid_log_probabilities(lang, 9, reveal))
    for length in range(1, 10):
        total = 0.0
        for phase in (0, 1):
            singles = (phase + (length - phase) % 2) if length > 1 else 1
            blocks = (length - singles) // 2
            for k in range(len(w)):
                half = np.where(np.arange(len(w)) == k, w / 2, w)
                for sign, part in ((1, half[k:]), (-1, w[k + 1 :])):
                    pair = part.sum() ** 2 - mu * (part**2).sum()
                    total += sign * pair**blocks * part.sum() ** singles
        assert found[length - 1] == pytest.approx(total, abs=TIGHT)
    if w[0] > 0.2:
        increments = np.diff(exact.valid_log_probabilities(lang, 60, reveal))
        single = 1 - w[0] / 2
        pair = single**2 - mu * ((w[1:] ** 2).sum() + w[0] ** 2 / 4)
        even = np.log((pair + single**2) / (2 * single))
        assert increments[-1] == pytest.approx(even, abs=1e-3)
        assert increments[-2] == pytest.approx(np.log(pair) - even, abs=1e-3)
        assert abs(increments[-1] - increments[-2]) > 1e-7


def pair_mass(lang, d, a, b):
    """M_d(a, b) (eq-pair-mass-chain), from matrix powers; a or b None: nothing visible there."""
    power, start = np.linalg.matrix_power, lang.stationary()
    one = np.ones((lang.vocab_size, 1))
    before = start[:, None] * power(lang.transition, a) if a else start[None]  # [l, x]
    earlier = start[:, None] * power(lang.transition, a + d) if a else start[None]  # [l, y]
    after = power(lang.transition, b) if b else one  # [y, r]
    later = power(lang.transition, b + d) if b else one  # [x, r]
    mass = earlier @ after  # [l, r]
    inverse = np.divide(1, mass, out=np.zeros_like(mass), where=mass > 0)
    clash = power(lang.transition, d) == 0
    first, second = before[:, :, None] * later, earlier[:, :, None] * after
    joined = np.einsum("lxr,xy->lyr", first, clash)
    return (joined * second * inverse[:, None]).sum()


def chain_curve(lang, distances, u, far=30):
    """eq-mismatch-per-token over some distances d; beyond `far` places nothing is felt."""
    u = np.asarray(u)
    near = u[:, None] * (1 - u[:, None]) ** np.arange(far)
    near[:, -1] = (1 - u) ** (far - 1)
    total = np.zeros(len(u))
    for d in distances:
        mass = pair_masses(lang.transition.tobytes(), lang.vocab_size, d, far)
        total += (1 - u) ** (d - 1) * np.einsum("ua,ab,ub->u", near, mass, near)
    return total


@cache
def pair_masses(transition, vocab_size, d, far):
    transition = np.frombuffer(transition).reshape(vocab_size, vocab_size)
    lang = NGram(np.full(vocab_size, 1 / vocab_size), transition)
    places = range(1, far + 1)
    return np.array([[pair_mass(lang, d, a, b) for b in places] for a in places])


def pair_masses_of_text(lang, length, distances):
    """kappa_L L of a chain with any start, by the nearest visible positions on each side.

    A position 0 or L + 1 stands for: nothing visible on this side.
    """
    power = [np.linalg.matrix_power(lang.transition, m) for m in range(length + 1)]
    law, one, total = [lang.initial @ p for p in power], np.ones((lang.vocab_size, 1)), 0.0
    for d in distances:
        clash = power[d] == 0
        for before, i in combinations(range(length - d + 1), 2):
            j = i + d
            given = law[before - 1][:, None] if before else 0  # [l, 1]
            first = given * power[i - before] if before else law[i - 1][None]  # [l, x]
            second = given * power[j - before] if before else law[j - 1][None]  # [l, y]
            for after in range(j + 1, length + 2):
                later = power[after - i] if after <= length else one  # [x, r]
                right = power[after - j] if after <= length else one  # [y, r]
                mass = second @ right
                inverse = np.divide(1, mass, out=np.zeros_like(mass), where=mass > 0)
                lost = np.einsum("lx,xr,xy,ly,yr->lr", first, later, clash, second, right)
                seen = (before > 0) + (after <= length)
                masked = after - before - 2 - 1  # between the two, but for i and j
                total += (lost * inverse).sum() * special.beta(seen + 1, masked + 1)
    return total


@pytest.mark.parametrize("far", [pytest.param(3, id="stated"), tightened(2)])
def test_kappa_from_any_start(far):
    """prop-kappa: kappa_L of a chain that starts in token 0 goes to kappa; tightened: d = 1, 2."""
    lang = NGram.random(2, 3, prune=0.25, rng=25)
    text, distances = NGram(np.eye(3)[0], lang.transition), range(1, far + 1)
    for length in (4, 6):
        enumerated = impossible_pair_mass(text, length)
        assert pair_masses_of_text(text, length, (1, 2, 3)) == pytest.approx(enumerated, abs=TIGHT)
    short, long = (pair_masses_of_text(text, length, distances) / length for length in (16, 32))
    assert 2 * long - short == pytest.approx(kappa(lang), rel=1e-4)
    assert abs(long - kappa(lang)) < 0.6 * abs(short - kappa(lang))


@pytest.mark.parametrize("far", [pytest.param(3, id="stated"), tightened(2)])
def test_kappa_counts_distant_pairs(far):
    """prop-kappa: the limit of N times the slope needs pairs at distance 2 and 3 (tightened: 2).

    kappa_L, from enumerated worlds, goes to the same number: from a stationary start its steps
    (L+1) kappa_{L+1} - L kappa_L settle geometrically.
    """
    lang = NGram.random(2, 3, prune=0.25, rng=25)
    assert (np.linalg.matrix_power(lang.transition, 3) == 0).any()
    assert (np.linalg.matrix_power(lang.transition, 4) > 0).all()
    steps = np.array([4, 16, 64])
    found = -steps * np.diff(exact.linear_valid_log_probabilities(lang, 50, steps))[:, -1]
    once = (4 * found[1:] - found[:-1]) / 3
    limit = (16 * once[1] - once[0]) / 15
    nodes, weights = special.roots_legendre(60)
    constant = chain_curve(lang, range(1, far + 1), (1 + nodes) / 2) @ weights / 2
    assert limit == pytest.approx(constant, rel=1e-3)
    assert kappa(lang) == pytest.approx(constant, abs=1e-5)
    masses = [impossible_pair_mass(lang, length) for length in (7, 8, 9)]
    steps = np.diff(masses)
    assert steps[-1] == pytest.approx(constant, rel=3e-4)
    assert abs(steps[1] - constant) < abs(steps[0] - constant)


@pytest.mark.parametrize(
    "constant", [pytest.param(1.0, id="stated"), tightened(0.95), tightened(1.05)]
)
@pytest.mark.parametrize("ratio", [0.5, 1, 2])
def test_scaling_law_holds_to_its_order(ratio, constant):
    """thm-scaling, equal steps: N times the distance is bounded; not with 0.95 or 1.05 kappa."""
    lang = NGram.random(2, 3, prune=0.25, rng=25)
    sizes = (8, 16, 32)
    found = exact.linear_valid_log_probabilities(lang, int(max(sizes) * ratio), sizes)
    away = [
        n * (np.exp(row[int(n * ratio) - 1]) - np.exp(-constant * kappa(lang) * ratio))
        for n, row in zip(sizes, found, strict=True)
    ]
    assert abs(away[2] - away[1]) <= 0.8 * abs(away[1] - away[0])


@pytest.mark.parametrize(
    "constant", [pytest.param(1.0, id="stated"), tightened(0.95), tightened(1.05)]
)
@pytest.mark.parametrize("start", [0, 2])
def test_scaling_law_for_any_widths(start, constant):
    """thm-scaling: the distance over the largest width converges; tightened: it grows."""
    lang = NGram.random(2, 3, prune=0.25, rng=25)
    text = NGram(np.eye(3)[start], lang.transition)
    for power in (1.5, 0.7):
        away = []
        for n in (8, 16, 32):
            w = np.diff((np.arange(n + 1) / n) ** power)
            w = w[::-1] if power < 1 else w
            rate = w**2 @ chain_curve(lang, (1, 2, 3), np.cumsum(w) - w)
            found = exact.valid_log_probabilities(text, n, reveal_from_widths(w))[-1]
            away.append((np.exp(found) - np.exp(-constant * n * rate)) / w.max())
        assert abs(away[2] - away[1]) <= 0.8 * abs(away[1] - away[0])


@pytest.mark.parametrize("apart", [pytest.param(40, id="stated"), tightened(2)])
def test_far_pairs_multiply(apart):
    """The proof of thm-scaling, eq-order-product: two pairs that share steps, far from each other.

    Tightened: next to each other they do not multiply.
    """
    lang, length, worst = NGram.random(2, 3, prune=0.25, rng=25), 120, 0.0
    for seed in range(6):
        steps = np.random.default_rng(seed).permutation(length)
        product_of_pairs = 1.0
        for i, d in ((40, 1), (40 + apart, 1)):
            steps[i] = steps[i + d] = min(steps[i], steps[i + d])
        for i, d in ((40, 1), (40 + apart, 1)):
            left, right = np.flatnonzero(steps[:i] < steps[i]), steps[i + d + 1 :] < steps[i]
            a = i - left[-1] if left.size else None
            b = np.flatnonzero(right)[0] + 1 if right.any() else None
            product_of_pairs *= 1 - pair_mass(lang, d, a, b)
        right = 1 - exact.sequence_error_rate_in_order(lang, steps)
        worst = max(worst, abs(np.log(right / product_of_pairs)))
    assert worst < 1e-4


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.9)])
def test_true_excess_is_below_its_look_alike(constant):
    """thm-ter-order on pruned chains, p(x) by the recursion; one step meets it (tightened)."""
    for seed in range(4):
        lang = random_ngram(2, 3, 0.3, seed)
        x, q = lang.enumerate(5)
        on = q > 0
        for reveal in ([1.0], [0.3, 1.0], reveal_probabilities("linear", 5)):
            p = np.exp(exact.log_prob(lang, x, reveal))
            assert p.sum() == pytest.approx(1, abs=TIGHT)
            assert kl(q, p) <= constant * factorisation_error(lang, 5, reveal) + TIGHT
            with np.errstate(divide="ignore"):
                generative = -(p[p > 0] @ np.log(q[p > 0])) / 5
            assert np.isfinite(generative) == (p[~on].sum() <= 0)


# Chapter *What the theorems do not say*


def order_costs(lang, steps):
    """(KL(q || p_sigma), SER) of an order, from the enumerated law of its sampler."""
    q = lang.enumerate(len(steps))[1]
    p = exact.law_in_order(lang, steps)[1]
    return kl(q, p), p[q == 0].sum()


@relaxed
@given(st.integers(2, 3), st.integers(1, 6), st.data())
def test_separated_pairs_are_exact(vocab_size, length, data):
    """prop-odd-even: exactly the orders that keep the tokens of each pair apart cost nothing."""
    steps = np.array(data.draw(st.lists(st.integers(0, 2), min_size=length, max_size=length)))
    together = sum(steps[i] == steps[i + 1] for i in range(0, length - 1, 2))
    lost, wrong = order_costs(pairs(vocab_size), steps)
    assert lost == pytest.approx(together * np.log(vocab_size), abs=TIGHT)
    assert wrong == pytest.approx(1 - vocab_size ** -float(together), abs=TIGHT)
    assert not order_costs(pairs(vocab_size), odd_even(length))[1] > TIGHT


@relaxed
@given(zeros, seeds, st.integers(1, 7))
def test_bisection_writes_a_chain_exactly(share, seed, length):
    """prop-bisection, 1 and 2: also for transition probabilities that change with the position."""
    rng, v = np.random.default_rng(seed), 2
    q = law(rng, (v,), share)
    for _ in range(length - 1):
        q = q[..., None] * law(rng, (v, v), share)
    lost, wrong = order_costs(Table(q), bisection(length))
    assert abs(lost) < TIGHT and wrong < TIGHT


def fewest_exact_steps(lang, length):
    """The least number of steps of an order with KL(q || p_sigma) = 0, over all orders."""
    return next(
        count
        for count in range(1, length + 1)
        if any(
            abs(factorisation_error_in_order(lang, np.array(order))) < TIGHT
            for order in product(range(count), repeat=length)
        )
    )


def copies(vocab_size, start):
    """Every token repeats the one before it."""
    return NGram(np.array(start), np.eye(vocab_size))


@pytest.mark.parametrize("length", [3, 4, 5])
@pytest.mark.parametrize("more", [pytest.param(0, id="stated"), tightened(1)])
def test_no_order_is_exact_in_fewer_steps_than_bisection(length, more):
    """prop-bisection, 3, over all orders; tightened: they would need one step more.

    The chains never forget. Copies show why the condition is there: two steps are enough.
    """
    for rows in ([[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.1, 0.9]]):
        lang = NGram(np.array([0.3, 0.7]), np.array(rows))
        needed = math.ceil(math.log2(length + 1))
        assert bisection(length).max() + 1 == needed
        assert fewest_exact_steps(lang, length) >= needed + more
    assert fewest_exact_steps(copies(2, [0.5, 0.5]), length) == 2


@relaxed
@given(st.integers(3, 6), zeros, seeds, st.data())
def test_separated_tokens_of_a_chain_are_exact(length, share, seed, data):
    """prop-bisection, 1: any order with an earlier token between any two of a step."""
    order = np.array(data.draw(st.lists(st.integers(0, 3), min_size=length, max_size=length)))
    apart = all(
        (order[i + 1 : j] < order[i]).any()
        for i, j in combinations(range(length), 2)
        if order[i] == order[j]
    )
    lost, wrong = order_costs(random_ngram(2, 2, share, seed), order)
    assert not apart or (abs(lost) < TIGHT and wrong < TIGHT)
    kept = order_costs(NGram(np.array([0.3, 0.7]), np.array([[0.9, 0.1], [0.2, 0.8]])), order)[0]
    assert (abs(kept) < TIGHT) == apart


@relaxed
@given(st.sampled_from([(3, 2, 7), (3, 3, 5), (4, 2, 8)]), zeros, seeds)
def test_runs_of_tokens_write_an_ngram_exactly(size, share, seed):
    """prop-separators; runs shorter by one token are not enough."""
    n, vocab_size, length = size
    lang = random_ngram(n, vocab_size, share, seed)
    lost, wrong = order_costs(lang, bisection(length, n - 1))
    assert abs(lost) < TIGHT and wrong < TIGHT
    if share == 0:
        assert order_costs(lang, bisection(length, n - 2))[0] > 1e-6


def test_a_token_does_not_separate_an_hmm():
    assert order_costs(random_hmm(3, 2, 0.0, 1), bisection(7))[0] > 1e-6


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_as_many_steps_as_tokens(length):
    """prop-one-per-step, 1 and 2, over all assignments of L tokens to L equal steps."""
    every = list(product(range(length), repeat=length))
    assert np.mean([order[0] == order[1] for order in every]) == pytest.approx(1 / length)
    apart = [order for order in every if len(set(order)) == length]
    assert len(apart) / len(every) == math.factorial(length) / length**length
    lang = random_table(2, length, 0.3, length)
    assert all(abs(order_costs(lang, np.array(order))[0]) < TIGHT for order in apart)


@pytest.mark.parametrize("factor", [pytest.param(1.0, id="stated"), tightened(0.99)])
def test_steps_that_are_all_different_are_rare(factor):
    """prop-one-per-step, 2: L!/L^L <= e sqrt(L) e^-L, an equality at L = 1."""
    for length in range(1, 60):
        apart = math.prod(1 - j / length for j in range(length))
        assert apart <= factor * math.e * math.sqrt(length) * math.exp(-length) * (1 + 1e-12)


@pytest.mark.parametrize("sets, size", [(2, 2), (2, 3), (3, 2), (2, 4), (4, 1)])
def test_sets_of_equal_size_collide_less_often(sets, size):
    """prop-one-per-step, 3, over all partitions."""
    length = sets * size
    partitions = set(permutations(np.repeat(np.arange(sets), size).tolist()))
    together = np.mean([partition[0] == partition[1] for partition in partitions])
    assert together == pytest.approx((size - 1) / (length - 1)) and together < 1 / sets


@relaxed
@given(st.integers(2, 3), zeros, seeds, st.sampled_from([2, 4, 6]))
def test_odd_even_on_a_chain(vocab_size, share, seed, length):
    """prop-disagree: KL is (L/2 - 1) I(X^1; X^3); SER is a product of matrices."""
    try:
        start = random_ngram(2, vocab_size, share, seed).stationary()
    except ValueError:
        assume(False)
    lang = NGram(start, random_ngram(2, vocab_size, share, seed).transition)
    two = lang.transition @ lang.transition
    apart = kl((start[:, None] * two).ravel(), np.outer(start, start @ two).ravel())
    lost, wrong = order_costs(lang, odd_even(length))
    assert lost == pytest.approx((length / 2 - 1) * apart, abs=TIGHT)
    right = start @ np.linalg.matrix_power((two > 0) @ np.diag(start), length // 2 - 1)
    assert wrong == pytest.approx(1 - right.sum(), abs=TIGHT)
    occurs = np.outer(start, start) * (start[:, None] * start > 0)
    misfit = np.where(two == 0, occurs, 0).max()
    assert (wrong < TIGHT) == (misfit == 0 or length == 2)
    assert 1 - wrong <= (1 - misfit) ** (length // 4) + TIGHT


def test_the_rates_disagree_both_ways():
    """An order with SER 0 loses more divergence than blind steps that err in every tenth text."""
    lang, length = NGram.random(2, 3, prune=0.15, rng=7), 6
    lost, wrong = order_costs(lang, odd_even(length))
    reveal = reveal_probabilities("linear", 6)
    assert wrong < TIGHT < 0.1 < exact.sequence_error_rate(lang, length, reveal)
    assert lost > length * exact.true_excess(lang, length, reveal)


@few
@given(tiny_tables(), st.data())
def test_sets_of_fixed_size(lang, data):
    """prop-fixed-sizes: the mean divergence over random sets, by all partitions, is a left sum."""
    length = lang.length
    sizes, left = [], length
    while left:
        sizes.append(data.draw(st.integers(1, left)))
        left -= sizes[-1]
    orders = set(permutations(np.repeat(np.arange(len(sizes)), sizes)))
    mean = np.mean([order_costs(lang, np.array(order))[0] for order in orders])
    entropies = [
        np.mean([marginal_entropy(lang.probabilities, s) for s in combinations(range(length), m)])
        for m in range(length + 1)
    ]
    steps = np.diff(entropies)  # H-bar_m, the mean entropy of a token given m others
    begin = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    assert mean == pytest.approx(sizes @ steps[begin] - steps.sum(), abs=TIGHT)


def marginal_entropy(q, kept):
    return entropy(q.sum(axis=tuple(i for i in range(q.ndim) if i not in kept)))


@few
@given(worlds())
def test_total_and_dual_total_correlation_are_areas(world):
    """prop-areas: TC and DTC are the areas between the curve and its first and last value."""
    lang, length = world
    assume((lang.vocab_size + 1) ** length <= 3**8)
    q = as_table(lang, length).probabilities
    rest = [entropy(q) - entropy(q.sum(axis=i)) for i in range(length)]
    total, dual = total_correlation(q), entropy(q) - sum(rest)
    nodes, weights = np.polynomial.legendre.leggauss(length + 1)
    curve = information_curve(lang, length, np.array([0, *(1 + nodes) / 2, 1]))
    first, inside, last = curve[0], curve[1:-1], curve[-1]
    assert weights @ (first - inside) / 2 == pytest.approx(total, abs=1e-8)
    assert weights @ (inside - last) / 2 == pytest.approx(dual, abs=1e-8)
    reveal = reveal_probabilities("linear", 3)
    lost = factorisation_error(lang, length, reveal)
    assert lost <= (total + dual) / 3 + TIGHT


def code_words(length, dimension, field):
    """A uniform law over an MDS code: values of polynomials of degree < dimension at the points."""
    points = np.arange(length)
    q = np.zeros((field,) * length)
    for coefficients in product(range(field), repeat=dimension):
        value = sum(c * points**j for j, c in enumerate(coefficients)) % field
        q[tuple(value)] += 1
    return Table(q / q.sum())


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_curve_of_a_code_is_a_step(dimension):
    """prop-codes: a token is uniform given fewer than `dimension` others, else certain."""
    length, field = 4, 5
    lang, u = code_words(length, dimension, field), np.linspace(0, 1, 5)
    few_seen = stats.binom.cdf(dimension - 1, length - 1, u)
    curve = information_curve(lang, length, u)
    assert np.abs(curve - length * np.log(field) * few_seen).max() < 1e-8


@few
@given(tiny_tables(), st.floats(0.05, 0.9), st.integers(2, 5), st.booleans())
def test_geometric_steps(lang, share, steps, reverse_order):
    """prop-geometric, on random laws."""
    q, w = lang.probabilities, widths([share] * (steps - 1) + [1.0])
    ends = [sum(map(entropy, marginals(q)))]
    ends.append(sum(entropy(q) - entropy(q.sum(axis=i)) for i in range(q.ndim)))
    total, dual = ends[0] - entropy(q), entropy(q) - ends[1]
    reveal = reveal_from_widths(w[::-1] if reverse_order else w)
    first = share / (1 - share) * dual if reverse_order else share * total
    bound = first + (1 - share) ** (steps - 1) * (ends[0] - ends[1])
    assert factorisation_error(lang, lang.length, reveal) <= bound + TIGHT
    for epsilon in (0.3, 0.03):
        area, far = min(total, dual), 2 * (ends[0] - ends[1]) / epsilon
        enough = 1 + math.ceil((1 + 2 * area / epsilon) * max(0, math.log(max(far, 1e-9))))
        w = widths([1 / (1 + 2 * area / epsilon)] * (enough - 1) + [1.0])
        reveal = reveal_from_widths(w if total <= dual else w[::-1])
        assert factorisation_error(lang, lang.length, reveal) <= epsilon + TIGHT


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(0.85)])
@pytest.mark.parametrize("reverse_order", [False, True])
def test_geometric_steps_on_long_codes(constant, reverse_order):
    """prop-geometric on the curve of prop-codes, nearly a step: length 2000, in units of ln F."""
    length, share, steps = 2000, 0.2, 41
    w = widths([share] * (steps - 1) + [1.0])
    w = w[::-1] if reverse_order else w
    begin = np.concatenate([[0.0], np.cumsum(w)[:-1]])
    for k in range(2, length, 7):
        lost = length * w @ stats.binom.cdf(k - 1, length - 1, begin) - k
        first = share / (1 - share) * k if reverse_order else share * (length - k)
        bound = constant * first + (1 - share) ** (steps - 1) * length
        assert lost <= bound


@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), tightened(1.05)])
def test_no_schedule_serves_all_codes(constant):
    """prop-codes, 2: the mean over the dimension; a larger constant is no lower bound."""
    length, field = 3, 3
    for reveal in ([1.0], [0.2, 0.5, 1.0], reveal_probabilities("linear", 6)):
        codes = [code_words(length, k, field) for k in range(1, length + 1)]
        mean = np.mean([factorisation_error(code, length, reveal) for code in codes])
        c = (widths(reveal) ** 2).sum()
        assert mean == pytest.approx((length - 1) / 2 * np.log(field) * c, abs=1e-9)
        assert mean >= constant * (length - 1) * np.log(field) / (2 * len(reveal)) - TIGHT


@relaxed
@given(hmms())
def test_slow_states_have_little_dual_total_correlation(world):
    """prop-slow-states: DTC(X) <= I(X; Z) <= H(Z)."""
    lang, length = world
    q = as_table(lang, length).probabilities
    dual = entropy(q) - sum(entropy(q) - entropy(q.sum(axis=i)) for i in range(length))
    state, hidden = lang.initial, entropy(lang.initial)
    rows = np.array([entropy(row) for row in lang.transition])
    noise = np.array([entropy(row) for row in lang.emission])
    inside = state @ noise
    for _ in range(length - 1):
        hidden += state @ rows
        state = state @ lang.transition
        inside += state @ noise
    assert dual <= entropy(q) - inside + 1e-9  # I(X; Z) = H(X) - sum_i H(X_i | Z_i)
    assert entropy(q) - inside <= hidden + 1e-9
    assert hidden <= entropy(lang.initial) + (length - 1) * rows.max() + 1e-9
