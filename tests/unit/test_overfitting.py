"""The probability of overfitting: about a half on noise, none on an edge, all of it when luck must turn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cashup.errors import UsageError
from cashup.research.validating import overfitting
from cashup.research.validating.overfitting import probability_of_overfitting


def noise(seed: int, observations: int = 960, trials: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (observations, trials))


def by_hand(matrix: np.ndarray, blocks: int) -> list[float]:
    """The paper's steps, one halving at a time, on the returns themselves."""
    parts = np.split(matrix, blocks)
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[block] for block in chosen])
        outside = np.concatenate([parts[block] for block in range(blocks) if block not in chosen])
        scores = [side.mean(axis=0) / side.std(axis=0, ddof=1) for side in (inside, outside)]
        rank = 1 + np.sum(scores[1] < scores[1][scores[0].argmax()])
        share = rank / (matrix.shape[1] + 1)
        logits.append(np.log(share / (1 - share)))
    return logits


def test_it_is_the_papers_procedure() -> None:
    matrix = noise(1, 80, 7)
    made = probability_of_overfitting(matrix, blocks=8)
    assert made.logits == pytest.approx(by_hand(matrix, 8))
    assert made.probability == np.mean(np.array(by_hand(matrix, 8)) <= 0)
    assert len(made.logits) == 70


def test_noise_is_a_coin_and_the_chosen_ratio_is_worth_nothing() -> None:
    made = [probability_of_overfitting(noise(seed), blocks=10) for seed in range(30)]
    assert np.mean([one.probability for one in made]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([np.median(one.judged) for one in made]) == pytest.approx(0, abs=0.02)
    assert min(np.median(one.chosen) for one in made) > 0.05


def test_a_planted_edge_is_no_overfitting() -> None:
    matrix = noise(2)
    matrix[:, 11] += 0.003
    made = probability_of_overfitting(matrix)
    assert made.probability < 0.01
    assert made.loss < 0.01
    assert len(made.logits) == 12_870
    assert made.to_json()["probability"] == made.probability


def test_luck_that_must_turn_is_overfitting() -> None:
    # Every trial earns the same in all: what it has in one half it lacks in the other.
    matrix = noise(3)
    matrix -= matrix.mean(axis=0)
    made = probability_of_overfitting(matrix, blocks=8)
    assert made.probability > 0.95
    assert made.slope == pytest.approx(-1, abs=0.1)


def test_trials_that_are_equal_share_their_rank() -> None:
    same = np.repeat(noise(4, trials=1), 5, axis=1)
    assert probability_of_overfitting(same, blocks=4).logits == pytest.approx(0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = noise(5, 160, 9)
    whole = probability_of_overfitting(matrix, blocks=8)
    monkeypatch.setattr(overfitting, "CELLS", 100)
    assert (probability_of_overfitting(matrix, blocks=8).logits == whole.logits).all()


@pytest.mark.parametrize(
    ("matrix", "blocks", "message"),
    [
        (noise(1, trials=1), 16, "at least 2 trials"),
        (noise(1), 7, "even number"),
        (noise(1, observations=20), 16, "too few"),
        (np.full((100, 3), np.nan), 4, "have gaps"),
    ],
)
def test_what_cannot_be_judged(matrix, blocks, message) -> None:
    with pytest.raises(UsageError, match=message):
        probability_of_overfitting(matrix, blocks)
