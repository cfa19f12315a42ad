"""Objectives: the bounds by brute force, what is drawn for them, and the ways to get them wrong.

Traps are numbered T18 to T22. A `mistaken` case computes the thing wrongly on purpose: its test
must fail.
"""

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from brute import answers, counts_fit, every_x, given_steps, one_stage_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import mistaken
from scipy import stats
from worlds import every_state, random_table, seeds, tables

from mdm_lab.denoisers import NetworkDenoiser, NoisyOracle, Oracle, Wrapped
from mdm_lab.forward import mask_at, num_masked_law
from mdm_lab.information import factorisation_error
from mdm_lab.languages import Table
from mdm_lab.metrics import learning_error
from mdm_lab.objectives import (
    Batch,
    any_order_bound,
    autoregressive,
    batch_loss,
    continuous_time,
    discrete_bound,
    exact_count,
    llada,
    loss_by_count,
    loss_curve,
    md4,
    mdlm,
    radd_lambda,
    radd_t,
    random_order_log_prob,
    sedd,
    sequence_loss,
    stratified,
)
from mdm_lab.schedules import (
    Cosine,
    Linear,
    Power,
    reveal_probabilities,
    revealed_fractions,
    widths,
)

TIGHT = 1e-10
V, LENGTH = 2, 4
LANG = random_table(V, LENGTH, 0.2, 3)
NODES, SHARES = np.polynomial.legendre.leggauss(40)
NODES, SHARES = (1 + NODES) / 2, SHARES / 2  # on [0, 1]
few = settings(deadline=None, max_examples=15)
chances = st.one_of(st.just(0.0), st.floats(1e-6, 1))
reveals = st.lists(chances, max_size=3).map(lambda head: np.array([*head, 1.0]))


def crooked(vocab_size, seed):
    """A denoiser without any sense in it, for texts of at most 5 tokens: random laws."""
    laws = np.random.default_rng(seed).dirichlet(np.ones(vocab_size), (vocab_size + 1,) * 5 + (5,))
    table = torch.as_tensor(laws)

    def function(xt):
        length = xt.shape[1]
        return table[(*xt.T, *[0] * (5 - length))][:, :length]

    return Wrapped(function, vocab_size)


def texts_of(lang, length=None):
    """All texts that can occur, as tensors: x (num, length), q (num,)."""
    x, q = lang.enumerate(length or lang.length)
    return torch.as_tensor(x[q > 0]), torch.as_tensor(q[q > 0])


def entropy(q):
    return float(-(q * q.log()).sum())


def text_states(x, vocab_size):
    """Every way of masking x, and whether each place is masked: (2^L, L), but not x itself."""
    masked = np.indices((2,) * len(x)).reshape(len(x), -1).T[1:] == 1
    return np.where(masked, vocab_size, x), masked


def integral(f):
    return float(sum(share * f(node) for node, share in zip(NODES, SHARES, strict=True)))


# What is drawn


def test_loss_is_the_weighted_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, LENGTH, V, generator=generator, dtype=torch.float64)
    batch = exact_count(torch.as_tensor(LANG.sample(5, LENGTH, 0)), V, 1)
    by_hand = [
        sum(
            -float(batch.weights[b, i]) * float(logits[b, i].log_softmax(0)[batch.targets[b, i]])
            for i in range(LENGTH)
        )
        for b in range(5)
    ]
    torch.testing.assert_close(sequence_loss(logits, batch), torch.tensor(by_hand).double())
    part = batch.rows(slice(1, 3))
    torch.testing.assert_close(sequence_loss(logits[1:3], part), sequence_loss(logits, batch)[1:3])
    assert batch.rows([0, 4]).to("cpu").inputs.tolist() == batch.inputs[[0, 4]].tolist()


def test_loss_is_summed_in_float32_or_better():
    batch = exact_count(torch.zeros((3, 50), dtype=torch.int64), V, 0)
    logits = torch.randn(3, 50, V, generator=torch.Generator().manual_seed(0))
    for dtype, wanted in [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]:
        loss = sequence_loss(logits.to(dtype), batch)
        assert loss.dtype == wanted
        exact = sequence_loss(logits.to(dtype).double(), batch)
        torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_weight_of_zero_silences_an_infinite_loss():
    batch = Batch(torch.tensor([[0, V]]), torch.tensor([[0, 1]]), torch.tensor([[0.0, 3.0]]))
    logits = torch.tensor([[[-math.inf, 0.0], [0.0, 0.0]]], requires_grad=True)
    loss = sequence_loss(logits, batch)
    assert loss.item() == pytest.approx(3 * math.log(2))
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    never = Wrapped(lambda xt: torch.tensor([0.0, 1.0]).expand(*xt.shape, 2).double(), V)
    assert float(batch_loss(never, batch)) == 0


def test_exact_count_masks_k_places_and_weighs_them_by_l_over_k():
    length, num = 5, 3000
    x0 = torch.as_tensor(random_table(3, length, 0, 0).sample(num, length, 0))
    batch = exact_count(x0, 3, 7)
    masked = batch.inputs == 3
    count = masked.sum(dim=1)
    assert torch.equal(batch.targets, x0)
    assert torch.equal(batch.inputs[~masked], x0[~masked])
    torch.testing.assert_close(batch.weights, masked * (length / count)[:, None].double())
    per_count = torch.bincount(count, minlength=length + 1)
    assert per_count[0] == 0
    assert (per_count[1:] - num / length).abs().max() <= 1  # stratified: no luck in it
    sets = (masked[count == 2].long() * 2 ** torch.arange(length)).sum(dim=1)
    by_set = np.bincount(sets, minlength=2**length)
    law = np.array([bin(s).count("1") == 2 for s in range(2**length)]) / 10
    assert counts_fit(by_set, law) > 1e-3


def test_autoregressive_sees_the_tokens_before_and_nothing_else():
    x0 = torch.tensor([[2, 0, 1], [1, 1, 0]])
    batch = autoregressive(x0, 3)
    assert batch.inputs.tolist() == [[3, 2, 0], [3, 1, 1]]
    assert torch.equal(batch.targets, x0)
    assert (batch.weights == 1).all()


def test_autoregressive_loss_is_the_log_probability():
    """With the logits of the true conditionals, in order: -log q(x) of every text."""
    x, q = texts_of(LANG)
    law, logits = LANG.probabilities, torch.zeros(len(x), LENGTH, V, dtype=torch.float64)
    for i in range(LENGTH):
        head = law.sum(axis=tuple(range(i + 1, LENGTH)))
        logits[:, i] = torch.as_tensor(head[tuple(x[:, :i].T.numpy())]).log()
    batch = autoregressive(x, V)
    torch.testing.assert_close(sequence_loss(logits, batch), -q.log())


def objectives():
    return {
        "exact count": exact_count,
        "1/t": continuous_time,
        "1/t, independent times": lambda x, m, g: continuous_time(x, m, g, low_discrepancy=False),
        "cosine": lambda x, m, g: continuous_time(x, m, g, Cosine()),
        "quadratic": lambda x, m, g: continuous_time(x, m, g, Power(2)),
    }


@pytest.mark.parametrize("name", objectives())
def test_what_is_drawn_has_the_bound_as_its_mean(name):
    """Each objective on each text against the enumeration, with a crooked denoiser."""
    denoiser, num = crooked(V, 1), 20_000
    x = torch.tensor([0, 1, 1, 0]).expand(num, -1)
    loss = batch_loss(denoiser, objectives()[name](x, V, 5))
    bound = float(any_order_bound(denoiser, x[:1]))
    assert abs(float(loss.mean()) - bound) < 4 * float(loss.std()) / math.sqrt(num)
    assert float(loss.std()) / math.sqrt(num) < 0.02 * bound


def test_the_smallest_time_is_survived(monkeypatch):
    """At t = 2^-53 the alpha of a power schedule rounds to 1: no mask, weight 0, no warning."""

    def last(num, generator):
        return torch.full((num,), 1 - 2.0**-53, dtype=torch.float64)

    monkeypatch.setattr("mdm_lab.objectives.batches.stratified", last)
    for schedule in (Linear(), Power(2)):
        batch = continuous_time(torch.zeros((4, 3), dtype=torch.int64), V, 0, schedule)
        assert (batch.weights == 0).all()
        assert (batch.inputs == 0).all()


def test_wrong_input_is_named():
    x0, batch = torch.zeros((2, 3), dtype=torch.int64), exact_count([[0, 1], [1, 0]], V, 0)
    with pytest.raises(ValueError, match="logits must have shape"):
        sequence_loss(torch.zeros(2, 3, V), batch)
    for call in (exact_count, continuous_time):
        with pytest.raises(ValueError, match="generator"):
            call(x0, V, None)
        with pytest.raises(ValueError, match="no mask"):
            call(x0 + V, V, 0)
    with pytest.raises(ValueError, match="num"):
        stratified(0, 0)
    with pytest.raises(ValueError, match=r"length in 1\.\.16"):
        any_order_bound(Oracle(LANG), torch.zeros((1, 17), dtype=torch.int64))
    with pytest.raises(ValueError, match="strictly between"):
        sedd(torch.ones(1, 1, 1), torch.zeros(1, 1).long(), torch.ones(1, 1).long(), [1], Linear())
    with pytest.raises(ValueError, match="list of numbers"):
        loss_curve(torch.zeros(1, 3), 0.5)


# The bounds, by brute force


@few
@given(tables(), seeds)
def test_any_order_bound_is_the_mean_over_all_orders(world, seed):
    """thm-any-order: E over the L! orders, and the sampler's own law below it by Jensen."""
    lang, length = world
    denoiser = crooked(lang.vocab_size, seed)
    x, table = every_x(lang.vocab_size, length), answers(denoiser, length)
    orders = list(permutations(range(length)))
    p_sigma = np.array([given_steps(table, x, np.array(order)) for order in orders])
    bound = any_order_bound(denoiser, x)
    np.testing.assert_allclose(bound, -np.log(p_sigma).mean(axis=0), rtol=1e-10)
    log_p = random_order_log_prob(denoiser, x)
    np.testing.assert_allclose(log_p.exp(), p_sigma.mean(axis=0), rtol=1e-10)
    assert (bound + log_p >= -TIGHT).all()
    assert float(log_p.exp().sum()) == pytest.approx(1)


@few
@given(seeds, reveals)
def test_n_step_bound_three_ways(seed, reveal):
    """thm-n-steps: divergences of kernels = mean over assignments = the weighted sum, per text."""
    length = 3
    denoiser, w = crooked(V, seed), widths(reveal)
    x, states, table = every_x(V, length), every_state(V, length), answers(denoiser, length)
    ours = discrete_bound(denoiser, x, reveal).numpy()
    forced, p = np.zeros(len(x)), np.zeros(len(x))
    for steps in product(range(len(w)), repeat=length):
        chance = w[list(steps)].prod()
        if chance > 0:
            p_sigma = given_steps(table, x, np.array(steps))
            forced -= chance * np.log(p_sigma)
            p += chance * p_sigma
    np.testing.assert_allclose(ours, forced, rtol=1e-9)
    assert (ours >= -np.log(p) - TIGHT).all()
    for text, bound in zip(x[:3], ours[:3], strict=True):
        certain = np.broadcast_to(np.eye(V)[text], table.shape)
        at, total = np.zeros(len(states)), 0.0
        at[-1] = 1
        for r in reveal:
            true, model = one_stage_matrix(certain, r), one_stage_matrix(table, r)
            ratio = np.divide(true, model, out=np.ones_like(true), where=true > 0)
            total += at @ (true * np.log(ratio)).sum(axis=1)
            at = at @ true
        assert total == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize(
    "schedule",
    [Linear(), Cosine(), Power(2), Power(0.5)],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("weight", [pytest.param("rate", id="stated"), mistaken("one")])
def test_continuous_bound_does_not_see_the_schedule(schedule, weight):
    """thm-continuous: the integral over t by its definition, for each text."""
    denoiser = crooked(V, 2)
    x = every_x(V, LENGTH)

    def at(t, text):
        alpha = float(schedule.alpha(t))
        rate = float(schedule.weight(t)) if weight == "rate" else 1.0
        xt, masked = text_states(text, V)
        p = denoiser(torch.as_tensor(xt)).numpy()[:, range(LENGTH), text]
        nats = np.where(masked, -np.log(p), 0).sum(axis=1)
        count = masked.sum(axis=1)
        return rate * (1 - alpha) ** count * alpha ** (LENGTH - count) @ nats

    bound = any_order_bound(denoiser, x)
    for text, ours in zip(x[::5], bound[::5], strict=True):
        # t = s^2 makes the integrand smooth at 0 for every schedule here
        total = integral(lambda s, text=text: 2 * s * at(s**2, text))
        assert total == pytest.approx(float(ours), rel=1e-8)


def test_the_curve_and_its_integral():
    """F at the ends by hand, and its integral: the sum of c_k."""
    denoiser = crooked(V, 3)
    x = torch.as_tensor(every_x(V, LENGTH))
    by_count = loss_by_count(denoiser, x)
    masked = denoiser(torch.full_like(x, V)).gather(-1, x[..., None])[..., 0]
    others = torch.stack(
        [
            denoiser(torch.where(torch.arange(LENGTH) == i, V, x))[range(len(x)), i, x[:, i]]
            for i in range(LENGTH)
        ],
        dim=1,
    )
    ends = loss_curve(by_count, [0.0, 1.0])
    torch.testing.assert_close(ends[:, 0], -masked.log().sum(dim=1))
    torch.testing.assert_close(ends[:, 1], -others.log().sum(dim=1))
    area = loss_curve(by_count, NODES) @ torch.as_tensor(SHARES)
    torch.testing.assert_close(area, by_count.sum(dim=1))
    many = discrete_bound(denoiser, x, reveal_probabilities("linear", 5000))
    torch.testing.assert_close(many, by_count.sum(dim=1), rtol=1e-3, atol=1e-3)


def test_an_impossible_token_makes_the_bound_infinite():
    never = Wrapped(lambda xt: torch.tensor([1.0, 0.0]).expand(*xt.shape, 2).double(), V)
    x = torch.tensor([[0, 0], [0, 1]])
    assert any_order_bound(never, x).tolist() == [0, math.inf]
    assert discrete_bound(never, x, [0.5, 1.0]).tolist() == [0, math.inf]
    assert random_order_log_prob(never, x).tolist() == [0, -math.inf]


def misled(wrong=0.9):
    """Two equal bits, and a denoiser that knows each but is misled by what it sees."""
    twins = Table(np.array([[0.5, 0.0], [0.0, 0.5]]))

    def function(xt):
        other = xt.flip(dims=(1,))
        known = torch.nn.functional.one_hot(other.clamp(max=1), 2).double()
        return torch.where((other < 2)[..., None], wrong + (1 - 2 * wrong) * known, 0.5)

    return twins, Wrapped(function, 2)


@few
@given(tables(), reveals, st.integers(0, 3), st.floats(0.01, 0.99))
def test_a_finer_grid_tightens_the_bound_of_the_exact_denoiser(world, reveal, where, share):
    """prop-refinement: splitting a step never raises the mean of the bound."""
    lang, length = world
    x, q = texts_of(lang, length)
    where = min(where, len(reveal) - 1)
    first = share * reveal[where]
    rest = (reveal[where] - first) / (1 - first)
    finer = np.array([*reveal[:where], first, rest, *reveal[where + 1 :]])
    finer[-1] = 1.0
    before, after = (float(q @ discrete_bound(Oracle(lang), x, r)) for r in (reveal, finer))
    assert entropy(q) - TIGHT <= after <= before + TIGHT


@pytest.mark.parametrize("exact", [False, mistaken(True)])
def test_a_finer_grid_may_loosen_the_bound_of_an_imperfect_denoiser(exact):
    """prop-refinement: the counterexample. Its mistaken case has the exact denoiser instead."""
    twins, denoiser = misled()
    x, q = texts_of(twins)
    denoiser = Oracle(twins) if exact else denoiser
    bounds = [
        float(q @ discrete_bound(denoiser, x, reveal_probabilities("linear", n)))
        for n in (1, 2, 4, 8)
    ]
    limit = float(q @ any_order_bound(denoiser, x))
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1] < limit


# What is left over at the minimum


def learning_curve(denoiser, lang, u):
    """epsilon(u): mean KL(q || p) at a masked place when each other token is visible with chance u.

    By enumeration of texts and masks, for a list of u.
    """
    x, q = texts_of(lang)
    total, u = 0.0, np.asarray(u)[:, None]
    for text, chance in zip(x.numpy(), q, strict=True):
        xt, masked = text_states(text, lang.vocab_size)
        true, ours = torch.as_tensor(lang.posterior(xt)), denoiser(torch.as_tensor(xt))
        nats = (torch.xlogy(true, true) - torch.xlogy(true, ours)).sum(dim=-1).numpy()
        nats = np.where(masked, nats, 0).sum(axis=1)
        count, length = masked.sum(axis=1), lang.length
        total += float(chance) * ((1 - u) ** (count - 1) * u ** (length - count)) @ nats / length
    return total


@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("slack", [pytest.param(0.0, id="stated"), mistaken(1e-6)])
def test_loss_is_entropy_plus_length_times_the_learning_error(epsilon, slack):
    """prop-loss-is-learning-error with a constant error: the loss is H + L epsilon exactly."""
    x, q = texts_of(LANG)
    loss = float(q @ any_order_bound(NoisyOracle(LANG, epsilon), x))
    assert loss == pytest.approx(entropy(q) + LENGTH * (epsilon + slack), abs=1e-9)


@few
@given(seeds, seeds)
def test_loss_is_entropy_plus_the_integral_of_the_learning_error(language, seed):
    """prop-loss-is-learning-error for any denoiser."""
    lang, denoiser = random_table(V, 3, 0.3, language), crooked(V, seed)
    x, q = texts_of(lang)
    error = 3 * SHARES @ learning_curve(denoiser, lang, NODES)
    assert float(q @ any_order_bound(denoiser, x)) == pytest.approx(entropy(q) + error, abs=TIGHT)


@few
@given(seeds, seeds, reveals)
def test_n_steps_add_the_factorisation_error(language, seed, reveal):
    """prop-decomposition: H + factorisation error + L sum_k w_k epsilon(u_k)."""
    lang, denoiser = random_table(V, 3, 0.3, language), crooked(V, seed)
    x, q = texts_of(lang)
    error = 3 * widths(reveal) @ learning_curve(denoiser, lang, revealed_fractions(reveal))
    lost = factorisation_error(lang, 3, reveal)
    ours = float(q @ discrete_bound(denoiser, x, reveal))
    assert ours == pytest.approx(entropy(q) + lost + error, abs=1e-9)


def test_the_learning_error_is_the_one_that_metrics_measures():
    denoiser, alpha = crooked(V, 4), 0.4
    found = learning_error(denoiser, LANG, LANG.sample(8000, LENGTH, 0), alpha, 1, 1 - 1e-5)
    exact = float(learning_curve(denoiser, LANG, [alpha])[0])
    assert found.low <= exact <= found.high
    assert found.high - found.low < 0.2 * exact


@pytest.mark.parametrize("at", [pytest.param("posterior", id="stated"), mistaken("elsewhere")])
def test_the_posterior_is_the_minimiser(at):
    """The gradient of the mean loss by a free law for each context vanishes at the posterior."""
    lang = random_table(V, 3, 0, 5)
    x, q = texts_of(lang)
    states = torch.as_tensor(every_state(V, 3))
    logits = torch.as_tensor(lang.posterior(states.numpy(), off_support="local")).log()
    logits = torch.where(torch.isfinite(logits), logits, 0.0)
    logits = logits if at == "posterior" else logits + 0.1 * states[..., None] * torch.arange(V)
    logits.requires_grad_(True)
    free = logits.softmax(dim=-1)
    places = 3 ** torch.arange(2, -1, -1)
    loss = q @ any_order_bound(Wrapped(lambda xt: free[(xt * places).sum(dim=1)], V), x)
    loss.backward()
    assert logits.grad.abs().max() < 1e-12


# T18: what is divided by what


def average_texts(denoiser, lang):
    """E_q c_k of a language of its own length: float64 (L,)."""
    x, q = texts_of(lang)
    return (q @ loss_by_count(denoiser, x)).numpy()


def by_number_of_masks(c):
    """Per token, of t uniform on [0, 1]: (batch ratio, mean over rows of the mean over masks).

    The number of masks is uniform on 0..L (prop-uniform-count); a row without one counts 0.
    """
    length = len(c)
    chance = np.full(length, 1 / (length + 1))
    k = np.arange(1, length + 1)
    return (chance * k) @ c / (chance @ k), chance @ c


@pytest.mark.parametrize("factor", [pytest.param("L + 1", id="stated"), mistaken("L")])
def test_t18_mean_over_masks_is_the_bound_up_to_l_plus_1_over_l(factor):
    """T18: a mean for each row is right but for rows without masks; leaving those out is right."""
    denoiser = crooked(V, 6)
    c = average_texts(denoiser, LANG)
    uniform = integral(lambda t: num_masked_law(LENGTH, 1 - t).numpy()[1:] @ c)
    rows = by_number_of_masks(c)[1]
    assert uniform == pytest.approx(rows, abs=TIGHT)
    scale = {"L + 1": (LENGTH + 1) / LENGTH, "L": 1.0}[factor]
    assert scale * rows == pytest.approx(c.sum() / LENGTH, abs=TIGHT)
    num = 20_000
    x0 = torch.as_tensor(LANG.sample(num, LENGTH, 0))
    xt = mask_at(x0, 1 - (np.arange(num) + 0.5) / num, V, 1)
    masked = xt == V
    nats = torch.where(masked, -denoiser(xt).gather(-1, x0[..., None])[..., 0].log(), 0.0)
    some = masked.any(dim=1)
    mean = nats.sum(dim=1)[some] / masked.sum(dim=1)[some]
    assert float(mean.mean()) == pytest.approx(c.sum() / LENGTH, abs=4 * float(mean.std()) / 140)


@pytest.mark.parametrize("share", [0.9, mistaken(0.1)])
def test_t18_batch_ratio_is_not_a_bound(share):
    """T18: sum(CE) / sum(mask) on two equal bits with a misled denoiser is below the truth.

    There p_sigma is the same in both orders, so -log p is c_1 + c_2; the ratio times L is
    (2 c_1 + 4 c_2)/3. In the mistaken case the denoiser is led the right way: c_1 < c_2.
    """
    twins, denoiser = misled(share)
    x, q = texts_of(twins)
    c = average_texts(denoiser, twins)
    truth = -float(q @ random_order_log_prob(denoiser, x))
    assert truth == pytest.approx(c.sum(), abs=TIGHT)
    ratio = 2 * by_number_of_masks(c)[0]
    assert ratio == pytest.approx((2 * c[0] + 4 * c[1]) / 3, abs=TIGHT)
    assert ratio < truth - 0.1


@few
@given(tables())
def test_t18_batch_ratio_of_the_exact_denoiser_is_above_the_bound(world):
    """prop-normalisation: where more masks are harder, the ratio is too large, not too small."""
    lang, length = world
    x, q = texts_of(lang, length)
    c = (q @ loss_by_count(Oracle(lang), x)).numpy()
    assert (np.diff(c) >= -TIGHT).all()
    assert by_number_of_masks(c)[0] >= c.mean() - TIGHT
    assert c.sum() == pytest.approx(entropy(q), abs=1e-9)


# T19: the variance of 1/t


def second_moment(length, cut, weight):
    """E[(K/t)^2] by quadrature in log t, t uniform on [cut, 1], K binomial; or of L/k * k."""
    if weight == "L/k":
        return float(length**2)
    nodes = math.log(cut) * NODES
    k = np.arange(length + 1)
    values = [
        math.exp(s) * (num_masked_law(length, 1 - math.exp(s)).numpy() @ k**2) / math.exp(2 * s)
        for s in nodes
    ]
    return -math.log(cut) * float(SHARES @ values) / (1 - cut)


@pytest.mark.parametrize("length", [1, 8, 64])
@pytest.mark.parametrize("constant", [pytest.param(1.0, id="stated"), mistaken(1.01)])
def test_t19_variance_of_one_over_t_grows_with_the_logarithm(length, constant):
    """prop-variance: Var(K/t) = L (ln(1/cut)/(1 - cut) - 1) for t uniform on [cut, 1]."""
    for cut in (0.1, 1e-3, 1e-6):
        variance = second_moment(length, cut, "1/t") - length**2
        formula = length * (constant * math.log(1 / cut) / (1 - cut) - 1)
        assert variance == pytest.approx(formula, rel=1e-6)
    assert second_moment(length, 0.5, "L/k") == length**2


@pytest.mark.parametrize("draw, spread", [(continuous_time, True), (exact_count, False)])
def test_t19_weights_drawn(draw, spread):
    """The sum of the weights of a row: constant for an exact count, wild for 1/t."""
    batch = draw(torch.zeros((4000, 16), dtype=torch.int64), V, 3)
    total = batch.weights.sum(dim=1)
    if spread:
        assert float(total.std()) > 8
        assert float(total.max()) > 160
    else:
        torch.testing.assert_close(total, torch.full_like(total, 16.0))


def test_t19_cutting_small_times_off_moves_the_mean():
    """prop-cut: off by (cut * mean of F - int_{1-cut}^1 F) / (1 - cut), by quadrature."""
    cut, denoiser = 0.05, Oracle(LANG)
    x, q = texts_of(LANG)
    by_count = loss_by_count(denoiser, x)

    def curve(u):
        return float(q @ loss_curve(by_count, [u])[:, 0])

    kept = integral(lambda s: curve(1 - (cut + (1 - cut) * s)))  # t uniform on [cut, 1]
    full = integral(curve)
    dropped = cut * integral(lambda s: curve(1 - cut * s))
    assert kept - full == pytest.approx((cut * full - dropped) / (1 - cut), abs=TIGHT)
    assert kept > full  # the easy end was dropped
    assert (1 - cut) * kept == pytest.approx(full - dropped, abs=TIGHT)
    assert full - dropped < entropy(q)  # an integral from cut on, and no bound


# T20: low-discrepancy times


def test_t20_stratified_has_one_in_each_stratum_and_every_row_is_uniform():
    for num in (1, 7, 64):
        u = stratified(num, num)
        assert u.dtype == torch.float64
        assert torch.equal((u * num).floor().sort().values, torch.arange(num).double())
    rows = torch.stack([stratified(4, seed) for seed in range(4000)])
    for row in rows.T:
        assert stats.kstest(row.numpy(), "uniform").pvalue > 1e-4
    assert torch.equal(stratified(9, 3), stratified(9, 3))


def test_t20_stratified_stays_below_one():
    """A sum next to num rounds to num: then a count would be L + 1."""

    def almost(shape, generator):
        return torch.full(shape, 1 - 2.0**-53, dtype=torch.float64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdm_lab.objectives.batches.uniforms", almost)
        assert float(stratified(1000, 0).max()) < 1


def times(kind, num, rng):
    """Ways to draw `num` times at once, u in [0, 1)."""
    i = np.arange(num)
    if kind == "independent":
        return rng.random(num)
    if kind == "stratified":
        return stratified(num, int(rng.integers(2**31))).numpy()
    if kind == "shared offset":
        return (rng.random() + i / num) % 1
    return i / num  # a lattice without an offset


def batch_means(kind, num, repeats=3000):
    """Means over a batch of F_L(1 - t) of a rising function, here t^2, with the mean 1/3."""
    rng = np.random.default_rng(0)
    return np.array([(times(kind, num, rng) ** 2).mean() for _ in range(repeats)])


@pytest.mark.parametrize(
    "kind", ["independent", "stratified", "shared offset", mistaken("lattice")]
)
def test_t20_times_of_a_batch_are_unbiased(kind):
    """T20: three ways agree in the mean; the lattice that forgot its offset does not."""
    means = batch_means(kind, 8)
    assert abs(means.mean() - 1 / 3) <= 4 * means.std() / math.sqrt(len(means)) + 1e-12


def test_t20_variances_of_a_batch_mean():
    """prop-low-discrepancy: of t^2, exactly: 4/45 B^-1, (1/3) B^-3 - .., and an order between."""
    for num in (4, 16):
        found = {kind: batch_means(kind, num).var() for kind in ("independent", "stratified")}
        left = np.arange(num) / num
        ends = left + 1 / num
        first, second = ((ends**p - left**p) * num / p for p in (3, 5))
        exact = {"independent": 4 / 45 / num, "stratified": (second - first**2).sum() / num**2}
        for kind, value in exact.items():
            assert found[kind] == pytest.approx(value, rel=0.15)
        offset = batch_means("shared offset", num).var()
        assert exact["stratified"] < offset < exact["independent"]


@pytest.mark.parametrize("shuffled", [True, mistaken(False)])
def test_t20_strata_are_not_tied_to_rows(shuffled):
    """Row 0 of a fixed list of texts must meet all times, or its own estimate is of another."""
    firsts = []
    for seed in range(400):
        u = stratified(8, seed)
        firsts.append(float(u[0] if shuffled else u.sort().values[0]))
    assert abs(np.mean(firsts) - 0.5) < 4 * np.std(firsts) / 20


@pytest.mark.parametrize("globally", [True, mistaken(False)])
def test_t20_strata_are_those_of_the_whole_batch(globally):
    """T20: rows shared among 4 devices after the draw, against a draw for each device."""
    length, devices, num = 16, 4, 16
    x0 = torch.zeros((num, length), dtype=torch.int64)
    for seed in range(20):
        share = num // devices
        if globally:
            batch = exact_count(x0, V, seed)
            parts = [batch.rows(slice(d * share, (d + 1) * share)) for d in range(devices)]
        else:
            parts = [exact_count(x0[:share], V, devices * seed + d) for d in range(devices)]
        counts = torch.cat([(part.inputs == V).sum(dim=1) for part in parts])
        assert sorted(counts.tolist()) == list(range(1, length + 1))


# T21 and T22: train = evaluation, and no clock


class Net(torch.nn.Module):
    """A network of one hidden layer, for texts of four bits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(LENGTH * 3, 16), torch.nn.Tanh(), torch.nn.Linear(16, LENGTH * V)
        )

    def forward(self, xt):
        hot = torch.nn.functional.one_hot(xt, 3).to(self.layers[0].weight.dtype)
        return self.layers(hot.flatten(1)).view(len(xt), LENGTH, V)


@pytest.mark.parametrize("forget", [pytest.param(False, id="stated"), mistaken(True)])
def test_t21_training_and_evaluation_compute_one_number(forget):
    """T21: the loss of training is that of evaluation; forgetting the masks in one shows."""
    net = Net().double()
    x0 = torch.as_tensor(LANG.sample(64, LENGTH, 0))
    for batch in (exact_count(x0, V, 1), continuous_time(x0, V, 2)):
        trained = sequence_loss(net(batch.inputs), batch)
        if forget:
            weights = batch.weights.max(dim=1, keepdim=True).values.expand(x0.shape)
            trained = sequence_loss(net(batch.inputs), Batch(batch.inputs, x0, weights))
        evaluated = batch_loss(NetworkDenoiser(net, V), batch)
        torch.testing.assert_close(trained, evaluated, rtol=1e-10, atol=1e-10)


def test_t21_visible_places_get_no_gradient():
    batch = continuous_time(torch.as_tensor(LANG.sample(64, LENGTH, 0)), V, 2)
    logits = torch.zeros(64, LENGTH, V, requires_grad=True)
    sequence_loss(logits, batch).sum().backward()
    assert (logits.grad[batch.inputs < V] == 0).all()
    assert (logits.grad[batch.inputs == V] != 0).all()


@pytest.mark.parametrize("noise", [pytest.param("masks", id="stated"), mistaken("uniform")])
def test_t22_what_is_to_be_learnt_does_not_depend_on_the_time(noise):
    """T22: the best answer given x_t is the same at every t. With uniform noise it is not."""

    def best(alpha):
        """q(x_0^i | x_t) for every x_t that can be seen at any time, by Bayes."""
        x, q = texts_of(LANG)
        seen = every_state(V, LENGTH) if noise == "masks" else every_x(V, LENGTH)
        if noise == "masks":
            same, other = alpha, 1 - alpha
            factor = np.where(seen[:, None] == V, other, same * (seen[:, None] == x.numpy()))
        else:
            factor = alpha * (seen[:, None] == x.numpy()) + (1 - alpha) / V
        joint = factor.prod(axis=-1) * q.numpy()
        joint = joint[joint.sum(axis=1) > 0]
        law = joint / joint.sum(axis=1, keepdims=True)
        return law @ (x.numpy() == 1)

    np.testing.assert_allclose(best(0.2), best(0.7), atol=1e-12)


def test_t22_a_batch_says_nothing_of_the_time():
    batch = continuous_time(torch.as_tensor(LANG.sample(3, LENGTH, 0)), V, 2)
    assert set(vars(batch)) == {"inputs", "targets", "weights"}
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64


# Five papers, one number


def one_batch(schedule, seed=0, num=200):
    lang = random_table(3, LENGTH, 0.2, 8)
    x0 = torch.as_tensor(lang.sample(num, LENGTH, seed))
    t = np.random.default_rng(seed).uniform(0.01, 0.99, num)
    xt = mask_at(x0, schedule.alpha(t), 3, seed)
    probs = NoisyOracle(lang, 0.3)(xt)
    nats = torch.where(xt == 3, -probs.gather(-1, x0[..., None])[..., 0].log(), 0.0).sum(dim=1)
    return probs, x0, xt, t, nats


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [sedd, mdlm, md4, radd_lambda, llada])
def test_published_losses_are_one_number_on_one_batch(loss):
    """prop-five-papers: the linear schedule."""
    probs, x0, xt, t, nats = one_batch(Linear())
    close(loss(probs, x0, xt, t, Linear()), nats / torch.as_tensor(t))


@pytest.mark.parametrize("schedule", [Cosine(), Power(2), Power(0.5)])
@pytest.mark.parametrize("loss", [sedd, mdlm, md4, mistaken(radd_lambda), mistaken(llada)])
def test_published_losses_with_any_schedule(loss, schedule):
    """prop-five-papers: three are written for any schedule; two for a uniform chance of a mask."""
    probs, x0, xt, t, nats = one_batch(schedule)
    close(loss(probs, x0, xt, t, schedule), nats * torch.as_tensor(schedule.weight(t)))


@pytest.mark.parametrize("schedule", [Linear(), Cosine()])
def test_lambda_loss_is_the_others_over_the_slope(schedule):
    probs, x0, xt, t, _ = one_batch(schedule)
    slope = -torch.as_tensor(schedule.dalpha(t))
    close(slope * radd_lambda(probs, x0, xt, t, schedule), mdlm(probs, x0, xt, t, schedule))


@pytest.mark.parametrize("mean", [pytest.param(0.0, id="stated"), mistaken(0.01)])
def test_t_dce_differs_by_a_constant_of_mean_zero(mean):
    """prop-five-papers: rate * ln(odds) for each mask, and int_0^1 ln(a / (1 - a)) da = 0."""
    for schedule in (Linear(), Cosine()):
        probs, x0, xt, t, _ = one_batch(schedule)
        alpha, rate = (torch.as_tensor(f(t)) for f in (schedule.alpha, schedule.weight))
        constant = rate * (alpha / (1 - alpha)).log() * (xt == 3).sum(dim=1)
        difference = mdlm(probs, x0, xt, t, schedule) - radd_t(probs, x0, xt, t, schedule)
        close(difference, constant)
    # E of the constant at t is L (-alpha') ln(alpha / (1 - alpha)); in alpha = s^2 (3 - 2 s):
    area = integral(
        lambda s: 6 * s * (1 - s) * math.log(s**2 * (3 - 2 * s) / (1 - s**2 * (3 - 2 * s)))
    )
    assert area == pytest.approx(mean, abs=1e-8)


def test_an_exact_count_is_the_same_in_the_mean_only():
    """RADD's and LLaDA's form with L / k: other numbers on a batch, one expectation."""
    x, q = texts_of(LANG)
    denoiser = NoisyOracle(LANG, 0.3)
    c = (q @ loss_by_count(denoiser, x)).numpy()
    by_k = sum(LENGTH / k * k * c[k - 1] for k in range(1, LENGTH + 1)) / LENGTH
    by_t = integral(
        lambda t: num_masked_law(LENGTH, 1 - t).numpy()[1:] * np.arange(1, LENGTH + 1) @ c / t
    )
    assert by_k == pytest.approx(by_t, abs=TIGHT)
