"""Other futures: the past is the same, and what follows could have happened."""

from __future__ import annotations

import numpy as np
import pytest

from cashup.research.checks.futures import FUTURES, with_future
from tests.checks.subjects import hours


@pytest.mark.parametrize("make", FUTURES)
def test_the_past_stays_and_the_future_is_another_plausible_one(make):
    bars = hours()
    other = with_future(bars, 2_000, make, seed=1)
    assert np.array_equal(other.values[:, :2_000], bars.values[:, :2_000])
    opened, high, low, close, volume = other.values[:, 2_000:]
    assert (close != bars.values[3, 2_000:]).mean() > 0.99
    assert np.isfinite(other.values).all()
    assert (low > 0).all()
    assert (volume >= 0).all()
    assert (high >= np.maximum(opened, close) * (1 - 1e-12)).all()
    assert (low <= np.minimum(opened, close) * (1 + 1e-12)).all()
