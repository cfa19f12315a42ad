"""One model of states for n-grams and HMMs, and the two ways to carry a message by one position.

The state at position i is a pair (r, w). For an HMM, w is the hidden state and r is trivial
(R = 1). For an n-gram the state is the context of the last n-1 tokens, w being the newest token
and r the R = V^{n-2} older ones; it moves (a, r') -> (r', y), so a step sums over the oldest token
a only and costs V^n instead of V^{2(n-1)}. Before n-1 tokens stand, the context is padded with
token 0, which gives every position a state of its own (chapter *Exact posteriors*).

Messages are laid out (R, W, num): the batch comes last, so that a step is R small matrix products
over the whole batch.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class MessageModel:
    """A chain of states (r, w) with emissions from w.

    initial     (R, W)        law of the state at position 0
    transition  (W, R, W)     [a, r, y]: chance that y follows the context (a, r)
    emission    (W, V)        chance of each token, given w
    opening     tuple of (W, R, W): the transitions out of positions 0, 1, ... where they differ
    """

    initial: np.ndarray
    transition: np.ndarray
    emission: np.ndarray
    opening: tuple = ()

    @property
    def vocab_size(self):
        """V; the mask is token V."""
        return self.emission.shape[1]

    @cached_property
    def _kernels(self):
        # (forward (R, y, a), backward (R, a, y)) for the bulk, then for each opening step
        tensors = (self.transition, *self.opening)
        return [
            (np.ascontiguousarray(t.transpose(1, 2, 0)), np.ascontiguousarray(t.transpose(1, 0, 2)))
            for t in tensors
        ]

    def kernel(self, position):
        """The step out of `position` as matrices: forward (R, y, a), backward (R, a, y)."""
        return self._kernels[position + 1 if position < len(self.opening) else 0]

    @cached_property
    def evidence(self):
        """(W, V + 1): the emission with a column of ones for the mask."""
        return np.concatenate([self.emission, np.ones((len(self.emission), 1))], axis=1)

    def push(self, alpha, position, out=None):
        """Carry alpha (R, W, num) from `position` to the next one: sum over the oldest token."""
        r, w, num = alpha.shape
        return np.matmul(
            self.kernel(position)[0], alpha.reshape(w, r, num).transpose(1, 0, 2), out=out
        )

    def pull(self, beta, position, out=None):
        """Carry beta (R, W, num) from `position` + 1 back to `position`."""
        r, w, num = beta.shape
        out = np.empty_like(beta) if out is None else out
        np.matmul(self.kernel(position)[1], beta, out=out.reshape(w, r, num).transpose(1, 0, 2))
        return out

    def read_out(self, belief):
        """Token probabilities (..., V, num) from beliefs over states (..., R, W, num)."""
        tokens = self.emission.T @ belief.sum(axis=-3)
        tokens /= tokens.sum(axis=-2, keepdims=True)
        return tokens

    def state_laws(self, length):
        """(length, R, W): the law of the state at each position when nothing is visible."""
        laws = np.empty((length, *self.initial.shape))
        laws[0] = self.initial
        for i in range(1, length):
            laws[i] = self.push(laws[i - 1, :, :, None], i - 1)[..., 0]
        return laws

    def token_laws(self, length):
        """(length, V): the law of the token at each position when nothing is visible."""
        return self.state_laws(length).sum(axis=1) @ self.emission
