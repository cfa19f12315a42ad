"""Languages whose law is known exactly: n-grams, HMMs, tables, and the counterexample `pairs`."""

from mdm_lab.languages.base import Language
from mdm_lab.languages.hmm import HMM, pairs, shared_bits
from mdm_lab.languages.ngram import NGram
from mdm_lab.languages.table import Table
from mdm_lab.posterior.impossible import ImpossibleEvidence

__all__ = ["HMM", "ImpossibleEvidence", "Language", "NGram", "Table", "pairs", "shared_bits"]
