"""Error rates against their exact values on tiny worlds, and intervals against scipy."""

import re
from itertools import product

import numpy as np
import pytest
import torch
from brute import answers, every_x, given_steps, mixture, number, push_forward, without_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from worlds import every_state, random_hmm, random_ngram, random_table

from mdm_lab import metrics
from mdm_lab.denoisers import NoisyOracle, Oracle, Wrapped
from mdm_lab.forward import draw_times, log_q
from mdm_lab.information import factorisation_error
from mdm_lab.languages import Table, pairs
from mdm_lab.samplers import sample, sample_first_hitting
from mdm_lab.schedules import reveal_probabilities, widths

SURE = 1 - 1e-5  # an interval that misses the truth once in 100 000 runs; seeds are fixed
LENGTH = 3
LANG = random_table(2, LENGTH, 0.2, 11)
PRUNED = random_ngram(2, 3, 0.4, 5)
REVEAL = reveal_probabilities("cosine", 3)


def holds(estimate, truth):
    assert estimate.low - 1e-12 <= truth <= estimate.high + 1e-12, (estimate, truth)
    assert estimate.high - estimate.low < 0.2 * max(1, abs(truth))  # and it says something


def equal_chances(vocab_size, length, num, seed, tokens=None):
    """`num` sequences of equal chance, of the first `tokens` tokens (default: all)."""
    law = np.zeros((vocab_size,) * length)
    corner = law[(slice(tokens),) * length]
    chosen = np.random.default_rng(seed).permutation(corner.size)[:num]
    corner[np.unravel_index(chosen, corner.shape)] = 1 / num
    return Table(law)


def prefix_laws(lang, length, x):
    """p(x^i | x^{<i}) of `lang`, by summing its law; float64 (num, length, V)."""
    law = lang.enumerate(length)[1].reshape((lang.vocab_size,) * length)
    rows = []
    for y in x.tolist():
        before = [law[tuple(y[:i])] for i in range(length)]
        sums = [part.reshape(lang.vocab_size, -1).sum(axis=1) for part in before]
        rows.append([s / s.sum() for s in sums])
    return torch.as_tensor(np.array(rows))


def step_laws(denoiser, reveal, length):
    """(sigma, weight, p_sigma over every_x) for all assignments of steps."""
    table, w = answers(denoiser, length), widths(reveal)
    for steps in product(range(len(w)), repeat=length):
        steps = np.array(steps)
        x = every_x(denoiser.vocab_size, length)
        yield steps, w[steps].prod(), given_steps(table, x, steps)


# Intervals


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99999]))
def test_clopper_pearson_is_the_beta_quantile(num, share, confidence):
    k, tail = round(share * num), (1 - confidence) / 2
    low, high = metrics.clopper_pearson(k, num, confidence)
    assert low == pytest.approx(stats.beta.ppf(tail, k, num - k + 1) if k else 0, abs=1e-9)
    assert high == pytest.approx(
        stats.beta.ppf(1 - tail, k + 1, num - k) if k < num else 1, abs=1e-9
    )
    assert low <= k / num <= high


def test_clopper_pearson_at_the_ends():
    assert metrics.clopper_pearson(0, 50) == (0, pytest.approx(1 - 0.025 ** (1 / 50)))
    assert metrics.clopper_pearson(50, 50) == (pytest.approx(0.025 ** (1 / 50)), 1)


@pytest.mark.parametrize("p", [0.02, 0.3])
def test_clopper_pearson_covers_as_often_as_it_says(p):
    num = 40
    intervals = [metrics.clopper_pearson(k, num, 0.9) for k in range(num + 1)]
    covered = [low <= p <= high for low, high in intervals]
    assert stats.binom.pmf(range(num + 1), num, p) @ covered >= 0.9


def test_estimate_reads_well():
    estimate = metrics.Estimate(0.21, 0.175, 0.2484, 500, 0.95)
    assert repr(estimate) == "Estimate 0.21 (95% interval 0.175 to 0.2484; 500 sequences)"


# Sequence error rate


@pytest.mark.parametrize("steps", [1, 3])
def test_sequence_error_rate_is_the_exact_one(steps):
    reveal, oracle = reveal_probabilities("linear", steps), Oracle(PRUNED)
    law = without_masks(push_forward(answers(oracle, 4), reveal), 3, 4)
    x, q = PRUNED.enumerate(4)
    exact = law[q == 0].sum()
    assert 0.05 < exact < 0.95
    estimate = metrics.sequence_error_rate(PRUNED, sample(oracle, 3000, 4, reveal, 1), SURE)
    holds(estimate, exact)
    assert estimate.num == 3000


def test_sequence_error_rate_counts():
    lang, x = pairs(2), [[0, 0], [0, 1], [1, 1], [1, 0], [0, 1]]
    estimate = metrics.sequence_error_rate(lang, np.array(x))
    assert estimate.value == 3 / 5
    assert (estimate.low, estimate.high) == metrics.clopper_pearson(3, 5)
    assert metrics.sequence_error_rate(lang, torch.tensor(x[:1])).value == 0
    drawn = sample_first_hitting(Oracle(PRUNED), 500, 6, 0)
    assert metrics.sequence_error_rate(PRUNED, drawn).value == 0


# Token error rates


@pytest.mark.parametrize("kind", [Oracle, lambda lang: NoisyOracle(lang, 0.05)])
def test_teacher_forced_log_prob_is_p_sigma(kind):
    """Every sequence under every assignment of three steps, by the definition."""
    denoiser = kind(LANG)
    x = torch.as_tensor(every_x(2, LENGTH))
    for steps, _, law in step_laws(denoiser, REVEAL, LENGTH):
        ours = metrics.teacher_forced_log_prob(denoiser, x, steps).exp()
        np.testing.assert_allclose(ours, law, atol=1e-12)
    rows = torch.arange(8)[:, None] % torch.tensor([2, 3, 4])
    ours = metrics.teacher_forced_log_prob(denoiser, x, rows)
    for i in range(8):
        one = metrics.teacher_forced_log_prob(denoiser, x[i : i + 1], rows[i])
        torch.testing.assert_close(ours[i : i + 1], one)


def test_teacher_forced_log_prob_skips_empty_steps():
    oracle = Oracle(LANG)
    x = torch.as_tensor(LANG.sample(20, LENGTH, 0))
    metrics.teacher_forced_log_prob(oracle, x, [5, 5, 90])
    assert oracle.nfe == 40


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_forward_rate_and_excess_are_the_exact_ones(noise):
    denoiser = NoisyOracle(LANG, noise)
    q = LANG.probabilities.ravel()
    support = q > 0
    bound, pair, laws = 0.0, 0.0, list(step_laws(denoiser, REVEAL, LENGTH))
    for _, weight, law in laws:
        bound -= weight * q[support] @ np.log(law[support])
        for _, other, second in laws:
            pair -= weight * other * q[support] @ np.log((law + second)[support] / 2)
    p = mixture(answers(denoiser, LENGTH), widths(REVEAL))
    true = -q[support] @ np.log(p[support])
    assert bound > pair + 1e-4 > true + 2e-4 and true >= LANG.entropy(LENGTH)

    x0 = LANG.sample(20000, LENGTH, 1)
    rate = metrics.token_error_rate_forward
    holds(rate(denoiser, LANG, x0, REVEAL, 2, confidence=SURE), np.exp(bound / LENGTH))
    holds(rate(denoiser, LANG, x0, REVEAL, 2, orders=2, confidence=SURE), np.exp(pair / LENGTH))
    many = rate(denoiser, LANG, x0, REVEAL, 2, orders=60, confidence=SURE)
    assert np.exp(true / LENGTH) < many.high and many.value < np.exp(pair / LENGTH)
    excess = metrics.teacher_forced_excess(denoiser, LANG, x0, REVEAL, 2, confidence=SURE)
    holds(excess, (bound - LANG.entropy(LENGTH)) / LENGTH)


def test_excess_is_less_noisy_than_the_rate_when_it_is_small():
    x0, reveal = PRUNED.sample(300, 32, 1), reveal_probabilities("linear", 32)
    excess = metrics.teacher_forced_excess(Oracle(PRUNED), PRUNED, x0, reveal, 2)
    rate = metrics.token_error_rate_forward(Oracle(PRUNED), PRUNED, x0, reveal, 2)
    assert excess.high - excess.low < 0.5 * np.log(rate.high / rate.low)


def test_excess_vanishes_for_the_oracle_one_token_at_a_time():
    x0 = torch.as_tensor(PRUNED.sample(50, 5, 0))
    log_q_ = torch.as_tensor(PRUNED.log_prob(x0.numpy()))
    order = draw_times(50, 5, 0).argsort(dim=1)
    ours = metrics.teacher_forced_log_prob(Oracle(PRUNED), x0, order)
    torch.testing.assert_close(ours, log_q_, atol=1e-10, rtol=0)


def test_forward_rate_of_a_uniform_denoiser_is_the_vocabulary():
    uniform = Wrapped(lambda xt: torch.full((*xt.shape, 3), 1 / 3, dtype=torch.float64), 3)
    estimate = metrics.token_error_rate_forward(uniform, PRUNED, PRUNED.sample(9, 5, 0), REVEAL, 0)
    np.testing.assert_allclose([estimate.value, estimate.low, estimate.high], 3)


def test_forward_rate_is_infinite_if_a_true_token_is_impossible():
    never = Wrapped(lambda xt: torch.tensor([1.0, 0.0]).expand(*xt.shape, 2), 2)
    estimate = metrics.token_error_rate_forward(never, pairs(2), [[0, 0], [1, 1]], REVEAL, 0)
    assert estimate.value == estimate.low == estimate.high == np.inf
    estimate = metrics.teacher_forced_excess(never, pairs(2), [[0, 0], [1, 1]], REVEAL, 0)
    assert estimate.value == estimate.low == estimate.high == np.inf


def test_generative_rate_on_and_off_the_support():
    lang = pairs(2)
    mixed = metrics.token_error_rate_generative(lang, torch.tensor([[0, 0], [1, 0], [1, 1]]))
    assert mixed.value == mixed.low == mixed.high == np.inf
    assert mixed.off_support.value == 1 / 3 and mixed.off_support.num == 3
    assert mixed.on_support.value == pytest.approx(2**0.5) and mixed.on_support.num == 2
    clean = metrics.token_error_rate_generative(lang, np.array([[0, 0], [1, 1]]))
    assert clean.value == pytest.approx(2**0.5) and clean.off_support.value == 0
    assert metrics.token_error_rate_generative(lang, [[0, 1], [1, 0]]).on_support is None


def test_generative_rate_is_the_exact_one_on_full_support():
    lang, reveal = random_ngram(2, 3, 0.0, 3), reveal_probabilities("linear", 2)
    x, q = lang.enumerate(4)
    law = without_masks(push_forward(answers(Oracle(lang), 4), reveal), 3, 4)
    drawn = sample(Oracle(lang), 5000, 4, reveal, 1)
    estimate = metrics.token_error_rate_generative(lang, drawn, SURE)
    holds(estimate, np.exp(-(law @ np.log(q)) / 4))


# Learning error


def divergence(true, ours):
    seen = true > 0
    return true[seen] @ np.log(true[seen] / ours[seen])


def impossible(true, ours):
    return ours[true == 0].sum()


def exact_learning_error(denoiser, lang, length, alpha_t, cost=divergence):
    """sum over x0, xt and masked i of q(x0) q(xt | x0) cost_i(xt), over the mean number of masks.

    The cost is that of the denoiser's answer against the posterior; by default the divergence.
    """
    states = every_state(lang.vocab_size, length)
    x, q = lang.enumerate(length)
    mass, total = 0.0, 0.0
    for xt in states:
        row = torch.as_tensor(xt)[None]
        weight = q @ np.exp(
            log_q(row.expand(len(x), -1), torch.as_tensor(x), alpha_t, lang.mask_id).numpy()
        )
        if weight == 0:
            continue
        true, ours = lang.posterior(xt[None])[0], denoiser(row)[0].numpy()
        for i in np.flatnonzero(xt == lang.mask_id):
            total += weight * cost(true[i], ours[i])
            mass += weight
    return total / mass


@pytest.mark.parametrize("alpha_t", [0.0, 0.4, 0.8])
def test_learning_error_is_the_exact_one(alpha_t):
    lang = random_hmm(3, 2, 0.3, 4)
    wrong = Oracle(random_hmm(3, 2, 0.0, 9))
    x0 = lang.sample(20000, 3, 1)
    estimate = metrics.learning_error(wrong, lang, x0, alpha_t, 2, SURE)
    holds(estimate, exact_learning_error(wrong, lang, 3, alpha_t))
    assert estimate.worst >= estimate.value


def test_learning_error_of_the_oracles():
    x0 = PRUNED.sample(200, 6, 0)
    levels = np.linspace(0, 0.9, 200)
    for epsilon in (0.0, 0.02):
        estimate = metrics.learning_error(NoisyOracle(PRUNED, epsilon), PRUNED, x0, levels, 1)
        assert abs(estimate.value - epsilon) < 1e-12 and abs(estimate.worst - epsilon) < 1e-12
        assert estimate.high - estimate.low < 1e-12


def test_excess_is_factorisation_plus_learning_error():
    """With learning error epsilon everywhere the excess per token is the oracle's plus epsilon."""
    oracle, noisy, epsilon = Oracle(LANG), NoisyOracle(LANG, 0.05), 0.05
    q = LANG.probabilities.ravel()
    seen = q > 0
    kl = [
        sum(w * q[seen] @ np.log(q[seen] / law[seen]) for _, w, law in step_laws(d, REVEAL, LENGTH))
        for d in (oracle, noisy)
    ]
    assert kl[1] == pytest.approx(kl[0] + LENGTH * epsilon, abs=1e-12)


UNIFORM = equal_chances(3, 4, 10, 7)  # every text once is then a sample without any noise


@pytest.mark.parametrize("alpha_t", [0.0, 0.5])
def test_impossible_mass_is_the_enumerated_one(alpha_t):
    wrong = Oracle(random_table(3, 4, 0.0, 9))
    x0 = UNIFORM.sample(4000, 4, 1)
    found = metrics.learning_error(wrong, UNIFORM, x0, alpha_t, 2, SURE).impossible
    exact = exact_learning_error(wrong, UNIFORM, 4, alpha_t, impossible)
    assert found.high - found.low < 0.06 and exact > (0.1 if alpha_t else -1)
    holds(found, exact)
    unused = equal_chances(3, 4, 5, 3, tokens=2)  # token 2 is impossible in every context
    x0 = unused.sample(50, 4, 1)
    found = metrics.learning_error(NoisyOracle(unused, 0.3), unused, x0, alpha_t, 2).impossible
    np.testing.assert_allclose([found.value, found.low, found.high], 1 - np.exp(-0.3), atol=1e-12)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.7]))
def test_impossible_mass_is_bounded_by_the_divergence(seed, alpha_t):
    """Masked at random, along one text, in a sampler's run; equality for a pure leak."""
    lang = equal_chances(3, 4, 10, seed)
    wrong = Oracle(random_table(3, 4, 0.0, seed + 1))
    x0 = torch.as_tensor(lang.enumerate(4)[0][lang.enumerate(4)[1] > 0])
    errors = [metrics.learning_error(wrong, lang, x0, alpha_t, seed)]
    laws = prefix_laws(wrong.lang, 4, x0)
    for k in range(0, len(x0), 3):
        mine = laws[k].expand(2, -1, -1)
        twice = x0[k].expand(2, -1)
        errors.append(metrics.autoregressive_learning_error(lambda x, p=mine: p, lang, twice))
    for error in errors:
        assert error.impossible.value <= -np.expm1(-error.value) + 1e-12
    parts = metrics.teacher_forced_parts(wrong, lang, x0, REVEAL, seed)
    assert parts.impossible.value <= -np.expm1(-parts.learning.value) + 1e-12
    unused = equal_chances(3, 4, 5, seed, tokens=2)
    x0 = unused.sample(5, 4, 0)
    leak = metrics.teacher_forced_parts(NoisyOracle(unused, 0.2), unused, x0, REVEAL, seed)
    assert leak.impossible.value == pytest.approx(-np.expm1(-leak.learning.value), abs=1e-12)


def test_autoregressive_learning_error_is_the_exact_one():
    """Every text once: the mean of KL_i over prefixes, and KL(q || p) / L by the chain rule."""
    x, q = UNIFORM.enumerate(4)
    x, q = x[q > 0], q[q > 0]
    wrong = random_table(3, 4, 0.0, 9)
    true, ours = (prefix_laws(lang, 4, torch.as_tensor(x)).numpy() for lang in (UNIFORM, wrong))
    pairs_ = [list(zip(true[k], ours[k], strict=True)) for k in range(len(x))]
    kl = [np.mean([divergence(*pair) for pair in row]) for row in pairs_]
    mass = [np.mean([impossible(*pair) for pair in row]) for row in pairs_]
    chain = q @ (np.log(q) - wrong.log_prob(x)) / 4
    assert np.mean(kl) == pytest.approx(chain, abs=1e-12) and chain > 0.1

    found = metrics.autoregressive_learning_error(lambda y: prefix_laws(wrong, 4, y), UNIFORM, x)
    assert found.value == pytest.approx(chain, abs=1e-12)
    assert found.impossible.value == pytest.approx(np.mean(mass), abs=1e-12)
    worst = max(divergence(*pair) for row in pairs_ for pair in row)
    assert found.worst == pytest.approx(worst, abs=1e-12) and worst > 1.5 * chain
    assert found.low < chain < found.high and found.num == len(x)
    spread = stats.sem(kl) * stats.norm.ppf(0.975)
    assert found.high - found.low == pytest.approx(2 * spread, rel=1e-6)


def test_autoregressive_learning_error_of_the_exact_conditionals_is_0():
    found = metrics.autoregressive_learning_error(
        lambda x: prefix_laws(UNIFORM, 4, x), UNIFORM, UNIFORM.sample(50, 4, 0)
    )
    values = [found.value, found.low, found.high, found.worst, found.impossible.value]
    np.testing.assert_allclose(values, 0, atol=1e-12)


def test_teacher_forced_parts_are_the_enumerated_ones():
    """Over all texts and all assignments of steps; excess = factorisation + learning."""
    wrong, (x, q) = Oracle(random_table(3, 4, 0.0, 9)), UNIFORM.enumerate(4)
    true, ours = answers(Oracle(UNIFORM), 4), answers(wrong, 4)
    kept = q > 0
    exact = dict.fromkeys(("excess", "factorisation", "learning", "impossible"), 0.0)
    w = widths(REVEAL)
    for steps in product(range(3), repeat=4):
        steps = np.array(steps)
        weight = w[steps].prod() / kept.sum() / 4
        for y in x[kept]:
            log_q_ = -np.log(kept.sum())
            exact["excess"] += weight * (log_q_ - np.log(given_steps(ours, y[None], steps)[0]))
            exact["factorisation"] += weight * (
                log_q_ - np.log(given_steps(true, y[None], steps)[0])
            )
            for i in range(4):
                row = number(np.where(steps >= steps[i], 3, y), 3)
                exact["learning"] += weight * divergence(true[row, i], ours[row, i])
                exact["impossible"] += weight * impossible(true[row, i], ours[row, i])
    assert exact["excess"] == pytest.approx(exact["factorisation"] + exact["learning"], abs=1e-12)
    assert np.diff(sorted(exact.values())).min() > 0.04  # no part passes for another

    x0 = np.tile(x[kept], (400, 1))  # every text as often: only the steps are drawn
    found = metrics.teacher_forced_parts(wrong, UNIFORM, x0, REVEAL, 3, SURE)
    for key, value in exact.items():
        estimate = getattr(found, key)
        assert estimate.high - estimate.low < 0.07
        holds(estimate, value)


def test_teacher_forced_parts_of_a_noisy_oracle():
    epsilon, x0 = 0.05, PRUNED.sample(4000, 5, 1)
    noisy = NoisyOracle(PRUNED, epsilon)
    found = metrics.teacher_forced_parts(noisy, PRUNED, x0, REVEAL, 4, SURE)
    learning = [found.learning.value, found.learning.low, found.learning.high]
    np.testing.assert_allclose(learning, epsilon, atol=1e-12)
    assert 0 < found.impossible.value <= -np.expm1(-epsilon) + 1e-12
    holds(found.factorisation, factorisation_error(PRUNED, 5, REVEAL) / 5)
    assert found.factorisation.high - found.factorisation.low < found.factorisation.low / 2
    for key, denoiser in {"excess": noisy, "factorisation": Oracle(PRUNED)}.items():
        alone = metrics.teacher_forced_excess(denoiser, PRUNED, x0, REVEAL, 4, confidence=SURE)
        assert vars(getattr(found, key)) == pytest.approx(vars(alone), abs=1e-12)


def test_learning_error_is_infinite_where_the_model_rules_out_the_truth():
    never = Wrapped(lambda xt: torch.tensor([1.0, 0.0]).expand(*xt.shape, 2), 2)
    estimate = metrics.learning_error(never, pairs(2), [[0, 0], [1, 1]], 0.0, 0)
    assert estimate.value == estimate.low == estimate.high == estimate.worst == np.inf
    estimate = metrics.autoregressive_learning_error(never, pairs(2), [[0, 0], [1, 1]])
    assert estimate.value == estimate.low == estimate.high == estimate.worst == np.inf
    parts = metrics.teacher_forced_parts(never, pairs(2), [[0, 0], [1, 1]], REVEAL, 0)
    assert parts.learning.value == parts.excess.value == np.inf


def test_normal_intervals_cover_as_often_as_they_say():
    """300 runs at 90 %: within 4 standard deviations of 270, for a mean and for a ratio."""
    lang, num = random_hmm(3, 2, 0.3, 4), 200
    wrong = Oracle(random_hmm(3, 2, 0.0, 9))
    exact = exact_learning_error(wrong, lang, 3, 0.4)
    law = step_laws(wrong, REVEAL, 3)
    x, q = lang.enumerate(3)
    seen = q > 0
    excess = sum(w * q[seen] @ np.log(q[seen] / p[seen]) for _, w, p in law) / 3
    covered = np.zeros(2)
    for seed in range(300):
        x0 = lang.sample(num, 3, seed)
        ratio = metrics.learning_error(wrong, lang, x0, 0.4, seed, 0.9)
        mean = metrics.teacher_forced_excess(wrong, lang, x0, REVEAL, seed, 0.9)
        covered += [ratio.low <= exact <= ratio.high, mean.low <= excess <= mean.high]
    assert (np.abs(covered - 270) < 4 * np.sqrt(27)).all(), covered


X0 = [[0, 0], [1, 1]]
OFF = [[0, 0], [0, 1]]  # the second is impossible


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o, g: metrics.sequence_error_rate(g, [[0, 2]]), "x must hold no mask"),
        (lambda o, g: metrics.sequence_error_rate(g, np.zeros((0, 2), int)), "at least one"),
        (lambda o, g: metrics.sequence_error_rate(g, X0, 1.0), "confidence"),
        (
            lambda o, g: metrics.token_error_rate_forward(o, g, [[0, 2]], [1.0], 0),
            "x0 must hold no",
        ),
        (
            lambda o, g: metrics.token_error_rate_forward(o, g, OFF, [1.0], 0),
            "x0 must be samp.* some rows have probability 0",
        ),
        (lambda o, g: metrics.token_error_rate_forward(o, g, X0, [0.5], 0), "reveal must end"),
        (lambda o, g: metrics.token_error_rate_forward(o, g, X0, [1.0], None), "generator"),
        (lambda o, g: metrics.token_error_rate_forward(o, g, X0, [1.0], 0, orders=0), "orders"),
        (
            lambda o, g: metrics.token_error_rate_forward(o, g, X0[:1], [1.0], 0),
            "x0 must hold at least 2",
        ),
        (lambda o, g: metrics.teacher_forced_excess(o, g, X0, [1.0], None), "generator"),
        (lambda o, g: metrics.teacher_forced_log_prob(o, X0, [0, 1, 2]), "steps must have"),
        (lambda o, g: metrics.teacher_forced_log_prob(o, X0, [0.0, 1.0]), "steps must hold"),
        (lambda o, g: metrics.teacher_forced_log_prob(o, [[2, 0]], [0, 1]), "x0 must hold no"),
        (
            lambda o, g: metrics.token_error_rate_generative(g, [[0, 2], [0, 0]]),
            "samples must hold no",
        ),
        (lambda o, g: metrics.learning_error(o, g, X0, 1.0, 0), "alpha_t"),
        (lambda o, g: metrics.learning_error(o, g, X0, 1.5, 0), "alpha_t must lie"),
        (lambda o, g: metrics.teacher_forced_parts(o, g, OFF, [1.0], 0), "x0 must be samp"),
        (lambda o, g: metrics.teacher_forced_parts(o, g, X0, [0.5], 0), "reveal must end"),
        (lambda o, g: metrics.teacher_forced_parts(o, g, X0, [1.0], None), "generator"),
        (lambda o, g: metrics.autoregressive_learning_error(o, g, OFF), "x0 must be samp"),
        (
            lambda o, g: metrics.autoregressive_learning_error(lambda x: 2 * o(x), g, X0),
            "the answer of conditionals.x0. must sum",
        ),
        (lambda o, g: metrics.clopper_pearson(3, 2), "successes"),
        (lambda o, g: metrics.clopper_pearson(0, 0), "num"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Oracle(pairs(2)), pairs(2))


class Shaped(Oracle):
    """Answers with uniform laws of one shape, whatever it is asked."""

    def __init__(self, *shape):
        super().__init__(pairs(2))
        self.answer = torch.full(shape, 1 / shape[-1], dtype=torch.float64)

    def _probs(self, xt):
        return self.answer

    def _probs_at(self, xt, unique, part, back, positions):
        return self.answer


LEARNING = {
    "conditionals(x0)": lambda o, g, x: metrics.autoregressive_learning_error(o, g, x),
    "denoiser(xt)": lambda o, g, x: metrics.learning_error(o, g, x, 0.0, 0),
    "denoiser.at(xt, rows, positions)": lambda o, g, x: metrics.teacher_forced_parts(
        o, g, x, [1.0], 0
    ),
}
RATES = {
    "excess": lambda o, g, x: metrics.teacher_forced_excess(o, g, x, [1.0], 0),
    "forward": lambda o, g, x: metrics.token_error_rate_forward(o, g, x, [1.0], 0),
    "generative": lambda o, g, x: metrics.token_error_rate_generative(g, x),
}


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize(
    "shape", [(2, 1, 2), (1, 2, 2), (2, 2, 3), (2, 2), (4,), (1, 2), (4, 3), (3, 2)]
)
def test_answer_of_the_wrong_shape_is_named(name, shape):
    """Fewer laws than places, fewer rows, another number of tokens, an axis too few."""
    wanted = (4, 2) if ".at" in name else (2, 2, 2)
    says = f"{name} must answer with laws of shape {wanted}"
    with pytest.raises(ValueError, match=re.escape(says) + ".*; got " + re.escape(str(shape))):
        LEARNING[name](Shaped(*shape), pairs(2), X0)
    assert LEARNING[name](Shaped(*wanted), pairs(2), X0) is not None


def test_teacher_forced_log_prob_refuses_an_answer_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"laws of shape \(2, 2\).*; got \(1, 2\)"):
        metrics.teacher_forced_log_prob(Shaped(1, 2), X0, [0, 1])


@pytest.mark.parametrize("texts", [[0, 0], [[[0, 0], [1, 1]]], np.zeros((0, 2), int), [[0, 0]]])
@pytest.mark.parametrize("name", [*LEARNING, *RATES])
def test_texts_of_the_wrong_shape_are_named(name, texts):
    argument = "samples" if name == "generative" else "x0"
    with pytest.raises(ValueError, match=f"^{argument} must have shape|^{argument} must hold at"):
        {**LEARNING, **RATES}[name](Oracle(pairs(2)), pairs(2), texts)
