"""Hidden Markov models, and two counterexamples: `pairs` and `shared_bits`."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mdm_lab.checks import check_positive_int, check_probabilities
from mdm_lab.languages.base import Language
from mdm_lab.languages.random import random_rows, stationary_law
from mdm_lab.posterior import MessageModel, messages, tracker


@dataclass(frozen=True, eq=False)
class HMM(Language):
    """q(x) = sum_z initial(z^1) prod_i transition(z^i | z^{i-1}) prod_i emission(x^i | z^i).

    z is a hidden chain. initial (S,), transition (S, S) with a row for the state before, emission
    (S, V) with a row for the state.
    """

    initial: np.ndarray
    transition: np.ndarray
    emission: np.ndarray

    def __post_init__(self):
        initial = check_probabilities(self.initial, "initial", (None,))
        states = len(initial)
        transition = check_probabilities(self.transition, "transition", (states, states))
        emission = check_probabilities(self.emission, "emission", (states, None))
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "transition", transition)
        object.__setattr__(self, "emission", emission)

    @classmethod
    def random(cls, num_states, vocab_size, prune=0.0, rng=0):
        """Rows uniform on the simplex, chances under `prune` cut; starts from its stationary law.

        Raises ValueError when the pruned chain is reducible or never uses some token.
        """
        num_states = check_positive_int(num_states, "num_states")
        vocab_size = check_positive_int(vocab_size, "vocab_size", minimum=2)
        rng = np.random.default_rng(rng)
        transition = random_rows((num_states, num_states), prune, rng)
        emission = random_rows((num_states, vocab_size), prune, rng)
        law = cls(np.full(num_states, 1 / num_states), transition, emission).stationary()
        if ((law @ emission) == 0).any():
            raise ValueError("prune leaves a token that never occurs: use a smaller prune")
        return cls(law, transition, emission)

    @property
    def num_states(self):
        """S, the number of hidden states."""
        return len(self.initial)

    @property
    def vocab_size(self):
        """V, the number of tokens."""
        return self.emission.shape[1]

    def stationary(self):
        """The law (S,) of the hidden state that a step does not change; unique or a ValueError."""
        return stationary_law(
            lambda law: law @ self.transition,
            lambda values: self.transition @ values,
            self.num_states,
            "the HMM",
        )

    def entropy(self, length):
        """Not known in closed form: see `entropy_bounds` and `entropy_estimate`."""
        raise NotImplementedError(
            "the entropy of an HMM has no closed form: use entropy_bounds(length, depth), which "
            "encloses it, or entropy_estimate(length, num, rng), which samples it"
        )

    def entropy_rate(self):
        """Not known in closed form: see `entropy_rate_bounds`."""
        raise NotImplementedError(
            "the entropy rate of an HMM has no closed form: use entropy_rate_bounds(depth)"
        )

    def entropy_bounds(self, length, depth):
        """(low, high) around H(X) of `length` tokens, nats; O((length + S) S V^depth).

        H(X) sums H(X_i | all before). Forgetting all but the depth-1 tokens before i raises each
        term, learning the hidden state in front of them as well lowers it. The two meet
        geometrically in depth when every transition is possible; at depth = length they agree.
        """
        length = self._check_length(length)
        depth = min(check_positive_int(depth, "depth", minimum=2), length)
        blocks, shorter = self._blocks(depth), self._blocks(depth - 1)
        laws = self._model.state_laws(length)[:, 0]
        low = high = _entropy(laws[0] @ blocks)
        gain, seen = (0.0, 0.0), None
        for law in laws[1 : length - depth + 1]:
            if seen is None or np.abs(law - seen).max() > 1e-15:
                gain, seen = _gains(law, blocks, shorter), law
            low, high = low + gain[0], high + gain[1]
        return float(low), float(high)

    def entropy_rate_bounds(self, depth):
        """(low, high) around the entropy rate, nats per token; O(S^2 V^depth)."""
        depth = check_positive_int(depth, "depth", minimum=2)
        low, high = _gains(self.stationary(), self._blocks(depth), self._blocks(depth - 1))
        return float(low), float(high)

    def entropy_estimate(self, length, num, rng):
        """(value, standard error) of H(X), nats, from the mean of -log q over `num` samples."""
        num = check_positive_int(num, "num", minimum=2)
        values = -self.log_prob(self.sample(num, length, rng))
        return float(values.mean()), float(values.std(ddof=1) / np.sqrt(num))

    def _blocks(self, depth):
        """(S, V^depth): the law of the next `depth` tokens given the state at the first of them."""
        blocks = self.emission
        for _ in range(depth - 1):
            blocks = np.einsum("zx,zb->zxb", self.emission, self.transition @ blocks)
            blocks = blocks.reshape(self.num_states, -1)
        return blocks

    @cached_property
    def _model(self):
        return MessageModel(self.initial[None], self.transition[:, None, :], self.emission)

    def _sample(self, num, length, rng):
        x = np.empty((num, length), dtype=np.int64)
        state = messages.draw(np.broadcast_to(self.initial, (num, self.num_states)), rng)
        for i in range(length):
            if i:
                state = messages.draw(self.transition[state], rng)
            x[:, i] = messages.draw(self.emission[state], rng)
        return x

    def _log_prob(self, x):
        return messages.log_evidence(self._model, x)

    def _posterior(self, xt, off_support):
        return messages.posterior(self._model, xt, off_support)

    def _leave_one_out(self, x, off_support):
        return messages.leave_one_out(self._model, x, off_support)

    def _sample_joint(self, xt, rng):
        return messages.sample_joint(self._model, xt, rng)

    def _tracker(self, xt):
        return tracker.MessageTracker(self._model, xt)


def pairs(vocab_size=16):
    """The HMM whose tokens 2j and 2j+1 agree and are otherwise independent and uniform.

    Its states are (first, token) and (second, token): 2 vocab_size of them. At an odd length the
    last token has no partner.
    """
    v = check_positive_int(vocab_size, "vocab_size", minimum=2)
    uniform, same, none = np.full((v, v), 1 / v), np.eye(v), np.zeros((v, v))
    return HMM(
        initial=np.concatenate([np.full(v, 1 / v), np.zeros(v)]),
        transition=np.block([[none, same], [uniform, none]]),
        emission=np.concatenate([same, same]),
    )


def shared_bits(reach=2):
    """The HMM over 4^reach tokens in which each token shares a bit with each of its neighbours.

    A token holds 2 reach fair bits: one shared with each of the `reach` tokens before it and one
    with each of the `reach` after it. All bits are independent. 16 tokens at reach = 2; reach is 1,
    2 or 3. Token = the bits as a binary number: those shared with the tokens 1, ..., reach places
    before come first, then those shared with the tokens 1, ..., reach places after.

    A state is the set of bits that reach across or end at a position, bit[a, b] with a tokens back
    and b ahead, a + b <= reach.
    """
    reach = check_positive_int(reach, "reach")
    if reach > 3:
        raise ValueError(f"reach must be 1, 2 or 3, else the states are too many; got {reach}")
    spans = [(a, b) for a in range(reach + 1) for b in range(reach + 1) if 0 < a + b <= reach]
    states = np.indices((2,) * len(spans)).reshape(len(spans), -1).T
    bit = {span: states[:, k] for k, span in enumerate(spans)}
    before = [bit[d, 0] for d in range(1, reach + 1)]
    after = [bit[0, d] for d in range(1, reach + 1)]
    token = sum(b << k for k, b in enumerate(reversed([*before, *after])))
    # bit[a, b] is bit[a - 1, b + 1] one token earlier; those with a = 0 are new, fair coins
    old = [(np.array(bit[a, b]), np.array(bit[a - 1, b + 1])) for a, b in spans if a > 0]
    agree = np.ones((len(states),) * 2, dtype=bool)
    for now, earlier in old:
        agree &= earlier[:, None] == now[None]
    uniform = np.full(len(states), 1 / len(states))
    return HMM(
        initial=uniform,
        transition=agree / agree.sum(axis=1, keepdims=True),
        emission=np.eye(4**reach)[token],
    )


def _entropy(law):
    return -(law * np.log(np.where(law > 0, law, 1))).sum(axis=-1)


def _gains(law, blocks, shorter):
    """Bounds on H(last token of a block | all tokens before): given the first state, and not."""
    return (
        law @ (_entropy(blocks) - _entropy(shorter)),
        _entropy(law @ blocks) - _entropy(law @ shorter),
    )
