"""Cases in which a test must fail, or it would prove nothing."""

import pytest


def tightened(*values, id="tightened"):
    """Parameters with a constant tightened past the truth: with them the test must fail."""
    return mistaken(*values, id=id)


def mistaken(*values, id="mistaken"):
    """Parameters that make a known mistake: with them the test must fail."""
    mark = pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"{id}, on purpose")
    return pytest.param(*values, marks=mark, id=id)
