"""The autoregressive model against enumeration: its law, its sampler, its cache, its errors."""

import math

import numpy as np
import pytest
import torch
from brute import counts_fit, every_x
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from worlds import ngrams, random_ngram, random_table, tables

from mdm_lab.autoregressive import conditionals, log_prob, sample_autoregressive
from mdm_lab.denoisers import NoisyOracle, Oracle, spoil
from mdm_lab.languages import NGram
from mdm_lab.metrics import (
    autoregressive_learning_error,
    sequence_error_rate,
    teacher_forced_log_prob,
)
from mdm_lab.objectives.batches import autoregressive, sequence_loss
from mdm_lab.reverse import inverse_cdf
from mdm_lab.tensors import uniforms
from mdm_lab.transformer import Cache, Shape, Transformer, flops

few = settings(deadline=None, max_examples=12)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


def network(vocab_size=3, causal=True, seed=1, layers=2, sharp=20):
    """A small float64 network, its logits as large as a trained network's."""
    net = Transformer(Shape(vocab_size, 16, layers, 2, causal)).reset(seed).double()
    with torch.no_grad():
        net.head.weight *= sharp
    return net.eval()


class Conditional(Transformer):
    """A "network" that says ln p(v | what was read), by hand: `law` takes tokens (num, k)."""

    def __init__(self, vocab_size, law):
        super().__init__(Shape(vocab_size, 4, 1, 1, causal=True))
        self.law = law

    def forward(self, tokens, cache=None):
        start, read = 0, tokens
        if cache is not None:
            start = cache.begin(tokens)
            read = tokens if start == 0 else torch.cat([cache.read, tokens], dim=1)
            cache.read, cache.length = read, read.shape[1]
        # the first token read is the start: after k of them the text so far has k - 1
        steps = range(start + 1, read.shape[1] + 1)
        return torch.stack([self.law(read[:, 1:k]).log() for k in steps], dim=1)


def next_token(lang, length, epsilon=0.0):
    """prefix (num, k) -> q(x^{k+1} | prefix), spoilt by epsilon nats: float64 (num, V)."""
    oracle = NoisyOracle(lang, epsilon)

    def law(prefix):
        xt = torch.full((len(prefix), length), lang.mask_id)
        xt[:, : prefix.shape[1]] = prefix
        return oracle(xt)[:, prefix.shape[1]]

    return law


def of_language(lang, length, epsilon=0.0):
    return Conditional(lang.vocab_size, next_token(lang, length, epsilon))


def without_cache(net, num, length, seed, prompt=None):
    """The same sampler by full passes, and the logits that it draws from."""
    u = uniforms((num, length), torch.Generator().manual_seed(seed))
    x = torch.full((num, 1), net.mask_id)
    begin = 0 if prompt is None else prompt.shape[1]
    x = x if prompt is None else torch.cat([x, prompt], dim=1)
    seen = []
    with torch.no_grad():
        for i in range(begin, length):
            seen.append(net(x)[:, -1])
            token = inverse_cdf(seen[-1].double().softmax(dim=-1), u[:, i])
            x = torch.cat([x, token[:, None]], dim=1)
    return x[:, 1:], torch.stack(seen, dim=1)


# the law


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([(2, 6), (3, 4), (5, 2), (1, 3)]))
def test_probabilities_sum_to_one(seed, size):
    """thm-autoregressive-law: over the tokens at each position, and over all texts."""
    net, x = network(size[0], seed=seed), every_x(*size)
    p = conditionals(net, x)
    assert p.dtype == torch.float64 and p.shape == (*x.shape, size[0])
    torch.testing.assert_close(p.sum(dim=-1), torch.ones(x.shape, dtype=torch.float64))
    law = log_prob(net, x).exp()
    assert float(law.sum()) == pytest.approx(1, abs=1e-12)
    if size[0] > 1:
        assert float(law.max() / law.min()) > 2  # not the uniform one, which would hide mistakes


def test_network_that_sees_its_answer_gives_no_law(monkeypatch):
    """Tightened: the same product without the causal mask does not sum to one."""
    monkeypatch.setattr("mdm_lab.autoregressive._check_causal", lambda net: None)
    total = float(log_prob(network(causal=False), every_x(3, 4)).exp().sum())
    assert abs(total - 1) > 1e-3


@few
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_conditional_depends_on_the_tokens_before_it_alone(seed, position):
    """thm-one-pass: exact for what stands before, and it does see all of that."""
    net, x = network(seed=seed), torch.as_tensor(every_x(3, 5))
    p = conditionals(net, x)[:, position]
    prefix = x[:, :position] @ (3 ** torch.arange(position)) if position else torch.zeros(243)
    for value in prefix.unique():
        same = p[prefix == value]
        torch.testing.assert_close(same, same[:1].expand_as(same), atol=1e-13, rtol=0)
    for j in range(position):
        other = x.clone()
        other[:, j] = (other[:, j] + 1) % 3
        assert (conditionals(net, other)[:, position] - p).abs().max() > 1e-8


def test_one_pass_is_as_many_passes_as_tokens():
    net, x = network(layers=3), torch.as_tensor(every_x(3, 4))
    one = conditionals(net, x)
    inputs = torch.cat([torch.full((len(x), 1), 3), x], dim=1)
    with torch.no_grad():
        many = [net(inputs[:, : i + 1])[:, -1].softmax(dim=-1) for i in range(4)]
    torch.testing.assert_close(one, torch.stack(many, dim=1), atol=1e-13, rtol=0)


def test_training_loss_is_the_likelihood():
    net, x = network(), torch.as_tensor(every_x(3, 4))
    batch = autoregressive(x, net.mask_id)
    loss = sequence_loss(net(batch.inputs), batch)
    torch.testing.assert_close(loss.detach(), -log_prob(net, x))


def test_left_to_right_is_one_order_of_a_denoiser():
    """The likelihood is the teacher-forced one of the order that reveals tokens from the left."""
    lang = random_table(2, 5, 0.4, 3)
    x = torch.as_tensor(lang.sample(50, 5, 1))
    want = teacher_forced_log_prob(NoisyOracle(lang, 0.1), x, np.arange(5))
    torch.testing.assert_close(log_prob(of_language(lang, 5, 0.1), x), want)


def test_bidirectional_networks_are_refused():
    net, x = network(causal=False), every_x(3, 2)
    for call in (
        lambda: conditionals(net, x),
        lambda: log_prob(net, x),
        lambda: sample_autoregressive(net, 2, 2, 0),
    ):
        with pytest.raises(ValueError, match="network must be causal"):
            call()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0, 3]], "x must hold no mask"),
        ([[0, 4]], "x must hold tokens in 0..2"),
        ([0, 1], "x must have shape"),
        ([[0.0, 1.0]], "x must hold whole numbers"),
    ],
)
def test_wrong_texts_are_refused(x, message):
    for function in (conditionals, log_prob):
        with pytest.raises(ValueError, match=message):
            function(network(), torch.tensor(x))


# the sampler


def test_sampler_has_the_law_of_the_model():
    net, x = network(3, seed=5), every_x(3, 4)
    law = log_prob(net, x).exp().numpy()
    drawn = sample_autoregressive(net, 10_000, 4, 11).numpy()
    counts = np.bincount(drawn @ 3 ** np.arange(3, -1, -1), minlength=81)
    assert counts_fit(counts, law) > 1e-4
    other = log_prob(network(3, seed=6), x).exp().numpy()
    assert counts_fit(counts, other) < 1e-12  # the test would see another law


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("begin", [0, 3])
def test_cached_sampling_is_sampling_by_full_passes(dtype, begin):
    """prop-cache: token for token from the same uniforms, logits up to rounding."""
    net = network(layers=3).to(dtype)
    prompt = torch.as_tensor(every_x(3, 3)[:20]) if begin else None
    seen = []
    net.register_forward_hook(lambda module, args, out: seen.append(out[:, -1].clone()))
    x = sample_autoregressive(net, 20, 12, 4, prompt=prompt)
    cached = torch.stack(seen, dim=1)
    y, full = without_cache(net, 20, 12, 4, prompt)
    assert torch.equal(x, y)
    atol = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(cached, full, atol=atol, rtol=0)


@pytest.mark.parametrize("begin", [0, 1, 5, 8])
def test_calls_and_tokens_that_they_read(begin):
    """T tokens cost T calls; the first reads start and prompt, each other one token."""
    net, prompt = network(), torch.as_tensor(every_x(3, 8)[7, :begin])
    read, progress = [], []
    net.register_forward_hook(lambda module, args, out: read.append(args[0].shape[1]))
    x = sample_autoregressive(net, 2, 8, 0, prompt=prompt, progress=progress.append)
    assert read == ([begin + 1] + [1] * (7 - begin) if begin < 8 else [])
    assert progress == list(range(8 - begin))
    assert x.shape == (2, 8) and x.dtype == torch.int64
    assert torch.equal(x[:, :begin], prompt.expand(2, -1))


def test_rows_do_not_depend_on_their_batch():
    """Uniforms are drawn row by row: more rows, or a row by itself, and the first stay the same."""
    net = network()
    eight = sample_autoregressive(net, 8, 10, 3)
    assert torch.equal(sample_autoregressive(net, 3, 10, 3), eight[:3])
    assert torch.equal(sample_autoregressive(net, 1, 10, 3), eight[:1])
    assert len(eight.unique(dim=0)) == 8
    assert not torch.equal(sample_autoregressive(net, 8, 10, 4), eight)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(sample_autoregressive(net, 8, 10, generator), eight)
    assert not torch.equal(sample_autoregressive(net, 8, 10, generator), eight)


def test_own_prefix_as_a_prompt_is_continued_in_the_same_way():
    """A uniform belongs to a place of a row, whether the place is prompted or not."""
    net = network()
    x = sample_autoregressive(net, 6, 9, 5)
    for begin in (1, 4, 9):
        assert torch.equal(sample_autoregressive(net, 6, 9, 5, prompt=x[:, :begin]), x)


def test_prompts_stay_and_condition_what_follows():
    net = network(seed=5)
    prompt = torch.tensor([2, 0])
    drawn = sample_autoregressive(net, 5_000, 4, 2, prompt=prompt)
    assert torch.equal(drawn[:, :2], prompt.expand(5_000, 2))
    x = every_x(3, 4)
    kept = (x[:, 0] == 2) & (x[:, 1] == 0)
    law = log_prob(net, x[kept]).exp().numpy()
    counts = np.bincount(drawn[:, 2:].numpy() @ [3, 1], minlength=9)
    assert counts_fit(counts, law / law.sum()) > 1e-4
    each = torch.as_tensor(every_x(3, 2))
    assert torch.equal(sample_autoregressive(net, 9, 5, 0, prompt=each)[:, :2], each)
    assert torch.equal(sample_autoregressive(net, 9, 2, 0, prompt=each.numpy()), each)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([[0, 1]] * 3, r"prompt must be \(k,\) or \(4, k\) with k <= length = 5"),
        ([0] * 6, r"prompt must be \(k,\) or \(4, k\) with k <= length = 5"),
        ([0, 3], "prompt must hold no mask"),
        ([0, -1], "prompt must hold tokens in 0..2"),
        ([0.5, 1.0], "prompt must hold whole numbers"),
        ([[[0]]], "prompt must have shape"),
    ],
)
def test_wrong_prompts_are_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        sample_autoregressive(network(), 4, 5, 0, prompt=torch.tensor(prompt))


@pytest.mark.parametrize(
    ("num", "length", "generator", "message"),
    [
        (0, 5, 0, "num must be a whole number"),
        (2, 0, 0, "length must be a whole number"),
        (2, 2.0, 0, "length must be a whole number"),
        (2, 2, None, "generator must be"),
    ],
)
def test_wrong_sizes_are_refused(num, length, generator, message):
    with pytest.raises(ValueError, match=message):
        sample_autoregressive(network(), num, length, generator)


@pytest.mark.parametrize("device", DEVICES)
def test_sampling_happens_where_the_network_is(device):
    net = network().to(device)
    x = sample_autoregressive(net, 3, 6, 7)
    assert x.device.type == device
    assert torch.equal(x.cpu(), sample_autoregressive(network(), 3, 6, 7))
    assert conditionals(net, x.cpu()).device.type == device
    assert log_prob(net, x).device.type == device


# temperature 1: what is impossible stays so, what is rare can be drawn


def test_impossible_tokens_are_never_drawn_and_rare_ones_are_reached():
    """A logit of -inf, and a probability of 1e-9, which float32 uniforms would miss."""
    rare = torch.tensor([0.0, 0.5, 0.5 - 1e-9, 1e-9], dtype=torch.float64)
    net = Conditional(4, lambda prefix: rare.expand(len(prefix), 4))
    x = sample_autoregressive(net, 500, 20, 1)
    assert not (x == 0).any() and (x == 1).any() and (x == 2).any()
    p = conditionals(net, x[:1])[0, 0]
    u = torch.tensor([0.0, 1 - 2e-9, 1 - 0.5e-9, 1 - 2.0**-53], dtype=torch.float64)
    assert inverse_cdf(p.expand(4, 4), u).tolist() == [1, 2, 3, 3]
    assert float(log_prob(net, torch.tensor([[3]]))) == pytest.approx(math.log(1e-9))
    assert log_prob(net, torch.tensor([[0]])) == -math.inf


def test_sampler_uses_all_digits_of_its_uniforms(monkeypatch):
    rare = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    net = Conditional(2, lambda prefix: rare.expand(len(prefix), 2))
    u = torch.tensor([[0.5, 1 - 2e-9, 1 - 0.5e-9]], dtype=torch.float64)
    monkeypatch.setattr("mdm_lab.autoregressive.uniforms", lambda shape, generator: u)
    assert sample_autoregressive(net, 1, 3, 0).tolist() == [[0, 0, 1]]


# errors


def divergence(q, p):
    """KL(q || p) of two laws written out."""
    on = q > 0
    return float((q[on] * np.log(q[on] / p[on])).sum())


@few
@given(st.one_of(ngrams(), tables()), st.sampled_from([0.0, 0.05, 0.7]))
def test_exact_conditionals_have_no_error_and_spoilt_ones_have_theirs(world, epsilon):
    """thm-autoregressive-excess: KL(q || p) is the sum of the learning errors, L epsilon here."""
    lang, length = world
    net = of_language(lang, length, epsilon)
    x, q = lang.enumerate(length)
    p = log_prob(net, x).exp().numpy()
    assert divergence(q, p) == pytest.approx(length * epsilon, abs=1e-9)
    found = autoregressive_learning_error(
        lambda y: conditionals(net, y), lang, lang.sample(20, length, 1)
    )
    assert found.value == pytest.approx(epsilon, abs=1e-9)
    assert found.worst == pytest.approx(epsilon, abs=1e-9)
    if epsilon == 0:
        assert p[q == 0].sum() == 0
        np.testing.assert_allclose(p, q, atol=1e-12)
        assert (lang.log_prob(sample_autoregressive(net, 200, length, 1)) > -np.inf).all()


@few
@given(st.integers(0, 2**32 - 1))
def test_divergence_of_a_network_is_the_sum_of_its_learning_errors(seed):
    """thm-autoregressive-excess by enumeration, and the estimate of it from every text once."""
    lang, length = random_table(3, 4, 0.3, seed), 4
    net = network(3, seed=seed % 1000)
    x, q = lang.enumerate(length)
    law = log_prob(net, x).exp().numpy()
    p = conditionals(net, x).numpy()
    exact = conditionals(of_language(lang, length), x[q > 0]).numpy()
    errors = [
        sum(
            weight * divergence(a, b)
            for weight, a, b in zip(q[q > 0], exact[:, i], p[q > 0, i], strict=True)
        )
        for i in range(length)
    ]
    assert sum(errors) == pytest.approx(divergence(q, law), abs=1e-10)
    found = autoregressive_learning_error(
        lambda y: conditionals(net, y), lang, x[q > 0], confidence=0.9
    )
    pairs = zip(exact.reshape(-1, 3), p[q > 0].reshape(-1, 3), strict=True)
    plain = np.mean([divergence(a, b) for a, b in pairs])
    assert found.value == pytest.approx(plain, abs=1e-10)


def test_learning_error_covers_the_exact_divergence():
    lang, length = random_ngram(2, 3, 0.3, 4), 5
    net = network(3, seed=2)
    x, q = lang.enumerate(length)
    exact = divergence(q, log_prob(net, x).exp().numpy()) / length
    found = autoregressive_learning_error(
        lambda y: conditionals(net, y), lang, lang.sample(4000, length, 0), confidence=0.999
    )
    assert found.low <= exact <= found.high and found.high - found.low < 0.3 * exact


def survival(lang, net, length):
    """1 - SER from the impossible masses alone: E prod_i (1 - m_i), by walking the possible."""
    x, q = lang.enumerate(length)
    x, law = x[q > 0], conditionals(net, x[q > 0]).numpy()
    open_ = conditionals(of_language(lang, length), x).numpy() > 0  # the possible next tokens
    kept = np.where(open_, law, 0)
    mass = 1 - kept.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        restricted = kept / kept.sum(axis=-1, keepdims=True)
    weight = np.take_along_axis(restricted, x[..., None], axis=-1)[..., 0].prod(axis=1)
    return weight, mass


@few
@given(st.one_of(ngrams(), tables()), st.integers(0, 1000))
def test_sequence_error_rate_is_one_minus_the_expected_survival(world, seed):
    """thm-autoregressive-ser: over the model restricted to what is possible, and its bounds."""
    lang, length = world
    net = network(lang.vocab_size, seed=seed)
    x, q = lang.enumerate(length)
    law = log_prob(net, x).exp().numpy()
    weight, mass = survival(lang, net, length)
    assert weight.sum() == pytest.approx(1, abs=1e-10)
    error = law[q == 0].sum()
    assert 1 - weight @ (1 - mass).prod(axis=1) == pytest.approx(error, abs=1e-10)
    assert error <= weight @ mass.sum(axis=1) + 1e-12
    assert error <= 1 - (1 - mass.max()) ** length + 1e-12
    assert error >= 1 - (1 - mass.min()) ** length - 1e-12
    assert error <= -math.expm1(-divergence(q, law)) + 1e-12


def test_tightened_survival_under_the_language_is_another_number():
    """The law of the contexts matters: with q in the place of the restricted model it is wrong."""
    lang, length = random_table(3, 4, 0.4, 7), 4
    net = network(3, seed=3)
    x, q = lang.enumerate(length)
    error = log_prob(net, x).exp().numpy()[q == 0].sum()
    _, mass = survival(lang, net, length)
    assert abs(1 - q[q > 0] @ (1 - mass).prod(axis=1) - error) > 1e-3


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_bound_is_met_when_every_context_has_an_impossible_token(epsilon):
    """thm-autoregressive-ser: 1 - e^{-L epsilon}, where all errors go to the impossible."""
    transition = np.array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [0.6, 0.0, 0.4]])
    start = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)

    def law(prefix):
        rows = start.expand(len(prefix), 3)
        if prefix.shape[1]:
            rows = torch.as_tensor(transition)[prefix[:, -1]]
        return spoil(rows, epsilon)

    lang, net = NGram(start.numpy(), transition), Conditional(3, law)
    for length in (2, 6):
        x, q = lang.enumerate(length)
        error = float(log_prob(net, x[q == 0]).exp().sum())
        assert error == pytest.approx(-math.expm1(-length * epsilon), rel=1e-9)
        assert error > 1.001 * -math.expm1(-(length - 1) * epsilon)  # no smaller bound holds


def test_small_errors_add_up():
    """cor-autoregressive-first-order: SER and KL tend to the mass on impossible tokens."""
    lang, length = random_ngram(2, 3, 0.4, 5), 5
    exact, noise = next_token(lang, length), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    x, q = lang.enumerate(length)
    contexts = conditionals(of_language(lang, length), x[q > 0])
    slope = float(
        torch.as_tensor(q[q > 0]) @ torch.where(contexts == 0, noise, 0.0).sum(dim=-1).sum(dim=1)
    )
    away, kept = [], []
    for share in (1e-2, 1e-3, 1e-4):
        net = Conditional(3, lambda prefix, s=share: (1 - s) * exact(prefix) + s * noise)
        law = log_prob(net, x).exp().numpy()
        away.append(abs(law[q == 0].sum() / share - slope))
        kept.append(abs(divergence(q, law) / share - slope))
    assert slope > 0.1
    for rest in (away, kept):  # is of second order
        assert rest[0] / rest[1] == pytest.approx(10, rel=0.15)
        assert rest[1] / rest[2] == pytest.approx(10, rel=0.15)


def test_what_is_said_after_an_error_has_no_say():
    """Neither rate depends on the model's answers behind an impossible prefix."""
    lang, length = random_table(2, 5, 0.5, 3), 5
    x, q = lang.enumerate(length)
    plain = next_token(lang, length, 0.2)
    possible = {tuple(row[:k]) for row in x[q > 0].tolist() for k in range(length + 1)}

    def derailed(prefix):
        on = torch.tensor([tuple(row) in possible for row in prefix.tolist()])
        return torch.where(on[:, None], plain(prefix), torch.tensor([0.9, 0.1]).double())

    a, b = (log_prob(Conditional(2, law), x).exp().numpy() for law in (plain, derailed))
    assert np.abs(a - b).max() > 1e-3
    assert a[q == 0].sum() == pytest.approx(b[q == 0].sum(), abs=1e-12)
    assert divergence(q, a) == pytest.approx(divergence(q, b), abs=1e-12)


def test_sampled_error_rate_is_the_enumerated_one():
    lang, length, num = random_ngram(2, 3, 0.4, 2), 5, 5_000
    net = network(3, seed=4)
    x, q = lang.enumerate(length)
    error = float(log_prob(net, x[q == 0]).exp().sum())
    found = sequence_error_rate(lang, sample_autoregressive(net, num, length, 9))
    assert 0.05 < error < 0.95
    assert stats.binomtest(round(found.value * num), num, error).pvalue > 1e-4


# what it costs


@few
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 8), st.integers(2, 50))
def test_without_a_cache_it_is_half_to_two_thirds_of_the_length_times_the_work(
    length, layers, heads, vocab_size
):
    """prop-without-cache: between (L + 1)/2 and (2L + 1)/3."""
    shape = Shape(vocab_size, 4 * heads, layers, heads, causal=True)
    cached = sum(flops(shape, i, cached=True) for i in range(1, length + 1))
    full = sum(flops(shape, i) for i in range(1, length + 1))
    assert (length + 1) / 2 <= full / cached * (1 + 1e-12)
    assert full / cached <= (2 * length + 1) / 3 * (1 + 1e-12)
    calls = full / flops(shape, length)
    assert (length + 1) * (2 * length + 1) / (6 * length) <= calls * (1 + 1e-12)
    assert calls <= (length + 1) / 2 * (1 + 1e-12)
    assert cached <= flops(shape, length)


def test_tightened_neither_factor_can_be_better():
    """Wide networks come near the lower factor, long texts near the upper one."""

    def factor(width, length):
        shape = Shape(2, width, 1, 1, causal=True)
        cached = sum(flops(shape, i, cached=True) for i in range(1, length + 1))
        return sum(flops(shape, i) for i in range(1, length + 1)) / cached

    assert factor(2**14, 8) < 1.001 * (8 + 1) / 2
    assert factor(2, 5000) > 0.98 * (2 * 5000 + 1) / 3


def test_tokens_processed_with_and_without_cache():
    """L tokens against L (L + 1)/2: what a hook counts."""
    net, read = network(), []
    net.register_forward_hook(lambda module, args, out: read.append(args[0].shape[1]))
    sample_autoregressive(net, 1, 9, 0)
    assert sum(read) == 9
    read.clear()
    without_cache(net, 1, 9, 0)
    assert sum(read) == 9 * 10 // 2


def test_old_keys_and_values_stay_only_in_a_causal_network():
    """prop-cache: what is stored of a position, before and after more tokens are known."""

    def stored(net, x):
        seen = []
        hooks = [
            block.qkv.register_forward_hook(lambda module, args, out: seen.append(out))
            for block in net.blocks
        ]
        with torch.no_grad():
            net(x)
        for hook in hooks:
            hook.remove()
        return torch.stack(seen)

    x = torch.as_tensor(every_x(3, 6)[::50])
    before = x.clone()
    before[:, 3:] = 3  # a diffusion model sees the rest as masks
    for causal in (True, False):
        net = network(causal=causal, layers=3)
        moved = (stored(net, x) - stored(net, before))[:, :, :3].abs().amax(dim=(1, 2, 3))
        assert moved[0] < 1e-13  # the first layer's depend on their own token alone
        assert ((moved[1:] < 1e-13) == causal).all()
    assert Cache(network(), 1, 4).length == 0


def test_oracle_in_the_place_of_a_network_needs_no_training():
    """The fake network of these tests is the language: cached or not, one pass or many."""
    lang, length = random_ngram(3, 2, 0.3, 1), 6
    net = of_language(lang, length)
    x = torch.as_tensor(lang.sample(10, length, 0))
    want = [
        Oracle(lang)(torch.where(torch.arange(length) < i, x, lang.mask_id))[:, i]
        for i in range(length)
    ]
    torch.testing.assert_close(conditionals(net, x), torch.stack(want, dim=1))
    y, _ = without_cache(net, 10, length, 3)
    assert torch.equal(sample_autoregressive(net, 10, length, 3), y)
