"""What a sweep ranks by: a figure of a trial and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

from cashup.errors import UsageError
from cashup.strategies.symbols import did_you_mean

FIGURES: dict[str, int] = {
    "sharpe": 1,
    "total_return": 1,
    "cagr": 1,
    "calmar": 1,
    "sortino": 1,
    "final_equity": 1,
    "trades": 1,
    "exposure": 1,
    "max_drawdown": -1,
    "fees": -1,
}
"""The figures of a trial in the order of its table -> 1 when more is better, -1 when less is."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure and its direction: 1 to maximise, -1 to minimise."""

    figure: str
    direction: int

    def gain(self, value: float | None) -> float:
        """`value` such that more is better; what is missing is the worst."""
        return float("-inf") if value is None or value != value else self.direction * value

    def __str__(self) -> str:
        return f"{'max' if self.direction > 0 else 'min'} {self.figure}"


def objectives(words: str | list[str] | tuple[str, ...]) -> tuple[Objective, ...]:
    """`sharpe`, `max_drawdown`, or with the direction before it: `max:trades`; several make a Pareto front."""
    named = [words] if isinstance(words, str) else list(words)
    return tuple(_objective(word) for word in named or ["sharpe"])


def _objective(word: str) -> Objective:
    way, _, figure = word.rpartition(":")
    if figure not in FIGURES or way not in ("", "max", "min"):
        raise UsageError(
            f"there is no objective {word!r}; {did_you_mean(figure, FIGURES)} (max:NAME or min:NAME turns it)"
        )
    return Objective(figure, {"": FIGURES[figure], "max": 1, "min": -1}[way])
