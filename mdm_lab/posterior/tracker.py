"""Beliefs that follow a sequence while its tokens are revealed, so that only reveals cost work.

A tracker holds the evidence of a batch. `reveal` adds tokens, `at` answers at chosen positions
with the local policy for impossible evidence. Over a whole run every token is revealed once, so
the work does not grow with the number of steps.
"""

import numpy as np

from mdm_lab.posterior import chain
from mdm_lab.posterior.impossible import without_impossible

SAME = 1e-12  # a message that moves by less than this, relatively, has settled
STRETCH = 16  # places renewed one after the other before asking whether messages have settled
FAINT = 1e-100  # messages that sink below this within a stretch are scaled at every place
PART = 2**17  # message entries renewed at a time: what a processor keeps close at hand


class PlainTracker:
    """The evidence alone: asks `posterior(xt)` of the rows in question each time."""

    def __init__(self, posterior, xt):
        self._posterior = posterior
        self.xt = xt.copy()

    def reveal(self, rows, places, tokens):
        """Make `tokens` (K,) visible at (rows, places)."""
        self.xt[rows, places] = tokens

    def at(self, rows, places):
        """(K, V): q(x0^i | xt) at (rows, places)."""
        unique, back = np.unique(rows, return_inverse=True)
        return self._posterior(self.xt[unique])[back, places]


class ChainTracker:
    """First-order chains: looks up the nearest visible neighbours of each place asked for."""

    def __init__(self, table, xt):
        self._table = table
        self._alone = table.laws > 0
        self.xt = without_impossible(self._alone, xt)

    def reveal(self, rows, places, tokens):
        """Make `tokens` (K,) visible at (rows, places)."""
        possible = self._alone[places, tokens]
        self.xt[rows[possible], places[possible]] = tokens[possible]

    def at(self, rows, places):
        """(K, V): q(x0^i | xt) at masked (rows, places)."""
        return chain.posterior_at(self._table, self.xt, rows, places)


class MessageTracker:
    """n-grams and HMMs: a reveal renews the messages around it, out to where they settle.

    Messages are renewed by stretches of places; behind its last token a sequence is filled up with
    masks to whole stretches. The local policy goes along: where a forward message vanishes the
    evidence is cut and the filter starts afresh, and a cut that comes or goes renews the backward
    messages before it. The two ends of a sequence are cuts that stay.
    """

    def __init__(self, model, xt):
        num, length = xt.shape
        self._model = model
        self._size = max(STRETCH, len(model.opening) + 1)  # all the opening is in the first one
        self._count = -(-length // self._size)  # stretches of a sequence
        shape = self._count, self._size, *model.initial.shape
        laws = model.state_laws(self._count * self._size)
        self._laws = laws.reshape(shape)
        self._alone = laws.sum(axis=1) @ model.emission > 0
        # messages are (num, count, size, R, W) here, those at the end of a stretch with maximum 1;
        # at first nothing is visible
        self._tokens = np.full((num, *shape[:2]), model.vocab_size)
        top = self._laws.max(axis=(2, 3), keepdims=True)
        self._alpha = np.repeat((self._laws / top)[None], num, axis=0)
        self._beta = np.ones_like(self._alpha)
        self._cut = np.zeros((num, len(laws)), dtype=bool)  # just behind each place
        self._cut[:, -1] = True
        visible = np.nonzero(xt < model.vocab_size)
        self.reveal(*visible, xt[visible])

    def reveal(self, rows, places, tokens):
        """Make `tokens` (K,) visible at (rows, places)."""
        possible = self._alone[places, tokens]
        rows, places, tokens = rows[possible], places[possible], tokens[possible]
        here, k = np.divmod(places, self._size)
        self._tokens[rows, here, k] = tokens
        touched = np.unique(rows * self._count + here)  # a number for each stretch
        self._recut = [touched]
        self._renew(self._alpha, self._forward, touched, +1)
        if len(self._recut) > 1:
            touched = np.unique(np.concatenate(self._recut))
        self._renew(self._beta, self._backward, touched, -1)

    def at(self, rows, places):
        """(K, V): q(x0^i | xt) at masked (rows, places)."""
        where = rows, *np.divmod(places, self._size)
        belief = self._alpha[where] * self._beta[where]
        return self._model.read_out(belief.transpose(1, 2, 0)).T

    def _renew(self, store, message, touched, direction):
        """Recompute the messages of the touched stretches, and of the next ones while ends move.

        A stretch that starts from an old message, because its neighbour is renewed as well, is
        renewed again if that message has moved: what is left behind is that of a full sweep.
        """
        end = -1 if direction > 0 else 0
        part = max(1, PART // self._laws[0].size)
        for begin in range(0, len(touched), part):
            rows, here = np.divmod(touched[begin : begin + part], self._count)
            while len(rows):
                new = message(rows, here)
                top = new[end].max(axis=(0, 1))
                new /= np.where(top > 0, top, 1)  # 0 while a neighbour waits for its turn
                new = new.transpose(3, 0, 1, 2)
                last = new[:, end]
                moved = np.abs(last - store[rows, here, end]) > SAME * last
                store[rows, here] = new
                here = here + direction
                on = moved.any(axis=(1, 2)) & (here >= 0) & (here < self._count)
                rows, here = rows[on], here[on]

    def _forward(self, rows, here):
        """Forward messages (size, R, W, K) of the stretches `here`; brings cuts up to date."""
        new, cut = self._ahead(rows, here)
        faint = np.flatnonzero(new[-1].max(axis=(0, 1)) < FAINT)
        if faint.size:
            new[..., faint], cut[faint] = self._ahead(rows[faint], here[faint], careful=True)
        before = here[:, None] * self._size + np.arange(-1, self._size - 1)
        changed = self._cut[rows[:, None], before] != cut
        if changed.any():
            self._cut[rows[:, None], before] = cut
            row, _ = np.nonzero(changed)
            self._recut.append(rows[row] * self._count + before[changed] // self._size)
        return new

    def _backward(self, rows, here):
        """Backward messages (size, R, W, K) of the stretches `here`."""
        new = self._behind(rows, here)
        faint = np.flatnonzero(new[0].max(axis=(0, 1)) < FAINT)
        if faint.size:
            new[..., faint] = self._behind(rows[faint], here[faint], careful=True)
        return new

    def _ahead(self, rows, here, careful=False):
        """Forward messages and the cuts (K, size) just before each place.

        If `careful`, every message is scaled, and the evidence cut where it vanishes.
        """
        new, turned, evidence, first, opening = self._begin(rows, here)
        new[0] = self._alpha[rows, here - 1, -1].transpose(1, 2, 0)
        cut = np.zeros((len(rows), self._size), dtype=bool)
        cut[first, 0] = True
        kernel = self._model.kernel(self._size)[0]
        for k in range(self._size):
            step = np.matmul(kernel, turned[k], out=new[k + 1])
            if k == 0:
                step[..., first] = self._laws[0, 0][..., None]
            elif k <= opening:
                step[..., first] = self._model.kernel(k - 1)[0] @ turned[k][..., first]
            step *= evidence[k]
            if careful:
                dead = step.max(axis=(0, 1)) == 0
                cut[dead, k] = True
                fresh = self._laws[here[dead], k].transpose(1, 2, 0)
                step[..., dead] = fresh * evidence[k][..., dead]
                step /= step.max(axis=(0, 1))
        return new[1:], cut

    def _behind(self, rows, here, careful=False):
        """Backward messages; if `careful`, every one is scaled."""
        new, turned, evidence, first, opening = self._begin(rows, here)
        new[-1] = self._beta[rows, (here + 1) % self._count, 0].transpose(1, 2, 0)
        cut = self._cut.reshape(-1, self._count, self._size)[rows, here]
        cuts = cut.any(axis=0)
        kernel = self._model.kernel(self._size)[1]
        for k in reversed(range(self._size)):
            np.matmul(kernel, new[k + 1], out=turned[k])
            step = new[k]
            if k < opening:
                turned[k][..., first] = self._model.kernel(k)[1] @ new[k + 1][..., first]
            if cuts[k]:
                step[..., cut[:, k]] = 1
            step *= evidence[k]
            if careful:
                top = step.max(axis=(0, 1))
                step /= np.where(top > 0, top, 1)
        return new[:-1]

    def _begin(self, rows, here):
        """What a pass over the stretches `here` starts from.

        Room for messages (size + 1, R, W, K); the same room by oldest token, as a step forward
        reads and a step back writes it; the evidence (size, 1, W, K); which stretches are the
        first of their rows; and the number of opening steps in those.
        """
        r, w = self._model.initial.shape
        new = np.empty((self._size + 1, r, w, len(rows)))
        turned = new.reshape(-1, w, r, len(rows)).transpose(0, 2, 1, 3)
        tokens = self._tokens[rows, here].T
        evidence = self._model.evidence.take(tokens, axis=1).transpose(1, 0, 2)[:, None]
        first = here == 0
        return new, turned, evidence, first, len(self._model.opening) if first.any() else 0
