"""The checks of what a strategy asks for, before anything is sized."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cashup.strategies.symbols import is_contract
from cashup.trading.risk.decision import Action, Decision
from cashup.types import Symbol


def check_targets(
    targets: Mapping[Symbol, Decimal],
    wanted: Mapping[Symbol, Decimal],
    marks: Mapping[Symbol, Decimal],
    *,
    leverage: Decimal | None = None,
) -> tuple[dict[Symbol, Decimal], list[Decision]]:
    """Of the targets that changed (`wanted`), those that may be followed; `targets` is what all symbols would aim at.

    A spot account (`leverage` None) cannot be short, so a negative target is denied and the previous one stays; with a
    leverage that is so for spot symbols. Targets that sum to more than 1, or the leverage, are followed as far as the
    cash or the margin goes, smallest purchase first.
    """
    allowed: dict[Symbol, Decimal] = {}
    decisions: list[Decision] = []
    for symbol, target in wanted.items():
        if target < 0 and (leverage is None or not is_contract(symbol)):
            reason = f"a spot account cannot be short: the target {target} is not followed"
            decisions.append(Decision(symbol, Action.DENY, "negative_target", reason))
        elif not marks.get(symbol):
            reason = f"there is no price for {symbol}; nothing can be sized"
            decisions.append(Decision(symbol, Action.DENY, "price_missing", reason))
        else:
            allowed[symbol] = target
    total = sum((abs(target) for target in targets.values() if target > 0 or leverage is not None), Decimal(0))
    if leverage is not None and total > leverage:
        reason = f"the targets sum to {total} of {leverage}; they are followed as far as the margin goes"
        decisions.extend(Decision(s, Action.SHRINK, "targets_above_leverage", reason) for s, t in allowed.items() if t)
    elif leverage is None and total > 1:
        reason = f"the targets sum to {total}; without leverage they are followed as far as the cash goes"
        decisions.extend(Decision(s, Action.SHRINK, "targets_above_one", reason) for s, t in allowed.items() if t > 0)
    return allowed, decisions
