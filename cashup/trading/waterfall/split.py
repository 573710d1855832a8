"""The waterfall: from the re-run to live, one step after the other; a part is the difference that its step makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cashup.trading.waterfall.world import Case, Step, World
from cashup.types import MONEY, ZERO, Millis

GRAIN = Decimal("1E-12")
"""What a result is rounded to before differences are taken, so that every sum of parts is exact."""

UNEXPLAINED = "unexplained"

PARTS = (*(step.name.lower() for step in Step if step is not Step.RERUN), UNEXPLAINED)
"""The parts in the order of the steps."""


@dataclass(frozen=True, slots=True)
class Split:
    """`live` and `rerun` are the two results in quote currency, `parts` what lies between them, by name.

    total = live - rerun = the sum of all parts, exactly. `curve` is the re-run's worth per bar.
    """

    rerun: Decimal
    live: Decimal
    parts: Mapping[str, Decimal]
    curve: tuple[tuple[Millis, Decimal], ...]

    @property
    def total(self) -> Decimal:
        """What live has more than the re-run (below zero: less)."""
        return MONEY.subtract(self.live, self.rerun)


def split(case: Case) -> Split:
    """Run the chain. What remains between the last run, which has everything from live, and live is `unexplained`."""
    world = World(case, Step.RERUN)
    rerun = before = grain(world.run())
    parts: dict[str, Decimal] = {}
    for step in Step:
        if step is Step.RERUN:
            continue
        after = before if idle(case, step) else grain(World(case, step).run())
        parts[step.name.lower()] = MONEY.subtract(after, before)
        before = after
    live = grain(case.facts.result)
    parts[UNEXPLAINED] = MONEY.subtract(live, before)
    return Split(rerun, live, parts, tuple(world.curve))


def grain(amount: Decimal) -> Decimal:
    """`amount` in the grain that results are compared in."""
    return amount.quantize(GRAIN, context=MONEY)


def idle(case: Case, step: Step) -> bool:
    """True when live gives the step nothing that the run before it did not have: it then makes no difference."""
    facts = case.facts
    match step:
        case Step.DATA_REVISION:
            return case.seen is case.today
        case Step.BY_HAND:
            return not any(facts.by_hand.values())
        case Step.RISK_BLOCKED:
            return not any(decided.denied or decided.allowed or decided.held_back for decided in facts.decided)
        case Step.UNFILLED:
            return all(done.whole for decided in facts.decided for done in decided.done.values())
        case _:
            return False


def largest(parts: Mapping[str, Decimal]) -> str:
    """The name of the part that weighs most."""
    return max(parts, key=lambda name: abs(parts[name]), default="") if parts else ""


def share_of(amount: Decimal, capital: Decimal) -> Decimal:
    """`amount` as a fraction of the capital."""
    return MONEY.divide(amount, capital) if capital else ZERO
