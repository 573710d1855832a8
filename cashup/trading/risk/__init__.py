"""Risk: ordered lists of small checks. Each one allows, shrinks or denies, with a machine code and a sentence.

Target checks see what a strategy asks for; order checks see one drafted order at a time, in the order in which they
will be sent, and what surrounds it (`Standing`). A check that has nothing against the order has no objection. Live
trading and replay run the same checks with the same limits.
"""

from cashup.strategies.limits import NO_LIMITS, Limits, Protection
from cashup.trading.risk.decision import Action, Decision, Objection
from cashup.trading.risk.draft import Draft
from cashup.trading.risk.margin import Margin
from cashup.trading.risk.order_checks import PASSING, check_order
from cashup.trading.risk.situation import Situation, reserved, spendable
from cashup.trading.risk.standing import CALM, Allowance, Exposure, Lock, Quoted, Resting, Standing, TradingState
from cashup.trading.risk.target_checks import check_targets

__all__ = [
    "CALM",
    "NO_LIMITS",
    "PASSING",
    "Action",
    "Allowance",
    "Decision",
    "Draft",
    "Exposure",
    "Limits",
    "Lock",
    "Margin",
    "Objection",
    "Protection",
    "Quoted",
    "Resting",
    "Situation",
    "Standing",
    "TradingState",
    "check_order",
    "check_targets",
    "reserved",
    "spendable",
]
