"""What may be learnt of an order, or wished of it, beside the venue's own words: the events of the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cashup.types import OrderReport, SendResult, Trade


@dataclass(frozen=True, slots=True)
class Claimed:
    """The send claim is committed: from here on the order may have reached the venue."""


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The order was never sent and its time has passed."""

    reason: str = "not sent in time"


@dataclass(frozen=True, slots=True)
class ProvenAbsent:
    """The resolver's proof: complete scans after the fence found no trace of the order."""

    reason: str = "two complete scans found no trace"


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The order shall end. One that was not sent yet ends at once; one that may be on the venue is cancelled there."""

    reason: str = "cancelled before it was sent"


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """What came back for a cancel that was written. Only the order itself tells whether it ended."""

    answer: SendResult


@dataclass(frozen=True, slots=True)
class CancelRefused:
    """The venue does not take the cancel, however often it is asked; the order stays as it is."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an amendment changes: the whole quantity, filled part included (base currency), and the limit price."""

    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class AmendRequested:
    """A resting order shall have these terms."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class AmendAnswered:
    """What came back for an amendment that was written."""

    answer: SendResult


@dataclass(frozen=True, slots=True)
class AmendLapsed:
    """The amendment was not sent in time, or the venue still shows the old terms when it can no longer take it."""

    reason: str = "the amendment did not reach the venue in time"


Wish = CancelRequested | CancelAnswered | CancelRefused | AmendRequested | AmendAnswered | AmendLapsed
Event = Claimed | Lapsed | ProvenAbsent | Wish | SendResult | OrderReport | Trade
