"""Exact laws of the sampler against enumeration of states and of step assignments."""

import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import ngrams, random_ngram, random_table, reveals, seeds, worlds, zeros

from mdm_lab import exact
from mdm_lab.languages import HMM, NGram, Table, pairs
from mdm_lab.schedules import reveal_probabilities, widths

relaxed = settings(deadline=None, max_examples=25)
TIGHT = 1e-10


@st.composite
def chains(draw, min_length=2, max_length=6):
    """(chain, length), not stationary."""
    lang = random_ngram(2, draw(st.sampled_from([2, 3])), draw(zeros), draw(seeds))
    return lang, draw(st.integers(min_length, max_length if lang.vocab_size == 2 else 4))


def mixture_over_assignments(lang, length, reveal):
    """The sampler's law as the average of p_sigma over all assignments sigma of tokens to steps."""
    x, w, p = lang.enumerate(length)[0], widths(reveal), 0
    for sigma in product(range(len(reveal)), repeat=length):
        sigma, p_sigma = np.array(sigma), 1.0
        for k in set(sigma.tolist()):
            probs = lang.posterior(np.where(sigma < k, x, lang.mask_id), off_support="local")
            for i in np.flatnonzero(sigma == k):
                p_sigma = p_sigma * probs[np.arange(len(x)), i, x[:, i]]
        p = p + w[sigma].prod() * p_sigma
    return p


def renewal_chain(seed=0):
    """A primitive chain of 4 tokens with forbidden pairs, from its stationary law."""
    return NGram.random(2, 4, prune=0.15, rng=seed)


def periodic_chain(start):
    """The 4-symbol 2-gram version of pairs(2): tokens 0, 1 lead to 2, 3, which lead to either."""
    step = np.zeros((4, 4))
    step[0, 2] = step[1, 3] = 1
    step[2:, :2] = 0.5
    return NGram(np.array(start), step)


# The push-forward


@relaxed
@given(worlds(), reveals())
def test_push_forward_is_the_mixture_over_step_assignments(world, reveal):
    lang, length = world
    x, p = exact.push_forward(lang, length, reveal)
    assert (x == lang.enumerate(length)[0]).all()
    assert p.sum() == pytest.approx(1, abs=TIGHT)
    assert np.abs(p - mixture_over_assignments(lang, length, reveal)).max() < TIGHT


@relaxed
@given(worlds())
def test_push_forward_in_one_step_is_the_product_of_marginals(world):
    lang, length = world
    x, p = exact.push_forward(lang, length, [1.0])
    marginals = lang.posterior(np.full((1, length), lang.mask_id))[0]
    assert np.abs(p - marginals[np.arange(length), x].prod(axis=1)).max() < TIGHT


def test_push_forward_of_an_imperfect_denoiser():
    lang, reveal, epsilon = random_table(2, 3, 0.3, 1), [0.4, 1.0], 0.3

    def noisy(xt):
        return (1 - epsilon) * lang.posterior(xt, off_support="local") + epsilon / 2

    class Noisy(Table):
        def _posterior(self, xt, off_support):
            return (1 - epsilon) * super()._posterior(xt, off_support) + epsilon / 2

    _, p = exact.push_forward(lang, 3, reveal, denoiser=noisy)
    truth = mixture_over_assignments(Noisy(lang.probabilities), 3, reveal)
    assert np.abs(p - truth).max() < TIGHT
    assert np.abs(p - exact.push_forward(lang, 3, reveal)[1]).max() > 0.01


def test_push_forward_refuses_large_worlds_and_wrong_denoisers():
    with pytest.raises(ValueError, match="length 20 with vocab_size 16"):
        exact.push_forward(pairs(), 20, [1.0])
    with pytest.raises(ValueError, match=r"denoiser must answer xt"):
        exact.push_forward(pairs(2), 2, [1.0], denoiser=lambda xt: xt)
    with pytest.raises(ValueError, match=r"denoiser\(xt\) must sum to 1"):
        exact.push_forward(pairs(2), 2, [1.0], denoiser=lambda xt: np.ones((*xt.shape, 2)))
    with pytest.raises(ValueError, match="reveal must end in 1"):
        exact.push_forward(pairs(2), 2, [0.5])


def test_push_forward_makes_as_many_moves_as_allowed_and_no_more(monkeypatch):
    """(2V+1)^L moves a step."""
    monkeypatch.setattr(sys.modules["mdm_lab.exact.push_forward"], "MAX_TRANSITIONS", 5**3)
    assert exact.push_forward(pairs(2), 3, [1.0])[1].sum() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"makes \(2\*2\+1\)\^4 moves"):
        exact.push_forward(pairs(2), 4, [1.0])


# The recursions on chains


@relaxed
@given(chains(), reveals())
def test_error_rate_recursion_is_the_push_forward(world, reveal):
    lang, length = world
    log_valid = exact.valid_log_probabilities(lang, length, reveal)
    for shorter in range(2, length + 1):
        x, p = exact.push_forward(lang, shorter, reveal)
        wrong = p[np.isneginf(lang.log_prob(x))].sum()
        assert abs(-np.expm1(log_valid[shorter - 1]) - wrong) < TIGHT
    assert abs(exact.sequence_error_rate(lang, length, reveal) - wrong) < TIGHT
    assert log_valid[0] == pytest.approx(0, abs=TIGHT)


@relaxed
@given(chains(), reveals())
def test_chain_log_prob_is_the_push_forward_on_and_off_the_support(world, reveal):
    lang, length = world
    x, p = exact.push_forward(lang, length, reveal)
    assert np.abs(np.exp(exact.log_prob(lang, x, reveal)) - p).max() < TIGHT


def test_chain_log_prob_where_the_evidence_contradicts_itself():
    """Tokens drawn together that no sequence joins: the masks between follow the local policy."""
    step = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.7, 0.3, 0.0]])
    lang, reveal = NGram(np.full(3, 1 / 3), step), [0.5, 0.5, 1.0]
    x, p = exact.push_forward(lang, 4, reveal)
    found = np.exp(exact.log_prob(lang, x, reveal))
    assert np.abs(found - p).max() < TIGHT and found.sum() == pytest.approx(1, abs=TIGHT)
    assert p[np.isneginf(lang.log_prob(x))].sum() > 0.1


@relaxed
@given(ngrams(orders=(3,)), reveals())
def test_other_languages_go_by_the_push_forward(world, reveal):
    lang, length = world
    p = mixture_over_assignments(lang, length, reveal)
    x, q = lang.enumerate(length)
    assert np.abs(np.exp(exact.log_prob(lang, x, reveal)) - p).max() < TIGHT
    assert abs(exact.sequence_error_rate(lang, length, reveal) - p[q == 0].sum()) < TIGHT


@relaxed
@given(seeds, zeros, st.integers(1, 7))
def test_one_pass_serves_every_step_count_of_the_linear_schedule(seed, share, steps):
    lang = random_ngram(2, 3, share, seed)
    rows = exact.linear_valid_log_probabilities(lang, 9, [steps, 1, 4])
    for n, row in zip([steps, 1, 4], rows, strict=True):
        alone = exact.valid_log_probabilities(lang, 9, reveal_probabilities("linear", n))
        assert np.abs(row - alone).max() < TIGHT


def test_log_prob_by_chunks_is_log_prob_at_once(monkeypatch):
    lang = random_ngram(2, 3, 0.3, 5)
    x = lang.sample(50, 6, 0)
    whole = exact.log_prob(lang, x, [0.3, 0.5, 1.0])
    monkeypatch.setattr("mdm_lab.exact.chain.CHUNK", 2000)
    assert np.abs(exact.log_prob(lang, x, [0.3, 0.5, 1.0]) - whole).max() < TIGHT


def test_full_support_has_no_errors():
    lang = NGram.random(2, 4, rng=1)
    assert exact.sequence_error_rate(lang, 20, reveal_probabilities("linear", 5)) < 1e-12


def test_recursion_refuses_other_languages():
    with pytest.raises(ValueError, match=r"lang must be an NGram with n = 2 .* got HMM"):
        exact.valid_log_probabilities(pairs(2), 4, [1.0])
    with pytest.raises(ValueError, match="got an NGram with n = 3"):
        exact.linear_valid_log_probabilities(NGram.random(3, 2), 4, [1])
    with pytest.raises(ValueError, match="use a smaller length"):
        exact.sequence_error_rate(pairs(), 64, [1.0])


# The true excess


@relaxed
@given(worlds(), reveals())
def test_true_excess_is_the_divergence_per_token(world, reveal):
    lang, length = world
    p = mixture_over_assignments(lang, length, reveal)
    _, q = lang.enumerate(length)
    on = q > 0
    truth = (q[on] * np.log(q[on] / p[on])).sum() / length
    assert exact.true_excess(lang, length, reveal) == pytest.approx(truth, abs=TIGHT)


def test_true_excess_estimate_covers_the_exact_value():
    lang, reveal = random_ngram(2, 3, 0.3, 8), reveal_probabilities("linear", 3)
    x = lang.sample(4000, 6, 1)
    value, error = exact.true_excess_estimate(lang, x, reveal)
    truth = exact.true_excess(lang, 6, reveal)
    assert abs(value - truth) < 4 * error and error < truth / 10
    terms = (lang.log_prob(x) - exact.log_prob(lang, x, reveal)) / 6
    assert value == pytest.approx(terms.mean())
    assert error == pytest.approx(terms.std(ddof=1) / np.sqrt(4000))


# Large lengths


@pytest.mark.parametrize("steps", [1, 2, 16])
@pytest.mark.parametrize("seed", [0, 2, 3])
def test_extrapolation_agrees_with_the_recursion_within_its_error(seed, steps):
    log_valid = exact.linear_valid_log_probabilities(renewal_chain(seed), 64, [steps])[0]
    found = exact.extrapolate(log_valid[:24], 64, tolerance=0.01)
    assert abs(found.value - log_valid[-1]) <= found.error
    assert abs(found.value - log_valid[-1]) < 1e-3 * abs(log_valid[-1])
    assert found.value == pytest.approx(found.offset - 64 * found.rate, abs=TIGHT)
    assert found.rate == pytest.approx(-np.diff(log_valid)[-1], abs=1e-4)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.97, -0.8])
def test_extrapolation_error_covers_a_geometric_approach(ratio):
    lengths = np.arange(1, 301)
    line = 0.2 - 0.1 * lengths + ratio**lengths
    found = exact.extrapolate(line[:40], 300, tolerance=100)
    assert abs(found.value - line[-1]) <= found.error <= 1e-8 + 5000 * abs(ratio) ** 29


@pytest.mark.parametrize("start", [[0.25] * 4, [0.5, 0.5, 0, 0]])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_extrapolation_refuses_periodic_chains(start, steps):
    log_valid = exact.linear_valid_log_probabilities(periodic_chain(start), 40, [steps])[0]
    with pytest.raises(ValueError, match="has not settled"):
        exact.extrapolate(log_valid, 64, tolerance=0.01)


def test_extrapolation_refuses_what_it_cannot_use():
    line = -0.1 * np.arange(1, 13)
    assert exact.extrapolate(line, 100).value == pytest.approx(-10)
    with pytest.raises(ValueError, match=r"read log_valid\[11\]"):
        exact.extrapolate(line, 12)
    assert exact.extrapolate(line[:8], 9).value == pytest.approx(-0.9)
    with pytest.raises(ValueError, match="M >= 8"):
        exact.extrapolate(line[:7], 100)
    with pytest.raises(ValueError, match="tolerance"):
        exact.extrapolate(line + 0.5 ** np.arange(12), 100, tolerance=1e-9)


# Pairs


@relaxed
@given(st.sampled_from([(2, 4), (2, 5), (2, 2), (3, 4), (4, 3), (2, 1)]), reveals())
def test_pairs_closed_form_is_the_push_forward(world, reveal):
    vocab_size, length = world
    lang = pairs(vocab_size)
    x, p = exact.push_forward(lang, length, reveal)
    wrong = p[np.isneginf(lang.log_prob(x))].sum()
    assert abs(exact.pairs_sequence_error_rate(vocab_size, length, reveal) - wrong) < TIGHT


def test_the_chain_version_of_pairs_has_the_same_error_rate():
    reveal = reveal_probabilities("linear", 12)
    chain = exact.sequence_error_rate(periodic_chain([0.5, 0.5, 0, 0]), 32, reveal)
    assert chain == pytest.approx(exact.pairs_sequence_error_rate(2, 32, reveal), abs=TIGHT)
    assert chain == pytest.approx(1 - (1 - 1 / 24) ** 16, abs=TIGHT)


def test_error_rate_equals_its_bound_by_the_divergence_on_pairs():
    """1 - exp(-KL) bounds SER from above in every language, and is attained on pairs."""
    reveal = [0.3, 0.5, 1.0]
    for lang in (pairs(2), random_table(2, 4, 0.5, 3), HMM.random(2, 2, prune=0.3, rng=2)):
        bound = -np.expm1(-4 * exact.true_excess(lang, 4, reveal))
        assert exact.sequence_error_rate(lang, 4, reveal) <= bound + TIGHT
    lang = pairs(2)
    bound = -np.expm1(-4 * exact.true_excess(lang, 4, reveal))
    assert exact.sequence_error_rate(lang, 4, reveal) == pytest.approx(bound, abs=TIGHT)


# A given order


@st.composite
def orders(draw, length):
    """Steps of `length` tokens, with gaps in the numbering."""
    return np.array(draw(st.lists(st.integers(0, 4), min_size=length, max_size=length)))


@relaxed
@given(worlds(), st.data())
def test_law_in_order_is_the_product_of_answers_step_by_step(world, data):
    lang, length = world
    steps = data.draw(orders(length))
    x, p = exact.law_in_order(lang, steps)
    expected = np.ones(len(x))
    for i in range(length):
        xt = np.where(steps < steps[i], x, lang.mask_id)
        expected *= lang.posterior(xt, off_support="local")[np.arange(len(x)), i, x[:, i]]
    assert np.abs(p - expected).max() < TIGHT
    assert p.sum() == pytest.approx(1, abs=TIGHT)


@relaxed
@given(chains(max_length=7), st.data())
def test_error_rate_in_order_of_a_chain_is_that_of_its_law(world, data):
    lang, length = world
    steps = data.draw(orders(length))
    x, p = exact.law_in_order(lang, steps)
    wrong = p[np.isneginf(lang.log_prob(x))].sum()
    found = exact.sequence_error_rate_in_order(lang, steps)
    assert found == pytest.approx(wrong, abs=TIGHT)


def test_error_rate_is_the_mean_over_orders():
    """Drawn steps are given steps, averaged over the draw."""
    lang, length, w = random_ngram(2, 3, 0.3, 4), 4, np.array([0.2, 0.5, 0.3])
    mean = sum(
        w[list(sigma)].prod() * exact.sequence_error_rate_in_order(lang, np.array(sigma))
        for sigma in product(range(3), repeat=length)
    )
    reveal = np.array([0.2, 0.5 / 0.8, 1.0])
    assert exact.sequence_error_rate(lang, length, reveal) == pytest.approx(mean, abs=TIGHT)


def test_error_rate_in_order_of_other_languages_is_by_enumeration():
    assert exact.sequence_error_rate_in_order(pairs(3), [0, 0, 0, 1]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="enumerated"):
        exact.sequence_error_rate_in_order(pairs(16), np.arange(8))
    with pytest.raises(ValueError, match="steps"):
        exact.sequence_error_rate_in_order(renewal_chain(), [0.5, 1])
