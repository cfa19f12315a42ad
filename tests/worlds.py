"""Small random worlds for the tests: languages that can be enumerated, with zeros on purpose."""

import numpy as np
from hypothesis import strategies as st

from mdm_lab.languages import HMM, NGram, Table, pairs


def law(rng, shape, zeros):
    """A random law over the last axis with about a share `zeros` of impossible outcomes."""
    weights = rng.exponential(size=shape)
    kept = rng.random(shape) >= zeros
    kept[..., 0] |= ~kept.any(axis=-1)
    weights = np.where(kept, weights, 0)
    return weights / weights.sum(axis=-1, keepdims=True)


def random_ngram(n, vocab_size, zeros, seed):
    """An n-gram that does not start from its stationary law."""
    rng = np.random.default_rng(seed)
    initial = law(rng, (vocab_size ** (n - 1),), zeros).reshape((vocab_size,) * (n - 1))
    return NGram(initial, law(rng, (vocab_size,) * n, zeros))


def random_hmm(states, vocab_size, zeros, seed):
    """An HMM that does not start from its stationary law."""
    rng = np.random.default_rng(seed)
    return HMM(
        law(rng, (states,), zeros),
        law(rng, (states, states), zeros),
        law(rng, (states, vocab_size), zeros),
    )


def random_table(vocab_size, length, zeros, seed):
    """A law with no structure at all."""
    rng = np.random.default_rng(seed)
    return Table(law(rng, (vocab_size**length,), zeros).reshape((vocab_size,) * length))


def as_table(lang, length):
    """The same law written out: the brute-force reference for every exact routine."""
    _, q = lang.enumerate(length)
    return Table((q / q.sum()).reshape((lang.vocab_size,) * length))


seeds = st.integers(0, 2**32 - 1)
zeros = st.sampled_from([0.0, 0.3, 0.6])


@st.composite
def ngrams(draw, orders=(2, 3, 4)):
    """(NGram, length) with at most a few hundred sequences."""
    n = draw(st.sampled_from(orders))
    vocab_size, length = draw(st.sampled_from([(2, n), (2, n + 1), (2, 7), (3, max(n, 5))]))
    return random_ngram(n, vocab_size, draw(zeros), draw(seeds)), max(length, n)


@st.composite
def hmms(draw):
    """(HMM, length) with at most a few hundred sequences."""
    if draw(st.booleans()) and draw(st.booleans()):
        return pairs(2), draw(st.sampled_from([4, 5]))
    states = draw(st.integers(1, 4))
    vocab_size, length = draw(st.sampled_from([(2, 1), (2, 7), (3, 2), (3, 5)]))
    return random_hmm(states, vocab_size, draw(zeros), draw(seeds)), length


@st.composite
def tables(draw):
    """(Table, length)."""
    vocab_size, length = draw(st.sampled_from([(2, 1), (2, 5), (3, 4)]))
    return random_table(vocab_size, length, draw(zeros), draw(seeds)), length


def worlds():
    """(language, length) of any kind."""
    return st.one_of(ngrams(), hmms(), tables())


@st.composite
def reveals(draw, max_steps=3):
    """A reveal list of any shape, zeros and ones in the middle included."""
    chance = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
    return np.array([*draw(st.lists(chance, max_size=max_steps - 1)), 1.0])


def masked(lang, x, seed, share=0.5):
    """x with about `share` of its tokens masked."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(x.shape) < share, lang.mask_id, x)


def every_state(vocab_size, length):
    """All (V+1)^L partially masked sequences."""
    return np.indices((vocab_size + 1,) * length).reshape(length, -1).T
