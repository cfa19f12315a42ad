"""Languages: each law against its own enumeration, and sampling against the law."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats
from worlds import as_table, hmms, ngrams, random_hmm, random_ngram, seeds, worlds

from mdm_lab.languages import HMM, NGram, Table, pairs, shared_bits
from mdm_lab.languages.random import random_rows

relaxed = settings(deadline=None, max_examples=40)


def brute_ngram(lang, x):
    """q(x) by the definition, token by token."""
    n = lang.n
    q = lang.initial[tuple(x[: n - 1])]
    for i in range(n - 1, len(x)):
        q *= lang.transition[tuple(x[i - n + 1 : i + 1])]
    return q


def brute_hmm(lang, x):
    """q(x) by the definition, as a sum over all state paths."""
    total = 0.0
    for path in np.ndindex((lang.num_states,) * len(x)):
        p = lang.initial[path[0]]
        for a, b in zip(path, path[1:], strict=False):
            p *= lang.transition[a, b]
        total += p * np.prod([lang.emission[z, v] for z, v in zip(path, x, strict=True)])
    return total


@relaxed
@given(ngrams())
def test_ngram_log_prob_is_the_definition(world):
    lang, length = world
    x, q = lang.enumerate(length)
    assert np.allclose(q, [brute_ngram(lang, row) for row in x], atol=1e-14)
    assert np.isclose(q.sum(), 1, atol=1e-12)


@settings(deadline=None, max_examples=15)
@given(hmms())
def test_hmm_log_prob_is_the_sum_over_paths(world):
    lang, length = world
    length = min(length, 5)
    x, q = lang.enumerate(length)
    assert np.allclose(q, [brute_hmm(lang, row) for row in x], atol=1e-14)
    assert np.isclose(q.sum(), 1, atol=1e-12)


@relaxed
@given(ngrams())
def test_ngram_entropy_is_exact(world):
    lang, length = world
    assert np.isclose(lang.entropy(length), as_table(lang, length).entropy(length), atol=1e-10)


@relaxed
@given(hmms())
def test_hmm_entropy_bounds_enclose_and_close(world):
    lang, length = world
    truth = as_table(lang, length).entropy(length)
    widths = []
    for depth in range(2, length + 1):
        low, high = lang.entropy_bounds(length, depth)
        assert low - 1e-10 <= truth <= high + 1e-10
        widths.append(high - low)
    assert all(b <= a + 1e-10 for a, b in zip(widths, widths[1:], strict=False))
    assert not widths or widths[-1] < 1e-10


@pytest.mark.parametrize("n", [2, 3, 4])
def test_ngram_entropy_rate_is_the_increment_of_the_entropy(n):
    lang = NGram.random(n, 3, prune=0.1, rng=1)
    assert np.isclose(lang.entropy_rate(), lang.entropy(21) - lang.entropy(20), atol=1e-10)


def test_hmm_entropy_rate_bounds_close_on_the_increment():
    lang = HMM.random(3, 3, prune=0.05, rng=0)
    low, high = lang.entropy_rate_bounds(9)
    increment = as_table(lang, 9).entropy(9) - as_table(lang, 8).entropy(8)
    assert low <= increment <= high + 1e-12
    assert high - low < 1e-3


def test_hmm_entropy_estimate_covers_the_truth():
    lang = random_hmm(3, 3, 0.3, 5)
    value, error = lang.entropy_estimate(6, 4000, rng=0)
    assert 0 < error < 0.05
    assert abs(value - as_table(lang, 6).entropy(6)) < 4 * error


def test_standard_error_of_an_entropy_estimate_divides_by_num_less_one():
    """Of two sequences it is half the distance between their surprises."""
    lang = random_hmm(3, 3, 0.3, 5)
    one, two = -lang.log_prob(lang.sample(2, 6, rng=1))
    assert one != two
    truth = ((one + two) / 2, abs(one - two) / 2)
    assert lang.entropy_estimate(6, 2, rng=1) == pytest.approx(truth)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_random_ngram_starts_stationary(n):
    lang = NGram.random(n, 4, prune=0.1, rng=3)
    x, q = lang.enumerate(n)
    later = np.zeros_like(lang.initial)
    np.add.at(later, tuple(x[:, 1:].T), q)
    assert np.allclose(later, lang.initial, atol=1e-13)


@pytest.mark.parametrize(
    "make", [lambda: random_ngram(3, 3, 0.3, 1), lambda: random_hmm(3, 3, 0.3, 1)]
)
def test_samples_follow_the_law(make):
    lang = make()
    x, q = lang.enumerate(4)
    drawn = lang.sample(40_000, 4, rng=7)
    counts = np.bincount(np.ravel_multi_index(drawn.T, (3,) * 4), minlength=81)
    assert counts[q == 0].sum() == 0
    common = q > 1e-3
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(q[common], q[~common].sum()) * len(drawn)
    keep = expected > 5
    scale = observed[keep].sum() / expected[keep].sum()
    assert stats.chisquare(observed[keep], expected[keep] * scale).pvalue > 1e-4


@relaxed
@given(worlds(), seeds)
def test_samples_are_on_the_support(world, seed):
    lang, length = world
    assert np.isfinite(lang.log_prob(lang.sample(50, length, seed))).all()


def test_pairs_is_what_its_name_says():
    lang = pairs(3)
    x, q = lang.enumerate(4)
    paired = (x[:, 0] == x[:, 1]) & (x[:, 2] == x[:, 3])
    assert np.allclose(q, np.where(paired, 1 / 9, 0))
    assert np.isclose(np.exp(pairs(16).log_prob(np.array([[3, 3, 5, 5, 9]])))[0], 16.0**-3)


@pytest.mark.parametrize("reach, length", [(1, 1), (1, 5), (2, 3), (2, 4), (3, 3)])
def test_shared_bits_is_what_its_name_says(reach, length):
    """Uniform over the texts whose neighbours agree on the bit that they share, and no others."""
    lang = shared_bits(reach)
    assert lang.vocab_size == 4**reach
    rng = np.random.default_rng(0)
    x = np.concatenate([lang.sample(200, length, rng), rng.integers(4**reach, size=(200, length))])
    bits = (x[..., None] >> np.arange(2 * reach)[::-1]) & 1
    before, ahead = bits[..., :reach], bits[..., reach:]  # [..., d - 1]: shared with the d-th
    links = [(i, d) for d in range(1, reach + 1) for i in range(length - d)]
    possible = np.ones(len(x), dtype=bool)
    for i, d in links:
        possible &= ahead[:, i, d - 1] == before[:, i + d, d - 1]
    assert possible[:200].all() and (length == 1 or not possible.all())
    fair = 2 * reach * length - len(links)
    expected = np.where(possible, -fair * np.log(2), -np.inf)
    assert np.allclose(lang.log_prob(x), expected)
    if lang.vocab_size**length <= 2**16:
        assert (lang.enumerate(length)[1] > 0).sum() == 2**fair


def test_visible_tokens_settle_the_shared_bits_and_nothing_else():
    """The exact denoiser of shared_bits: a product of bits, certain where the partner is seen."""
    lang = shared_bits(2)
    x = lang.sample(6, 7, rng=1)
    masked = np.random.default_rng(2).random(x.shape) < 0.5
    xt = np.where(masked, lang.mask_id, x)
    bits = (x[..., None] >> np.arange(4)[::-1]) & 1
    places = (-1, -2, 1, 2)  # the partner of each bit of a token
    for row, i in zip(*np.nonzero(masked), strict=True):
        chance = np.ones(16)
        for k, place in enumerate(places):
            token = (np.arange(16) >> (3 - k)) & 1
            seen = 0 <= i + place < 7 and not masked[row, i + place]
            chance *= np.where(token == bits[row, i, k], 1.0, 0.0) if seen else 0.5
        assert np.allclose(lang.posterior(xt[[row]])[0, i], chance)


def test_pruning_cuts_the_tail_and_renormalises():
    raw = random_rows((50, 6), 0.0, np.random.default_rng(0))
    cut = random_rows((50, 6), 0.1, np.random.default_rng(0))
    assert ((raw < 0.1) == (cut == 0)).all()
    assert np.allclose(
        cut, np.where(raw < 0.1, 0, raw) / np.where(raw < 0.1, 0, raw).sum(1)[:, None]
    )


def test_random_languages_have_full_support_unless_pruned():
    chain, hmm = NGram.random(2, 40), HMM.random(40, 40)
    for rows in (chain.transition, hmm.transition, hmm.emission):
        assert (rows > 0).all()


def test_languages_cannot_be_changed_after_their_tables_are_made():
    hmm = HMM.random(2, 2)
    for lang, field in [(NGram.random(2, 2), "transition"), (hmm, "emission")]:
        with pytest.raises(FrozenInstanceError):
            setattr(lang, field, getattr(lang, field))
    with pytest.raises(FrozenInstanceError):
        Table(np.ones((2, 2)) / 4).probabilities = np.eye(2) / 2


def test_worlds_of_the_largest_size_are_enumerated_and_no_larger(monkeypatch):
    for module in ("base", "table"):
        monkeypatch.setattr(f"mdm_lab.languages.{module}.MAX_WORLD", 8)
    assert pairs(2).enumerate(3)[1].shape == (8,)
    with pytest.raises(ValueError, match="makes 16 sequences; at most 8"):
        pairs(2).enumerate(4)
    assert Table(np.full((2, 2, 2), 1 / 8)).length == 3
    with pytest.raises(ValueError, match="at most 8"):
        Table(np.full((2, 2, 2, 2), 1 / 16))


@pytest.mark.parametrize("n, vocab_size", [(2, 3), (3, 2)])
def test_random_languages_are_proper_or_refused(n, vocab_size):
    """Every seed gives a language with one recurrent part that uses all tokens, or an error."""
    outcomes = set()
    for seed in range(60):
        try:
            lang = NGram.random(n, vocab_size, prune=0.33, rng=seed)
        except ValueError as error:
            outcomes.add("reducible" if "reducible" in str(error) else "unused")
            continue
        outcomes.add("proper")
        assert np.isfinite(lang.log_prob(lang.sample(20, 12, seed))).all()
        assert set(np.unique(lang.sample(400, 12, seed))) == set(range(vocab_size))
    assert {"proper", "reducible"} <= outcomes


def test_random_hmms_use_all_tokens_or_are_refused():
    outcomes = set()
    for seed in range(40):
        try:
            lang = HMM.random(2, 3, prune=1 / 3, rng=seed)
        except ValueError as error:
            outcomes.add("unused" if "never occurs" in str(error) else "reducible")
            continue
        outcomes.add("proper")
        assert np.allclose(lang.initial @ lang.transition, lang.initial, atol=1e-13)
        assert set(np.unique(lang.sample(400, 12, seed))) == {0, 1, 2}
    assert {"proper", "unused"} <= outcomes


def test_reducible_chain_is_refused_and_a_periodic_one_is_not():
    with pytest.raises(ValueError, match="reducible"):
        NGram(np.array([0.5, 0.5]), np.eye(2)).stationary()
    swap = NGram(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert np.allclose(swap.stationary(), 0.5)
    transient = NGram(np.array([0.5, 0.5]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert np.allclose(transient.stationary(), [0, 1])


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: NGram(np.ones(3) / 3, np.ones((3, 3))), "transition"),
        (lambda: NGram(np.ones(2) / 2, np.ones((3, 3)) / 3), "initial"),
        (lambda: NGram(np.ones(3) / 2, np.ones((3, 3)) / 3), "initial"),
        (lambda: NGram(np.ones(3) / 3, np.ones((3, 2)) / 2), "transition"),
        (lambda: NGram(np.ones(2) / 2, np.array([[1.5, -0.5], [0.5, 0.5]])), "transition"),
        (lambda: NGram(np.ones(2) / 2, np.array([[np.nan, 1], [0.5, 0.5]])), "transition"),
        (lambda: NGram.random(1, 3), "n must"),
        (lambda: NGram.random(2, 1), "vocab_size"),
        (lambda: NGram.random(2, 4, prune=0.3), "prune"),
        (lambda: NGram.random(2, 4, prune=-0.1), "prune"),
        (lambda: HMM(np.ones(2) / 2, np.eye(3), np.eye(2)), "transition"),
        (lambda: HMM(np.ones(2) / 2, np.eye(2), np.ones((2, 3))), "emission"),
        (lambda: HMM.random(0, 3), "num_states"),
        (lambda: Table(np.ones((2, 3)) / 6), "probabilities"),
        (lambda: Table(np.ones((2, 2))), "probabilities"),
        (lambda: pairs(1), "vocab_size"),
        (lambda: shared_bits(0), "reach"),
        (lambda: shared_bits(4), "reach"),
        (lambda: pairs(2).sample(0, 4, 0), "num"),
        (lambda: pairs(2).sample(3, 0, 0), "length"),
        (lambda: NGram.random(3, 2).sample(3, 2, 0), "length"),
        (lambda: NGram.random(3, 2).posterior(np.array([[2, 2]])), "length of xt"),
        (lambda: pairs(2).log_prob(np.array([[0, 2]])), "x must hold no mask"),
        (lambda: pairs(2).log_prob(np.array([[0, 3]])), "x must hold tokens"),
        (lambda: pairs(2).log_prob(np.array([0, 1])), "x must have shape"),
        (lambda: pairs(2).log_prob(np.array([[0.0, 1.0]])), "x must hold whole numbers"),
        (lambda: pairs(2).posterior(np.array([[0, -1]])), "xt must hold tokens"),
        (lambda: pairs(2).posterior(np.array([[0, 2]]), off_support="ignore"), "off_support"),
        (lambda: pairs(16).enumerate(8), "length 8"),
        (lambda: Table(np.ones((2, 2)) / 4).sample(1, 3, 0), "length must be 2"),
    ],
)
def test_bad_input_is_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()


def test_hmm_entropy_is_never_an_estimate_in_silence():
    with pytest.raises(NotImplementedError, match="entropy_bounds"):
        pairs(2).entropy(4)
    with pytest.raises(NotImplementedError, match="entropy_rate_bounds"):
        pairs(2).entropy_rate()
