"""The theorems' bounds as numbers: each function against its definition or brute force."""

import math
from itertools import product

import numpy as np
import pytest

from mdm_lab import exact, information
from mdm_lab.languages import pairs
from mdm_lab.schedules import reveal_probabilities, widths


@pytest.mark.parametrize(
    "n, epsilon, steps",
    [(2, 0.25, 32), (3, 0.25, 256), (4, 0.25, 1536), (2, 0.1, 317), (2, 0.01, 10**5)],
)
def test_ngram_steps_by_hand(n, epsilon, steps):
    assert information.ngram_steps(n, epsilon) == steps
    bound = (3 * epsilon + 1 / steps) * math.log(5)
    assert information.ngram_excess_bound(n, epsilon, 5) == pytest.approx(bound, rel=1e-14)


def test_ngram_steps_are_the_least_whole_number_and_do_not_know_the_length():
    for n, k in product((2, 3, 5), range(15, 250, 7)):
        steps = information.ngram_steps(n, k / 1000)
        needed = (n - 1) ** 2 * 1000 ** (2 * n + 1)  # steps^2 k^(2n+1) at least, whole numbers
        assert (steps - 1) ** 2 * k ** (2 * n + 1) < needed <= steps**2 * k ** (2 * n + 1)
        assert information.ngram_excess_bound(n, k / 1000, 2) <= 25 / 8 * k / 1000 * math.log(2)


def test_steps_for_excess_are_the_least():
    for epsilon in (0.001, 0.03, 0.05, 0.1, 0.25, 0.3, 7.0):
        steps = information.steps_for_excess(epsilon)
        assert 1 / steps <= 4 * epsilon
        assert steps == 1 or 1 / (steps - 1) > 4 * epsilon


@pytest.mark.parametrize(
    "reveal", [np.ones(1), reveal_probabilities("linear", 7), np.array([0.1, 0.7, 1])]
)
def test_sequence_error_bound_is_its_formula(reveal):
    widest = max(reveal[k] * np.prod(1 - reveal[:k]) for k in range(len(reveal)))
    for total, epsilon in [(0.0, 0.0), (3.0, 0.0), (3.0, 0.01), (0.0, 0.2)]:
        bound = information.sequence_error_bound(5, reveal, total, epsilon)
        assert bound == pytest.approx(1 - math.exp(-(5 * epsilon + widest * total)), abs=1e-15)
    assert information.sequence_error_bound(5, reveal, 1e-17) > 0  # not lost to rounding


def test_steps_for_sequence_error_are_the_least():
    def bound(steps, *rest):
        return information.sequence_error_bound(32, reveal_probabilities("linear", steps), *rest)

    for delta, total, epsilon in product((0.03, 0.5, 0.97), (0.2, 9.0, 40.0), (0.0, 5e-4)):
        steps = information.steps_for_sequence_error(delta, 32, total, epsilon)
        assert bound(steps, total, epsilon) <= delta
        assert steps == 1 or bound(steps - 1, total, epsilon) > delta
    assert information.steps_for_sequence_error(0.1, 32, 0.0) == 1


def test_learning_error_that_uses_delta_up_is_refused():
    edge = math.log(2) / 8
    assert information.steps_for_sequence_error(0.5, 8, 1.0, 0.99 * edge) > 100
    for epsilon in (edge * (1 + 1e-12), 1.0):
        with pytest.raises(ValueError, match="epsilon .* too large"):
            information.steps_for_sequence_error(0.5, 8, 1.0, epsilon)


def test_birthday_steps_are_the_least():
    def collide(length, steps):
        apart = sum(len(set(s)) == length for s in product(range(steps), repeat=length))
        return 1 - apart / steps**length

    for length, delta in product((2, 3, 4), (0.4, 0.61, 0.9)):
        steps = information.birthday_steps(length, delta)
        assert collide(length, steps) <= delta + 1e-12
        assert collide(length, steps - 1) > delta - 1e-12
    assert information.birthday_steps(1, 0.1) == 1
    distinct = (n for n in range(23, 600) if math.prod(1 - j / n for j in range(23)) >= 0.5)
    assert information.birthday_steps(23, 0.5) == next(distinct)
    assert information.birthday_steps(512, 0.5) == pytest.approx(
        512**2 / (2 * math.log(2)), rel=0.01
    )


def divergence_from_uniform(law):
    return -np.log(law * len(law)).mean()


@pytest.mark.parametrize("vocab_size", [2, 3, 16, 300, 50257])
@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 1 / 128, 0.5, 10.0])
def test_worst_law_is_on_the_edge_of_the_ball(vocab_size, epsilon):
    law = information.worst_law(vocab_size, epsilon)
    assert law.shape == (vocab_size,) and math.fsum(law) == pytest.approx(1, abs=1e-15)
    assert (law[1:] == law[1]).all() and law[0] >= law[1] > 0
    assert divergence_from_uniform(law) == pytest.approx(epsilon, rel=1e-6, abs=1e-12)
    assert information.least_mismatch(vocab_size, epsilon) == pytest.approx(
        1 - math.fsum(law * law), abs=1e-15
    )


@pytest.mark.parametrize("vocab_size, epsilon", [(2, 1 / 128), (3, 0.1), (5, 1.0)])
def test_no_law_within_the_ball_matches_more_often(vocab_size, epsilon):
    rng = np.random.default_rng(0)
    least = information.least_mismatch(vocab_size, epsilon)
    near = []
    for _ in range(500):
        direction = np.exp(rng.normal(size=vocab_size) * rng.exponential())
        low, high = 0.0, 1.0  # how far one may go from uniform in this direction
        for _ in range(40):
            share = (low + high) / 2
            law = (1 - share) / vocab_size + share * direction / direction.sum()
            low, high = (share, high) if divergence_from_uniform(law) <= epsilon else (low, share)
        law = (1 - low) / vocab_size + low * direction / direction.sum()
        near.append(1 - law @ law)
    assert min(near) >= least - 1e-9
    assert min(near) == pytest.approx(least, abs=0.02)


def test_least_mismatch_of_two_tokens_solves_its_equation():
    """P = (1/2 + x, 1/2 - x) has KL = -ln(1 - 4 x^2)/2, so that 1/2 - 2 x^2 is e^{-2 eps}/2."""
    for epsilon in (0.0, 1 / 128, 0.3, 2.0, 10.0):
        mismatch = information.least_mismatch(2, epsilon)
        assert mismatch == pytest.approx(math.exp(-2 * epsilon) / 2, rel=1e-12)
        assert information.steps_per_token(2, epsilon) == pytest.approx(
            mismatch / (2 * math.log(2))
        )
    for vocab_size in (2, 7, 16):
        assert information.least_mismatch(vocab_size, 0) == pytest.approx(1 - 1 / vocab_size)


def test_pairs_lower_bound_is_the_error_rate_of_the_exact_denoiser_and_falls_with_epsilon():
    for length, reveal in product((1, 2, 5, 6), [np.ones(1), np.array([0.2, 0.5, 1])]):
        bound = information.pairs_lower_bound(2, length, reveal)
        rate = exact.sequence_error_rate(pairs(2), length, reveal)
        assert bound == pytest.approx(rate, abs=1e-12)
        if length > 1:
            assert bound > information.pairs_lower_bound(2, length, reveal, 0.1) > 0
    blocks, c = 32, (widths(reveal) ** 2).sum()
    by_hand = 1 - (1 - information.least_mismatch(16, 0.01) * c) ** blocks
    assert information.pairs_lower_bound(16, 65, reveal, 0.01) == pytest.approx(by_hand)


def test_steps_per_token_leave_half_of_the_pairs_wrong():
    constant = information.steps_per_token(16, 1 / 128)
    for length in (8, 64, 1024):
        reveal = reveal_probabilities("linear", int(constant * length))
        assert information.pairs_lower_bound(16, length, reveal, 1 / 128) > 0.5


ONE = np.ones(1)
REFUSED = [
    (information.ngram_steps, (1, 0.1), "n "),
    (information.ngram_steps, (2.0, 0.1), "n "),
    (information.ngram_steps, (2, 0.0), "epsilon"),
    (information.ngram_steps, (2, 0.26), "epsilon .*single step"),
    (information.ngram_steps, (2, math.nan), "epsilon"),
    (information.ngram_steps, (400, 0.1), "epsilon .*too small"),
    (information.ngram_steps, (600, 0.25), "epsilon .*too small"),
    (information.ngram_steps, (2, 1e-124), "epsilon .*too small"),
    (information.ngram_excess_bound, (600, 0.25, 4), "epsilon .*too small"),
    (information.ngram_excess_bound, (2, 0.1, 0), "vocab_size"),
    (information.ngram_excess_bound, (2, 0.3, 4), "epsilon"),
    (information.steps_for_excess, (0.0,), "epsilon"),
    (information.steps_for_excess, (1e-309,), "epsilon .*too small"),
    (information.steps_for_excess, (math.inf,), "epsilon"),
    (information.steps_for_excess, (math.nan,), "epsilon"),
    (information.sequence_error_bound, (0, ONE, 1.0), "length"),
    (information.sequence_error_bound, (4, [0.5], 1.0), "reveal"),
    (information.sequence_error_bound, (4, ONE, -1.0), "total_information"),
    (information.sequence_error_bound, (4, ONE, math.inf), "total_information"),
    (information.sequence_error_bound, (4, ONE, 1.0, -0.1), "epsilon"),
    (information.steps_for_sequence_error, (0.0, 4, 1.0), "delta"),
    (information.steps_for_sequence_error, (1.0, 4, 1.0), "delta"),
    (information.steps_for_sequence_error, (0.5, 0, 1.0), "length"),
    (information.steps_for_sequence_error, (0.5, 4, math.nan), "total_information"),
    (information.steps_for_sequence_error, (0.5, 4, 1.0, -1.0), "epsilon"),
    (information.birthday_steps, (0, 0.5), "length"),
    (information.birthday_steps, (4, 0.0), "delta"),
    (information.birthday_steps, (4, 1.0), "delta"),
    (information.worst_law, (1, 0.1), "vocab_size"),
    (information.worst_law, (4, -0.1), "epsilon"),
    (information.worst_law, (4, 11.0), "epsilon"),
    (information.least_mismatch, (1, 0.1), "vocab_size"),
    (information.least_mismatch, (4, 11.0), "epsilon"),
    (information.pairs_lower_bound, (4, 0, ONE), "length"),
    (information.pairs_lower_bound, (4, 2, [0.5]), "reveal"),
    (information.pairs_lower_bound, (1, 2, ONE), "vocab_size"),
    (information.pairs_lower_bound, (4, 2, ONE, -1.0), "epsilon"),
    (information.steps_per_token, (1, 0.0), "vocab_size"),
    (information.steps_per_token, (4, -1.0), "epsilon"),
]


@pytest.mark.parametrize("function, arguments, named", REFUSED)
def test_bad_input_is_refused_by_name(function, arguments, named):
    with pytest.raises(ValueError, match=rf"^{named}"):
        function(*arguments)
