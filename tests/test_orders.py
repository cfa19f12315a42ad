"""Orders that are chosen beforehand: their steps, and what they may reveal together."""

import math

import numpy as np
import pytest

from mdm_lab.orders import bisection, check_order, odd_even


def test_odd_even_has_two_steps_and_no_neighbours_in_one():
    assert odd_even(5).tolist() == [0, 1, 0, 1, 0]
    assert odd_even(1).tolist() == [0]
    assert (np.diff(odd_even(64)) != 0).all()


@pytest.mark.parametrize("run", [1, 2, 3])
def test_bisection_separates_and_has_as_many_steps_as_it_says(run):
    for length in range(1, 70):
        steps = bisection(length, run)
        levels = math.ceil(math.log2(-(-length // run) + 1))
        assert len(np.unique(steps // run)) == levels
        assert steps.max() < run * levels
        for step in np.unique(steps):
            seen = steps < step
            here = np.flatnonzero(steps == step)
            for left, right in zip(here, here[1:], strict=False):
                longest, count = 0, 0
                for visible in seen[left + 1 : right]:
                    count = count + 1 if visible else 0
                    longest = max(longest, count)
                assert longest >= run, (length, step, left, right)


@pytest.mark.parametrize("length, steps", [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (512, 10)])
def test_bisection_needs_the_logarithm_of_the_length(length, steps):
    assert bisection(length).max() + 1 == steps == math.ceil(math.log2(length + 1))


@pytest.mark.parametrize("bad", [[], [-1, 0], [0.5, 1.0], [[0, 1]]])
def test_orders_are_checked(bad):
    with pytest.raises(ValueError, match="whole numbers"):
        check_order(bad)
