"""The network against what it promises: what it sees, where, and how much it costs."""

import copy
import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from worlds import seeds, worlds

from mdm_lab import transformer
from mdm_lab.denoisers import NetworkDenoiser, Oracle
from mdm_lab.languages import NGram
from mdm_lab.objectives import exact_count
from mdm_lab.training import FromLanguage, Recipe, train
from mdm_lab.transformer import Block, Cache, Shape, Transformer, flops

few = settings(deadline=None, max_examples=15)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


def network(vocab_size=5, width=16, layers=2, heads=2, causal=False, seed=1, sharp=True):
    """A small float64 network; `sharp` makes its logits as large as a trained network's."""
    net = Transformer(Shape(vocab_size, width, layers, heads, causal)).reset(seed).double()
    if sharp:
        with torch.no_grad():
            net.head.weight *= 20
    return net.eval()


def tokens(num, length, vocab_size=5, seed=1):
    """Tokens and masks, (num, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocab_size + 1, (num, length), generator=generator)


def sensitivity(net, x):
    """How much the logits at i move with the embedding of the token at j: (length, length)."""
    seen = []
    net.embedding.register_forward_hook(lambda module, args, out: seen.append(out.requires_grad_()))
    logits = net(x[None])[0]
    weights = torch.randn(logits.shape, dtype=logits.dtype)
    rows = [
        torch.autograd.grad((logits[i] * weights[i]).sum(), seen[-1], retain_graph=True)[0]
        for i in range(len(x))
    ]
    return torch.stack([row[0].norm(dim=-1) for row in rows])


def leaks(net, x):
    """Whether the answer at some position depends on a token behind it."""
    return bool((sensitivity(net, x).triu(1) > 0).any())


# what is seen


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_causal_network_sees_itself_and_the_past_and_nothing_else(layers):
    moves = sensitivity(network(layers=layers, causal=True), tokens(1, 7)[0])
    assert (moves.triu(1) == 0).all()
    assert (moves.tril()[torch.ones(7, 7).tril() > 0] > 1e-6).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_bidirectional_network_sees_every_position_from_every_other(layers):
    assert (sensitivity(network(layers=layers), tokens(1, 7)[0]) > 1e-6).all()


@few
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_answers_of_a_causal_network_do_not_change_with_what_follows(seed, length):
    net = network(causal=True, seed=seed)
    x = tokens(3, length, seed=seed)
    other = x.clone()
    cut = 1 + seed % (length - 1)
    other[:, cut:] = 5 - other[:, cut:]
    a, b = net(x), net(other)
    torch.testing.assert_close(a[:, :cut], b[:, :cut], atol=1e-12, rtol=0)
    assert (a[:, cut:] - b[:, cut:]).abs().max() > 1e-6


def test_one_flag_tells_the_two_kinds_apart():
    """The weights are the same, the last position's answer of one layer too: it sees everything."""
    both, causal = network(layers=1), network(layers=1, causal=True)
    pairs = zip(both.state_dict().items(), causal.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)
    x = tokens(2, 6)
    a, b = both(x), causal(x)
    torch.testing.assert_close(a[:, -1], b[:, -1], atol=1e-12, rtol=0)
    assert (a[:, :-1] - b[:, :-1]).abs().amax(dim=(0, 2)).min() > 1e-6


def test_tightened_leak_is_seen(monkeypatch):
    """A causal network whose attention forgets to be causal is caught by the leak test."""
    net = network(causal=True)
    assert not leaks(net, tokens(1, 6)[0])
    plain = transformer.scaled_dot_product_attention
    monkeypatch.setattr(
        transformer, "scaled_dot_product_attention", lambda q, k, v, is_causal: plain(q, k, v)
    )
    assert leaks(net, tokens(1, 6)[0])


# the head, and the embedding of the mask


def test_head_cannot_say_mask_and_the_input_may_be_one():
    net = network(vocab_size=3)
    x = tokens(4, 6, vocab_size=3)
    assert (x == net.mask_id).any() and net.mask_id == net.vocab_size == 3
    assert net(x).shape == (4, 6, 3)
    assert net.embedding.weight.shape[0] == 4 and net.head.weight.shape[0] == 3
    probs = NetworkDenoiser(net, 3)(x)
    visible = x != 3
    assert probs.shape == (4, 6, 3)
    assert (probs[visible].gather(-1, x[visible][:, None]) == 1).all()  # carry-over
    assert ((probs[~visible] > 0) & (probs[~visible] < 1)).all()
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(4, 6, dtype=torch.float64))


# positions


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4, 8]), st.integers(0, 300))
def test_turned_queries_and_keys_see_the_difference_of_their_positions_only(seed, size, shift):
    """prop-rotary: the product is that of the complex numbers, turned by the difference."""
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, size, generator=generator, dtype=torch.float64)
    angles, length = transformer._angles(size), 6
    products = []
    for start in (0, shift):
        turn = transformer._turns(angles, start, length, torch.float64)
        turned = [transformer._rotate(v.expand(length, size), turn) for v in (q, k)]
        products.append(turned[0] @ turned[1].T)
    torch.testing.assert_close(*products, atol=1e-10, rtol=0)
    along = [torch.diagonal(products[0], d) for d in range(1 - length, length)]
    assert max(float(d.max() - d.min()) for d in along) < 1e-10
    as_complex = [torch.complex(v[: size // 2], v[size // 2 :]) for v in (q, k)]
    for d in range(length):  # query at i, key at i + d
        turn = torch.exp(-1j * d * angles)
        want = (as_complex[0] * as_complex[1].conj() * turn).real.sum()
        torch.testing.assert_close(products[0][0, d], want, atol=1e-10, rtol=0)


def test_turning_keeps_lengths_and_leaves_position_zero_alone():
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    turned = transformer._rotate(x, transformer._turns(transformer._angles(8), 0, 5, torch.float64))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 0], x[:, 0])
    assert (turned[:, 1:] - x[:, 1:]).abs().amax(dim=-1).min() > 1e-3


def test_a_network_depends_on_relative_positions_only(monkeypatch):
    """prop-rotary: read as if it began at place 40, a text gets the same answers."""
    net, x = network(), tokens(2, 6)
    want, turns = net(x), transformer._turns
    monkeypatch.setattr(
        transformer, "_turns", lambda angles, start, *rest: turns(angles, start + 40, *rest)
    )
    torch.testing.assert_close(net(x), want, atol=1e-10, rtol=0)


def test_permutation_of_the_text_permutes_the_answers_only_without_positions(monkeypatch):
    """prop-permutation."""
    net, x = network(), tokens(3, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    assert (net(x[:, order]) - net(x)[:, order]).abs().max() > 1e-3
    monkeypatch.setattr(transformer, "_rotate", lambda v, turn: v)
    torch.testing.assert_close(net(x[:, order]), net(x)[:, order], atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_a_blank_text_looks_the_same_everywhere(causal):
    """prop-blank; one visible token is enough to tell the places apart."""
    net = network(layers=3, causal=causal)
    x = torch.full((1, 7), net.mask_id)
    logits = net(x)[0]
    assert (logits - logits[0]).abs().max() < 1e-12
    x[0, 2] = 0
    others = net(x)[0, 3:]
    assert (others[:, None] - others).abs().amax(dim=-1)[torch.ones(4, 4).triu(1) > 0].min() > 1e-6


def places(lang, length):
    """All contexts with the chance of what they show, and their masked places as (row, i)."""
    xt = torch.tensor(list(product(range(lang.vocab_size + 1), repeat=length)))
    texts, q = lang.enumerate(length)
    masked = xt == lang.mask_id
    agree = (xt[:, None] == torch.as_tensor(texts)) | masked[:, None]
    chance = agree.all(dim=-1).double() @ torch.as_tensor(q)
    return xt, chance, [(r, i) for r, i in masked.nonzero().tolist() if chance[r] > 0]


def mean_error(lang, xt, chance, where, probs, k):
    """The mean learning error with k masks."""
    q, length, total = Oracle(lang)(xt), xt.shape[1], 0.0
    for r, i in where:
        if int((xt[r] == lang.mask_id).sum()) == k:
            kl = (torch.xlogy(q[r, i], q[r, i]) - torch.xlogy(q[r, i], probs[r, i])).sum()
            total += float(chance[r] * kl) / k / math.comb(length, k)
    return total


VIEWS = {
    "nothing": lambda x, i: 0,
    "bag": lambda x, i: tuple(sorted(x)),
    "left": lambda x, i: tuple(x[:i]),
    "window": lambda x, i: (*x[max(i - 1, 0) : i], -1, *x[i + 1 : i + 2]),
}


@settings(deadline=None, max_examples=8)
@given(worlds(), st.sampled_from(sorted(VIEWS)), seeds)
def test_a_view_costs_the_information_that_it_misses(world, view, seed):
    """prop-view: H(X^I | T) - H(X^I | context) by enumeration of texts; no answer does better."""
    lang, length = world[0], min(world[1], 4)
    if length < world[1] and hasattr(lang, "length"):
        return  # a table has its own length
    if hasattr(lang, "n") and length < lang.n:
        return
    k = 1 + seed % length
    texts, q = lang.enumerate(length)
    joint, whole = {}, {}  # how often each value of the view, or the whole context, comes with v
    for text, chance in zip(texts.tolist(), q.tolist(), strict=True):
        for hidden in combinations(range(length), k):
            xt = [lang.mask_id if i in hidden else token for i, token in enumerate(text)]
            for i in hidden:
                weight = chance / k / math.comb(length, k)
                for table, key in ((joint, VIEWS[view](xt, i)), (whole, (tuple(xt), i))):
                    table.setdefault(key, np.zeros(lang.vocab_size))[text[i]] += weight

    def entropy(table):
        laws = np.array(list(table.values()))
        given_key = laws / np.maximum(laws.sum(axis=1, keepdims=True), 1e-300)
        return -(laws * np.log(np.where(laws > 0, given_key, 1.0))).sum()

    xt, chance, where = places(lang, length)
    best = torch.full((*xt.shape, lang.vocab_size), 1 / lang.vocab_size, dtype=torch.float64)
    other = best.clone()
    noise = np.random.default_rng(seed)
    answers = {
        key: (law / law.sum(), noise.random(len(law))) for key, law in joint.items() if law.any()
    }
    for r, i in where:
        if int((xt[r] == lang.mask_id).sum()) == k:
            law, share = answers[VIEWS[view](xt[r].tolist(), i)]
            best[r, i] = torch.as_tensor(law)
            other[r, i] = torch.as_tensor(0.9 * law + 0.1 * share / share.sum())
    cost = mean_error(lang, xt, chance, where, best, k)
    assert abs(cost - (entropy(joint) - entropy(whole))) < 1e-10
    assert mean_error(lang, xt, chance, where, other, k) >= cost - 1e-12


def test_trained_network_beats_the_bag_and_one_without_positions_does_not():
    """prop-permutation and prop-view on a wheel of three places: one can and one cannot."""
    turn = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    wheel, length = NGram(np.full(3, 1 / 3), turn), 3
    xt, chance, where = places(wheel, length)
    q = Oracle(wheel)(xt)
    sums = {}
    for r, i in where:
        key = tuple(sorted(xt[r].tolist()))
        sums[key] = sums.get(key, 0) + chance[r] * q[r, i]
    bag = torch.full_like(q, 1 / 3)
    for r, i in where:
        law = sums[tuple(sorted(xt[r].tolist()))]
        bag[r, i] = law / law.sum()
    recipe = Recipe(150, batch_size=64, learning_rate=1e-2, ema=0.98, precision="float32")
    for positions in (False, True):
        net = Transformer(Shape(3, 16, 2, 2)).reset(1)
        if not positions:
            net.angles.zero_()
        data = FromLanguage(wheel, length)
        run = train(net, exact_count, data, recipe, device="cpu", report=lambda line: None)
        probs = NetworkDenoiser(run.average, 3)(xt)
        for k in (1, 2):
            mine = mean_error(wheel, xt, chance, where, probs, k)
            limit = mean_error(wheel, xt, chance, where, bag, k)
            if positions:
                assert mine < limit / 2
            else:
                assert limit - 1e-6 <= mine < limit + 0.05


# blocks and weights


def test_norm_makes_the_mean_square_one_and_the_scale_of_the_stream_is_not_seen():
    h = torch.randn(4, 7, 16, dtype=torch.float64)
    torch.testing.assert_close(
        transformer._norm(h).square().mean(dim=-1), torch.ones(4, 7, dtype=torch.float64)
    )
    block = Block(Shape(5, 16, 2, 2)).double()
    turn = transformer._turns(transformer._angles(8), 0, 7, torch.float64)
    added = [block(s * h, turn, None, 0) - s * h for s in (1.0, 1000.0)]
    # attention sees norm(h), which does not scale; the perceptron sees h and what attention added
    attention = [
        block.attention_out(block._attend(transformer._norm(s * h), turn, None, 0))
        for s in (1.0, 1000.0)
    ]
    torch.testing.assert_close(*attention, atol=1e-10, rtol=0)
    assert all(torch.isfinite(a).all() for a in added)


def test_a_block_that_adds_nothing_is_the_identity():
    net = network(layers=3)
    with torch.no_grad():
        for block in net.blocks:
            block.attention_out.weight.zero_()
            block.down_out.weight.zero_()
    x = tokens(2, 5)
    want = net.head(transformer._norm(net.embedding(x)))
    assert torch.equal(net(x), want)


@pytest.mark.parametrize(
    "shape", [Shape(3, 16, 1, 2), Shape(8, 64, 2, 4), Shape(31, 32, 5, 1, causal=True)]
)
def test_parameters_are_counted_by_the_formula(shape):
    d, v = shape.width, shape.vocab_size
    formula = (v + 1) * d + shape.layers * 12 * d**2 + d * v
    assert Transformer(shape).parameters_count == formula


def test_reset_gives_the_same_weights_whatever_was_before():
    net = Transformer(Shape(8))
    first = copy.deepcopy(net.reset(5).state_dict())
    torch.manual_seed(99)
    with torch.no_grad():
        net.embedding.weight.fill_(7)
    again = net.reset(5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(net.reset(6).head.weight, first["head.weight"])
    assert "angles" not in first  # made from the shape, not kept in files


@pytest.mark.parametrize("layers", [2, 8])
def test_scales_of_the_first_weights(layers):
    net = Transformer(Shape(16, 64, layers, 4)).reset(3)
    wanted = {"embedding.weight": 1.0, "head.weight": 0.1 * 64**-0.5}
    for name, weight in net.named_parameters():
        scale = weight.shape[1] ** -0.5
        scale *= (2 * layers) ** -0.5 if name.endswith("out.weight") else 1
        scale = wanted.get(name, scale)
        # the standard deviation of n normal numbers is within 5 / sqrt(2 n) of theirs
        assert abs(float(weight.detach().std()) / scale - 1) < 5 / (2 * weight.numel()) ** 0.5, name
    x = tokens(16, 64, vocab_size=16)
    with torch.no_grad():
        logits = net(x)
        h = net.embedding(x)
        turn = transformer._turns(net.angles, 0, 64, torch.float32)
        for block in net.blocks:
            h = block(h, turn, None, 0)
    assert 0.08 < float(logits.std()) < 0.12  # the head's tenth, of a stream whose norm is 1
    probs = logits.double().softmax(dim=-1)
    entropy = -(probs * probs.log()).sum(dim=-1)
    assert float(torch.log(torch.tensor(16.0)) - entropy.mean()) < 0.01
    assert 1 < float(h.square().mean()) < 4  # each block adds little, whatever their number


def test_first_loss_is_that_of_a_guess():
    """prop-first-answers: ln V and at most 1/200 more, in expectation; within 5 deviations."""
    net, x = Transformer(Shape(4, 16, 1, 2)), tokens(8, 8, vocab_size=4)
    with torch.no_grad():
        logits = torch.stack([net.reset(seed)(x) for seed in range(200)]).double()
    loss = (logits.logsumexp(dim=-1) - logits[..., 0]).mean(dim=(1, 2))
    mean, away = float(loss.mean()), 5 * float(loss.std()) / 200**0.5
    assert math.log(4) - away < mean < math.log(4) + 1 / 200 + away
    assert abs(float(logits.var()) - 0.01) < 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 12, "heads": 4}, r"width must be a multiple of 2 \* heads = 8"),
        ({"width": 9, "heads": 3}, r"width must be a multiple of 2 \* heads = 6"),
        ({"width": 0}, "width must be a whole number"),
        ({"width": 16.0}, "width must be a whole number"),
        ({"layers": 0}, "layers must be a whole number"),
        ({"heads": -1}, "heads must be a whole number"),
        ({"vocab_size": 0}, "vocab_size must be a whole number"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Shape(**{"vocab_size": 3, "width": 16, "layers": 1, "heads": 2, **change})


# the cache


@pytest.mark.parametrize("chunks", [[1] * 9, [9], [4, 1, 1, 3], [1, 5, 3]])
def test_cached_pass_is_the_full_pass(chunks):
    net, x = network(layers=3, causal=True), tokens(4, 9)
    cache = Cache(net, 4, 9)
    with torch.no_grad():
        full = net(x)
        parts = [net(part, cache) for part in x.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, atol=1e-12, rtol=0)
    assert cache.length == 9 and cache.store.dtype == torch.float64


def test_a_long_cached_pass_is_the_full_pass():
    net, x = network(causal=True), tokens(2, 60)
    cache = Cache(net, 2, 60)
    with torch.no_grad():
        parts = [net(x[:, i : i + 1], cache) for i in range(60)]
        torch.testing.assert_close(torch.cat(parts, dim=1), net(x), atol=1e-12, rtol=0)


def test_cached_pass_is_the_full_pass_in_float32():
    net, x = network(causal=True).float(), tokens(4, 40)
    cache = Cache(net, 4, 40)
    with torch.no_grad():
        parts = [net(part, cache) for part in x.split([13] + [1] * 27, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), net(x), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("num", "large"), [(1, False), (64, True), (256, True)])
def test_large_products_of_a_cached_pass_are_those_of_the_full_pass(num, large, monkeypatch):
    """In float32 on the CPU, where oneDNN takes over if a product is large; both sides are seen."""
    net, x = network(width=64, heads=4, causal=True).float(), tokens(num, 5)
    asked = []
    if transformer.ONEDNN:
        own = torch.ops.mkldnn._linear_pointwise
        spied = lambda *given: (asked.append(given), own(*given))[1]  # noqa: E731
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spied)
    with torch.no_grad():
        full = net(x)
        for onednn in (True, False):
            monkeypatch.setattr(transformer, "ONEDNN", onednn and transformer.ONEDNN)
            cache = Cache(net, num, 5)
            parts = [net(part, cache) for part in x.split([2, 1, 1, 1], dim=1)]
            torch.testing.assert_close(torch.cat(parts, dim=1), full, atol=2e-5, rtol=0)
            assert bool(asked) == (large and transformer.ONEDNN)
            asked.clear()


def test_a_cached_pass_refuses_gradients_and_does_not_drop_them():
    net = network(width=64, heads=4, causal=True).float()
    with pytest.raises(RuntimeError, match="inplace"):
        net(tokens(64, 1), Cache(net, 64, 1))


def test_cache_says_what_it_cannot_hold():
    with pytest.raises(ValueError, match="causal network"):
        Cache(network(causal=False), 2, 4)
    net = network(causal=True)
    cache = Cache(net, 2, 4)
    with torch.no_grad():
        net(tokens(2, 3), cache)
        with pytest.raises(ValueError, match=r"tokens must be \(2, at most 1\)"):
            net(tokens(2, 2), cache)
        with pytest.raises(ValueError, match="the cache is for 2 rows"):
            net(tokens(1, 1), cache)
        assert cache.length == 3
        net(tokens(2, 1), cache)
    assert cache.length == 4


def test_keys_and_values_of_a_bidirectional_network_change_with_what_follows():
    """Why the cache needs `causal`: from the second layer on what was cached would be wrong."""

    def keys_and_values(net, x):
        seen = []
        for block in net.blocks:
            block.qkv.register_forward_hook(lambda module, args, out: seen.append(out))
        net(x)
        return seen[-len(net.blocks) :]

    x = tokens(2, 6)
    later = x.clone()
    later[:, 4:] = 5 - later[:, 4:]
    for causal in (False, True):
        net = network(causal=causal)
        a, b = keys_and_values(net, x), keys_and_values(net, later)
        first, second = ((u - v)[:, :4].abs().max() for u, v in zip(a, b, strict=True))
        assert first < 1e-12
        assert (second < 1e-12) == causal


# precision and devices


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_products_are_near(causal):
    net, x = network(width=32, causal=causal).float(), tokens(8, 32)
    with torch.no_grad():
        want = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = net(x)
    assert want.dtype == torch.float32 and near.dtype == torch.bfloat16
    away = (near.float() - want).square().mean().sqrt() / want.std()
    assert 1e-4 < float(away) < 0.05  # eight bits of precision, a few roundings in a row


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_logits_have_the_dtype_of_the_weights_and_angles_stay_exact(dtype):
    net = network().to(dtype)
    assert net(tokens(2, 5)).dtype == dtype
    assert net.angles.dtype == torch.float64
    assert torch.equal(net.angles, transformer._angles(8))


def test_far_positions_are_told_apart_after_a_change_of_precision():
    """bfloat16 has no whole numbers between 256 and 258."""
    net = network(causal=True).bfloat16()
    cos, sin = transformer._turns(net.angles, 500, 4, torch.bfloat16)
    assert cos.dtype == torch.float32
    assert len(torch.unique(torch.stack([cos[:, 0], sin[:, 0]]), dim=1)[0]) == 4


@pytest.mark.parametrize("device", DEVICES)
def test_weights_and_answers_do_not_depend_on_the_device(device):
    here = Transformer(Shape(5, 32, 2, 4, causal=True)).reset(2)
    there = Transformer(Shape(5, 32, 2, 4, causal=True)).to(device).reset(2)
    assert there.angles.device.type == device and there.angles.dtype == torch.float64
    pairs = zip(here.parameters(), there.parameters(), strict=True)
    assert all(torch.equal(a, b.cpu()) for a, b in pairs)
    x = tokens(3, 8)
    with torch.no_grad():
        want, got = here.double()(x), there.double()(x.to(device))
        assert got.device.type == device
        torch.testing.assert_close(got.cpu(), want, atol=1e-10, rtol=0)
        cache = Cache(there, 3, 8)
        parts = [there(part, cache) for part in x.to(device).split([5, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1).cpu(), want, atol=1e-10, rtol=0)


# operations


def counted(run):
    """What PyTorch counts in a pass; attention as its two products, which it always is."""
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 17])
def test_flops_are_those_that_pytorch_counts(causal, length):
    shape = Shape(7, 32, 3, 2, causal)
    net, x = Transformer(shape), tokens(2, length)
    assert counted(lambda: net(x)) == 2 * flops(shape, length)


def test_flops_of_cached_passes_are_those_that_pytorch_counts():
    shape = Shape(7, 32, 3, 2, causal=True)
    net, x = Transformer(shape).double(), tokens(2, 9)
    cache = Cache(net, 2, 9)
    for i in range(9):
        assert counted(lambda i=i: net(x[:, i : i + 1], cache)) == 2 * flops(shape, i + 1, True)
    with pytest.raises(ValueError, match="length"):
        flops(shape, 0)


@few
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40))
def test_writing_with_a_cache_costs_less_than_one_pass_and_without_it_far_more(
    heads, layers, length
):
    """prop-flops: token by token with a cache, at most one pass over the text."""
    shape = Shape(5, 8 * heads, layers, heads, causal=True)
    cached = sum(flops(shape, i, cached=True) for i in range(1, length + 1))
    afresh = sum(flops(shape, i) for i in range(1, length + 1))
    once = flops(shape, length)
    assert cached <= once <= afresh
    assert once - cached == 2 * layers * 2 * shape.width * length * (length - 1) // 2
    assert afresh >= (length + 1) / 2 * cached
