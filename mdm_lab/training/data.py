"""Training data: a function of the number of a step, drawn on the fly or read from a file.

    data(step, batch_size) -> x0, int64 (batch_size, length), always the same for the same step

so that nothing has to be remembered in order to go on where a run was stopped.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mdm_lab.checks import check_positive_int
from mdm_lab.training.recipe import seed_of

ROWS_AT_A_TIME = 10_000
CORPUS = 3  # what a seed is for: a corpus is not the text of `FromLanguage` with its seed


@dataclass(frozen=True)
class FromLanguage:
    """Fresh samples of a language in every step: no sequence is met twice, nothing can overfit."""

    lang: object
    length: int
    seed: int = 0

    def __call__(self, step, batch_size):
        """Sequences of a step: int64 (batch_size, length)."""
        return torch.as_tensor(self.lang.sample(batch_size, self.length, seed_of(self.seed, step)))


@dataclass(frozen=True)
class FromFile:
    """The rows of a corpus made by `write_corpus`, epoch after epoch, each in an order of its own.

    The file is mapped and not read: what is held in memory is the rows of a batch and an order of
    the rows. Rows that would not fill the last batch of an epoch wait for the next.
    Raises ValueError if the file does not hold a (num, length) array of whole numbers.
    """

    path: Path
    seed: int = 0

    def __call__(self, step, batch_size):
        """Sequences of a step: int64 (batch_size, length)."""
        in_epoch = len(self.rows) // batch_size
        if in_epoch == 0:
            raise ValueError(f"batch_size must be at most {len(self.rows)}, the rows of the corpus")
        epoch, place = divmod(step, in_epoch)
        chosen = self._order(epoch)[place * batch_size : (place + 1) * batch_size]
        return torch.as_tensor(self.rows[np.sort(chosen)].astype(np.int64))

    @cached_property
    def rows(self):
        """The corpus, (num, length), mapped into memory."""
        try:
            rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{self.path} must be a .npy file of numbers: {error}") from error
        if not isinstance(rows, np.memmap) or rows.ndim != 2 or rows.dtype.kind not in "ui":
            found = f"{rows.dtype} {rows.shape}" if hasattr(rows, "dtype") else "several arrays"
            raise ValueError(f"{self.path} must hold whole numbers (num, length); got {found}")
        return rows

    def _order(self, epoch):
        """The order of the rows in an epoch; kept, since it serves many steps."""
        kept = self.__dict__.get("_kept")
        if kept is None or kept[0] != epoch:
            order = np.random.default_rng(seed_of(self.seed, epoch)).permutation(len(self.rows))
            kept = self.__dict__["_kept"] = (epoch, order)
        return kept[1]


def write_corpus(path, lang, num, length, seed=0):
    """Draw `num` sequences of a language into a .npy file, a byte a token if V allows.

    Only `ROWS_AT_A_TIME` rows are held in memory. The file appears when it is complete.
    """
    num, length = check_positive_int(num, "num"), check_positive_int(length, "length")
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    dtype = np.uint8 if lang.vocab_size <= 256 else np.uint16 if lang.vocab_size <= 65536 else int
    try:
        with open(partial, "wb") as file:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (num, length)}
            np.lib.format.write_array_header_1_0(file, header)
            for begin in range(0, num, ROWS_AT_A_TIME):
                count = min(ROWS_AT_A_TIME, num - begin)
                rows = lang.sample(count, length, seed_of(seed, CORPUS, 1 + begin))
                file.write(rows.astype(dtype).tobytes())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
