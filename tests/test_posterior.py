"""Exact posteriors against the table of all sequences (traps T16 and T17)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from worlds import (
    as_table,
    every_state,
    masked,
    ngrams,
    random_hmm,
    random_ngram,
    seeds,
    worlds,
)

from mdm_lab.languages import HMM, ImpossibleEvidence, NGram, pairs
from mdm_lab.posterior import messages
from mdm_lab.posterior.impossible import split

relaxed = settings(deadline=None, max_examples=40)
TIGHT = 1e-10


def brute_posterior(x, q, xt, vocab_size):
    """(num, length, V) by summing over the sequences that agree with each row of xt."""
    agrees = ((xt[:, None] == vocab_size) | (xt[:, None] == x)).all(axis=2)
    weights = agrees * q
    joint = np.stack([weights @ (x == v) for v in range(vocab_size)], axis=2)
    return joint / weights.sum(axis=1)[:, None, None]


@relaxed
@given(worlds(), seeds)
def test_posterior_is_bayes_rule(world, seed):
    lang, length = world
    x, q = lang.enumerate(length)
    xt = masked(lang, lang.sample(30, length, seed), seed)
    truth = brute_posterior(x, q, xt, lang.vocab_size)
    assert np.abs(lang.posterior(xt) - truth).max() < TIGHT


@relaxed
@given(worlds(), seeds)
def test_leave_one_out_is_the_posterior_with_a_hole(world, seed):
    lang, length = world
    x, q = lang.enumerate(length)
    xt = masked(lang, lang.sample(10, length, seed), seed, share=0.3)
    answer = lang.leave_one_out(xt)
    for i in range(length):
        hole = xt.copy()
        hole[:, i] = lang.mask_id
        truth = brute_posterior(x, q, hole, lang.vocab_size)[:, i]
        assert np.abs(answer[:, i] - truth).max() < TIGHT


@relaxed
@given(worlds(), seeds)
def test_local_policy_is_its_definition(world, seed):
    """Any tokens at all, possible or not: the sweep agrees with the pieces cut by hand."""
    lang, length = world
    rng = np.random.default_rng(seed)
    xt = rng.integers(0, lang.vocab_size + 1, (40, length))
    table = as_table(lang, length)
    rows, evidence, covers = split(xt, table._mass, lang.mask_id)
    x, q = lang.enumerate(length)
    truth = brute_posterior(x, q, evidence, lang.vocab_size)
    answer = lang.posterior(xt, off_support="local")
    open_places = covers & (xt[rows] == lang.mask_id)
    assert np.abs(answer[rows] - truth)[open_places].max(initial=0) < TIGHT
    shown = xt < lang.mask_id
    assert (answer[shown] == np.eye(lang.vocab_size)[xt[shown]]).all()


@relaxed
@given(worlds(), seeds)
def test_local_leave_one_out_is_the_local_posterior_with_a_hole(world, seed):
    lang, length = world
    rng = np.random.default_rng(seed)
    xt = rng.integers(0, lang.vocab_size + 1, (10, length))
    answer = lang.leave_one_out(xt, off_support="local")
    for i in range(length):
        hole = xt.copy()
        hole[:, i] = lang.mask_id
        truth = lang.posterior(hole, off_support="local")[:, i]
        assert np.abs(answer[:, i] - truth).max() < TIGHT


@relaxed
@given(worlds(), seeds)
def test_leave_one_out_refuses_rows_in_which_some_hole_leaves_a_contradiction(world, seed):
    lang, length = world
    rng = np.random.default_rng(seed)
    xt = rng.integers(0, lang.vocab_size + 1, (8, length))
    x, q = lang.enumerate(length)
    holes = np.where(np.eye(length, dtype=bool), lang.mask_id, xt[:, None])[:, :, None]
    mass = ((holes == lang.mask_id) | (holes == x)).all(axis=-1) @ q  # (8, length)
    broken = (mass == 0).any(axis=1)
    for row in range(8):
        if broken[row]:
            with pytest.raises(ImpossibleEvidence) as caught:
                lang.leave_one_out(xt[row : row + 1])
            assert caught.value.rows == [0]
    if broken.any():
        with pytest.raises(ImpossibleEvidence) as caught:
            lang.leave_one_out(xt)
        assert set(caught.value.rows) <= set(np.flatnonzero(broken).tolist())
    answer = lang.leave_one_out(xt[~broken])
    assert np.abs(answer - lang.leave_one_out(xt[~broken], "local")).max(initial=0) < TIGHT


@relaxed
@given(worlds(), seeds)
def test_impossible_evidence_names_its_rows(world, seed):
    lang, length = world
    rng = np.random.default_rng(seed)
    xt = rng.integers(0, lang.vocab_size + 1, (25, length))
    x, q = lang.enumerate(length)
    agrees = ((xt[:, None] == lang.mask_id) | (xt[:, None] == x)).all(axis=2)
    dead = np.flatnonzero((agrees * q).sum(axis=1) == 0)
    if len(dead) == 0:
        lang.posterior(xt)
        return
    for ask in (lang.posterior, lambda xt: lang.sample_joint(xt, 0)):
        with pytest.raises(ImpossibleEvidence, match="probability zero") as caught:
            ask(xt)
        assert caught.value.rows == dead.tolist()


@settings(deadline=None, max_examples=60)
@given(worlds(), seeds, st.booleans(), st.sampled_from([1, 2, 3, 16]))
def test_tracker_follows_the_posterior(world, seed, on_support, stretch):
    """Revealed in random portions, possible or not, it answers as a posterior from scratch does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdm_lab.posterior.tracker.STRETCH", stretch)
        follow_and_compare(*world, seed, on_support)


def follow_and_compare(lang, length, seed, on_support):
    """Reveal all of a batch in four portions; before and after each, ask at every mask."""
    rng = np.random.default_rng(seed)
    num = 12
    target = (
        lang.sample(num, length, seed)
        if on_support
        else rng.integers(0, lang.vocab_size, (num, length))
    )
    xt = masked(lang, target, seed, share=0.8)
    tracker = lang.tracker(xt)
    step = rng.integers(0, 4, (num, length))
    for k in range(4):
        rows, places = np.nonzero((step == k) & (xt == lang.mask_id))
        tracker.reveal(rows, places, target[rows, places])
        xt[rows, places] = target[rows, places]
        rows, places = np.nonzero(xt == lang.mask_id)
        truth = lang.posterior(xt, off_support="local")[rows, places]
        assert np.abs(tracker.at(rows, places) - truth).max(initial=0) < TIGHT


@pytest.mark.parametrize(
    "lang", [NGram.random(3, 4, 0.1, 0), HMM.random(5, 4, 0.1, 0), NGram.random(2, 4, 0.1, 0)]
)
@pytest.mark.parametrize("seed", range(3))
def test_tracker_follows_impossible_evidence_over_many_stretches(lang, seed):
    """Tokens drawn at random contradict each other all over: cuts come, go and move."""
    follow_and_compare(lang, 83, seed, on_support=False)


@pytest.mark.parametrize("tiny", [1e-8, 1e-30])
def test_tracker_keeps_messages_that_sink_fast(tiny):
    """Unlikely tokens in a row, below FAINT within a stretch or out of range: nothing is cut."""
    step = np.array([[0.9, 0.1], [0.2, 0.8]])
    lang = HMM(np.full(2, 0.5), step, np.array([[1 - tiny, tiny], [1 - tiny / 2, tiny / 2]]))
    xt = np.ones((2, 64), dtype=int)
    xt[0, 40], xt[1, 5] = lang.mask_id, lang.mask_id
    tracker = lang.tracker(np.full_like(xt, lang.mask_id))
    rows, places = np.nonzero(xt < lang.mask_id)
    tracker.reveal(rows, places, xt[rows, places])
    rows, places = np.nonzero(xt == lang.mask_id)
    truth = lang.posterior(xt)[rows, places]
    assert np.abs(tracker.at(rows, places) / truth - 1).max() < TIGHT


@pytest.mark.parametrize(
    "lang", [NGram.random(3, 4, 0.1, 0), HMM.random(5, 4, 0.1, 0), NGram.random(2, 4, 0.1, 0)]
)
def test_tracker_stays_exact_over_a_long_run(lang):
    """Stopping where messages settle must not let errors build up: 200 tokens, one at a time."""
    x = lang.sample(4, 200, 1)
    xt = np.full_like(x, lang.mask_id)
    tracker = lang.tracker(xt)
    order = np.argsort(np.random.default_rng(2).random(x.shape), axis=1)
    rows = np.arange(len(x))
    for places in order.T[:-1]:
        tracker.reveal(rows, places, x[rows, places])
        xt[rows, places] = x[rows, places]
    left = order[:, -1]
    assert np.abs(tracker.at(rows, left) - lang.posterior(xt)[rows, left]).max() < TIGHT


@pytest.mark.parametrize("lang", [random_ngram(3, 3, 0.4, 1), random_hmm(3, 3, 0.4, 1)])
def test_tracker_by_parts_is_the_posterior(lang, monkeypatch):
    """Reveals that are worked through a few at a time, all places of 20 rows at once."""
    monkeypatch.setattr("mdm_lab.posterior.tracker.STRETCH", 2)
    monkeypatch.setattr("mdm_lab.posterior.tracker.PART", 24)
    rng = np.random.default_rng(0)
    xt = rng.integers(0, lang.mask_id + 1, (20, 9))
    tracker = lang.tracker(np.full_like(xt, lang.mask_id))
    rows, places = np.nonzero(xt < lang.mask_id)
    order = rng.permutation(len(rows))
    rows, places = rows[order], places[order]
    tracker.reveal(rows, places, xt[rows, places])
    rows, places = np.nonzero(xt == lang.mask_id)
    truth = lang.posterior(xt, off_support="local")[rows, places]
    assert np.abs(tracker.at(rows, places) - truth).max() < TIGHT


@pytest.mark.parametrize("at_once", [True, False])
def test_tracker_ignores_a_token_that_never_occurs(at_once):
    """It is read as a mask: what lies before it still counts for what lies behind."""
    step = np.array([[0.9, 0.1], [0.1, 0.9]])
    lang = HMM(np.full(2, 0.5), step, np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0]]))
    m = lang.mask_id
    xt, without = np.array([[0, 2, m, 0]]), np.array([[0, m, m, 0]])
    tracker = lang.tracker(xt if at_once else np.full((1, 4), m))
    if not at_once:
        tracker.reveal(np.zeros(3, int), np.array([0, 1, 3]), xt[0, [0, 1, 3]])
    truth = lang.posterior(without)[0, 2]
    assert np.abs(truth - lang.posterior(np.array([[m, m, m, 0]]))[0, 2]).max() > 0.01
    assert np.abs(tracker.at(np.array([0]), np.array([2]))[0] - truth).max() < TIGHT


@relaxed
@given(ngrams(orders=(2,)), seeds)
def test_neighbours_and_messages_agree_on_chains(world, seed):
    lang, length = world
    xt = np.random.default_rng(seed).integers(0, lang.vocab_size + 1, (40, length))
    answer = messages.posterior(lang._model, xt, off_support="local")
    assert np.abs(answer - lang.posterior(xt, off_support="local")).max() < TIGHT


@pytest.mark.parametrize("vocab_size, length", [(2, 5), (3, 4)])
def test_every_state_of_a_tiny_world(vocab_size, length):
    """All (V+1)^L evidences at once, on a chain, a trigram and an HMM."""
    xt = every_state(vocab_size, length)
    for lang in (
        random_ngram(2, vocab_size, 0.3, 1),
        random_ngram(3, vocab_size, 0.3, 2),
        random_hmm(3, vocab_size, 0.3, 3),
    ):
        table = as_table(lang, length)
        difference = lang.posterior(xt, "local") - table.posterior(xt, "local")
        assert np.abs(difference).max() < TIGHT


@pytest.mark.parametrize(
    "lang", [random_ngram(2, 3, 0.0, 4), random_ngram(3, 3, 0.3, 4), random_hmm(3, 3, 0.3, 4)]
)
def test_joint_samples_follow_the_joint_posterior(lang):
    x = lang.sample(1, 5, 0)
    xt = x.copy()
    xt[0, [0, 2, 3]] = lang.mask_id
    every, q = lang.enumerate(5)
    agrees = ((xt == lang.mask_id) | (xt == every)).all(axis=1)
    drawn = lang.sample_joint(np.repeat(xt, 30_000, axis=0), rng=1)
    assert (drawn[:, [1, 4]] == x[0, [1, 4]]).all()
    counts = np.bincount(np.ravel_multi_index(drawn.T, (3,) * 5), minlength=243)
    expected = np.where(agrees, q, 0) / q[agrees].sum() * len(drawn)
    assert counts[expected == 0].sum() == 0
    keep = expected > 5
    scale = counts[keep].sum() / expected[keep].sum()
    assert keep.sum() > 3
    assert stats.chisquare(counts[keep], expected[keep] * scale).pvalue > 1e-4


def test_pairs_partner_is_known_and_nothing_else():
    lang = pairs(4)
    m = lang.mask_id
    probs = lang.posterior(np.array([[2, m, m, m]]))
    assert np.allclose(probs[0, 1], [0, 0, 1, 0])
    assert np.allclose(probs[0, 2:], 0.25)


@pytest.mark.parametrize("lang", [NGram.random(3, 4, 0.1, 0), HMM.random(6, 4, 0.1, 0)])
def test_long_sequences_do_not_underflow(lang):
    """4,000 tokens have probability below 1e-308; the messages are scaled on the way."""
    x = lang.sample(2, 4000, 0)
    assert (lang.log_prob(x) < -1500).all()
    probs = lang.posterior(masked(lang, x, 0))
    assert np.isfinite(probs).all() and np.allclose(probs.sum(axis=-1), 1)


def test_underflow_between_rescalings_is_repaired():
    """A chain whose evidence costs 1e-60 a token kills the quick sweep, not the answer."""
    tiny = 1e-60
    lang = HMM(
        np.array([0.5, 0.5]), np.full((2, 2), 0.5), np.array([[tiny, 1 - tiny], [tiny, 1 - tiny]])
    )
    xt = np.array([[0] * 20 + [lang.mask_id]])
    assert np.allclose(lang.posterior(xt)[0, -1], [0, 1])


@pytest.mark.parametrize("tiny", [1e-60, 1e-10])
@pytest.mark.parametrize("before, after", [(20, 0), (0, 20), (17, 17), (40, 40)])
def test_small_messages_and_their_products_are_repaired(tiny, before, after):
    """Rare tokens before, after or around a mask: neither message nor their product may vanish."""
    lang = HMM(np.ones(1), np.ones((1, 1)), np.array([[tiny, 1 - tiny]]))
    xt = np.array([[0] * before + [lang.mask_id] + [0] * after])
    assert np.allclose(lang.posterior(xt)[0, before], [tiny, 1 - tiny])
    assert np.allclose(lang.leave_one_out(xt)[0], [tiny, 1 - tiny])


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("places", [range(13, 19), range(2, 8)], ids=["backward", "forward"])
def test_underflow_in_one_direction_alone_is_repaired(order, places):
    """Messages are scaled at other places from the right than from the left; tokens are iid."""
    tiny = 1e-60
    if order == 1:
        state, token = np.array([0.9, 0.1]), np.array([[1 - tiny, 0, tiny], [0, 1 - tiny, tiny]])
        lang = HMM(state, np.stack([state, state]), token)
    else:
        row = np.array([0.9, 0.1, tiny])
        lang = NGram(np.outer(row, row), np.broadcast_to(row, (3, 3, 3)))
    xt = np.full((1, 21), lang.mask_id)
    xt[0, list(places)] = 2
    alpha, beta = (message.max(axis=(1, 2)) for message in messages.sweep(lang._model, xt))
    assert (alpha[-1, 0] == 0) != (beta[0, 0] == 0)
    hidden = xt[0] == lang.mask_id
    assert np.allclose(lang.posterior(xt)[0, hidden], [0.9, 0.1, 0])
    drawn = lang.sample_joint(np.repeat(xt, 1000, axis=0), 0)[:, hidden]
    assert np.abs((drawn == 0).mean(axis=0) - 0.9).max() < 5 * np.sqrt(0.09 / 1000)


def test_draw_never_takes_an_index_of_weight_zero():
    """Even where u times the total rounds to the total."""
    weights = np.repeat([[0.0, 5e-324, 0.0]], 40, axis=0)
    assert (messages.draw(weights, np.random.default_rng(0)) == 1).all()


def test_rows_do_not_know_their_batch_mates():
    lang = NGram.random(3, 4, 0.1, 0)
    xt = masked(lang, lang.sample(300, 40, 0), 0)
    whole = lang.posterior(xt)
    assert np.abs(lang.posterior(xt[7:8])[0] - whole[7]).max() < 1e-14
    assert np.abs(lang.posterior(xt[::-1])[::-1] - whole).max() < 1e-14
