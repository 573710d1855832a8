"""Sixty ids: which of them Gate takes as a client order id, and which of them are ours."""

from __future__ import annotations

import pytest

from cashup.orders.ids import client_order_id, is_ours
from cashup.simulator.entry import TEXT

ULID = "01JD8ZK5W3Q4R5S6T7V8X9Y0AB"

OURS = [f"t-{ULID}", client_order_id(0), client_order_id(1_735_689_600_000), client_order_id((1 << 48) - 1)]
OURS += ["t-" + "0" * 26, "t-7" + "Z" * 25, "t-" + "0" * 25 + "Z", "t-0123456789ABCDEFGHJKMNPQRS"]
OURS += [f"t-{ULID[:-1]}{letter}" for letter in "VWXY"]

TAKEN = ["t-a", "t-1", "t-A", "t-_", "t--", "t-.", "t-trend1", "t-my_order", "t-grid-01", "t-v1.2.3", "t-t-t-"]
TAKEN += ["t-" + "a" * 28, "t-" + "9" * 27, "t-" + "Z" * 25, "t-" + "z" * 26, f"t-{ULID.lower()}", f"t-{ULID}1"]
TAKEN += [f"t-{ULID}12", f"t-{ULID[:-1]}", f"t-{ULID[:-1]}-", f"t-{ULID[:-1]}_", f"t-{ULID[:-1]}."]
TAKEN += [f"t-{ULID[:-1]}{letter}" for letter in "ILOU"]  # no letters of Crockford's
TAKEN += ["t-8" + ULID[1:], "t-Z" + ULID[1:]]  # beyond 128 bits

REFUSED = ["", "t", "t-", "t_a", "T-a", "a", "trend1", ULID, f"x-{ULID}", f"T-{ULID}", f" t-{ULID}", f"t-{ULID} "]
REFUSED += [f"t-{ULID}\n", "t-a b", "t-a/b", "t-a:b", "t-ä", "t-🙂", "t-" + "a" * 29, f"t-{ULID}123"]

CASES = [(ident, True, True) for ident in OURS]
CASES += [(ident, True, False) for ident in TAKEN]
CASES += [(ident, False, False) for ident in REFUSED]


def test_there_are_sixty() -> None:
    assert len(CASES) == len({ident for ident, *_ in CASES}) == 60


# Numbered, because three of them are made anew in every process.
@pytest.mark.parametrize(("ident", "taken", "ours"), CASES, ids=range(len(CASES)))
def test_an_id(ident: str, taken: bool, ours: bool) -> None:
    assert (TEXT.fullmatch(ident) is not None) is taken
    assert is_ours(ident) is ours


@pytest.mark.parametrize("reserved", ["apiv4", "apiv4-ws", "api", "web", "app", "liquidation", "auto_deleveraging"])
def test_the_venues_own_words_are_nobodys_ids(reserved: str) -> None:
    assert TEXT.fullmatch(reserved) is None
    assert not is_ours(reserved)
