"""The stationary bootstrap: a series resampled in blocks of random length, so that what follows what is kept.

Blocks start anywhere, wrap around the end, and have geometrically distributed lengths. Source: Politis and Romano, "The
Stationary Bootstrap", Journal of the American Statistical Association 89, 1994.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cashup.errors import UsageError

Floats = NDArray[np.float64]

DRAWS = 4_000_000
"""Blocks that are drawn at once: what bounds the memory, whatever the length of the series."""


def stationary_indices(bars: int, block: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Positions of one resampled series: `bars` of `0..bars-1`, in blocks of `block` bars on average."""
    _check(bars, block)
    fresh = random.random(bars) < 1 / block
    fresh[0] = True
    begins = np.flatnonzero(fresh)
    lengths = np.diff(np.append(begins, bars))
    offsets = random.integers(0, bars, len(begins)) - begins
    indices: NDArray[np.int64] = (np.arange(bars) + np.repeat(offsets, lengths)) % bars
    return indices


def bootstrap_means(values: ArrayLike, block: float, samples: int, seed: int | np.random.Generator) -> Floats:
    """The means of `samples` resampled series, samples x columns of `values` (bars x columns, resampled as rows).

    A block's sum is the difference of two running sums, so a sample costs as many steps as it has blocks, not bars.
    """
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    bars = len(rows)
    _check(bars, block)
    random = np.random.default_rng(seed)
    centre = rows.mean(axis=0)
    running = np.zeros((2 * bars + 1, rows.shape[1]))
    np.cumsum(np.vstack([rows, rows]) - centre, axis=0, out=running[1:])
    means = np.empty((samples, rows.shape[1]))
    for chunk in _chunks(samples, max(int(bars / block), 1) * rows.shape[1]):
        means[chunk] = _sums(running, bars, block, len(range(*chunk.indices(samples))), random) / bars
    means += centre
    return means


def block_length(values: ArrayLike) -> float:
    """The average block length that suits a series' memory, at least 1.

    b = (2 g^2 n / D)^(1/3) with the flat-top lag window: Politis and White, "Automatic Block-Length Selection for the
    Dependent Bootstrap", Econometric Reviews 23(1), 2004, as corrected by Patton, Politis and White, 28(4), 2009.
    """
    series = np.asarray(values, dtype=np.float64).ravel()
    bars = len(series)
    if bars < 8:
        return 1.0
    covariances = _covariances(series, most := int(np.ceil(np.sqrt(bars))) + max(5, int(np.log10(bars))))
    if covariances[0] <= 0:
        return 1.0
    cut = _cut(covariances / covariances[0], bars, most)
    lags = np.arange(1, cut + 1)
    window = np.minimum(1.0, 2 * (1 - lags / cut)) * covariances[1 : cut + 1]
    slope = 2 * float(window @ lags)
    spread = float(covariances[0] + 2 * window.sum())
    if spread <= 0:
        return 1.0
    length = (2 * slope**2 / (2 * spread**2) * bars) ** (1 / 3)
    return float(min(max(length, 1.0), np.ceil(min(3 * np.sqrt(bars), bars / 3))))


def default_block(values: ArrayLike) -> float:
    """The block length that is taken when none is named: what suits the memory, and n^(1/3) bars at least.

    n^(1/3) is the rate at which the best length grows; shorter blocks than that would only cost time.
    """
    return max(block_length(values), float(np.cbrt(len(np.asarray(values)))))


def _check(bars: int, block: float) -> None:
    if bars < 1:
        raise UsageError("there is nothing to resample; take a longer time")
    if not block >= 1:
        raise UsageError(f"a block is at least one bar long; it is {block:g}")


def _chunks(samples: int, cost: int) -> Iterator[slice]:
    size = max(DRAWS // max(cost, 1), 1)
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


def _sums(running: Floats, bars: int, block: float, samples: int, random: np.random.Generator) -> Floats:
    """The sums of `samples` series: draw blocks until the shortest sample is full, cut the last block of each."""
    expected = bars / block
    count = int(expected + 6 * np.sqrt(expected) + 12) if block > 1 else bars
    ends = np.cumsum(random.geometric(1 / block, (samples, count)), axis=1)
    while (short := int(ends[:, -1].min())) < bars:
        more = random.geometric(1 / block, (samples, int((bars - short) / block) + 12))
        ends = np.hstack([ends, ends[:, -1:] + np.cumsum(more, axis=1)])
    ends = np.minimum(ends, bars)
    lengths = np.diff(ends, axis=1, prepend=0)
    starts = random.integers(0, bars, lengths.shape)
    sums: Floats = (running[starts + lengths] - running[starts]).sum(axis=1)
    return sums


def _covariances(series: Floats, lags: int) -> Floats:
    centred = series - series.mean()
    lags = min(lags, len(series) - 1)
    return np.array([centred[lag:] @ centred[: len(centred) - lag] for lag in range(lags + 1)]) / len(series)


def _cut(correlations: Floats, bars: int, most: int) -> int:
    """Twice the first lag of a run of correlations that are all negligible, at most `most`.

    The paper's rule names the lag before that one; its authors' own program counts as it is done here.
    """
    run = max(5, int(np.log10(bars)))
    small = np.abs(correlations[1:]) < 2 * np.sqrt(np.log10(bars) / bars)
    quiet = np.convolve(small.astype(np.int64), np.ones(run, dtype=np.int64), mode="valid") == run
    if quiet.any():
        first = int(np.argmax(quiet)) + 1
    else:
        loud = np.flatnonzero(~small)
        first = int(loud[-1]) + 1 if len(loud) else 1
    return min(2 * first, most, len(correlations) - 1)
