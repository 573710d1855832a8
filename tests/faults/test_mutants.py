"""The tests are tested: each of these mistakes, made in a copy of the source, is seen by the test that is named.

A mutant is one text of one file replaced by another. The copy lies in a folder of its own and is thrown away; the
package itself knows nothing of it. On a copy without a mistake all of the named tests pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.faults

MERGE = "tests/unit/test_merge_properties.py::"
TRADING = "tests/integration/trading/"


@dataclass(frozen=True)
class Mutant:
    """A mistake: in `path` (under `cashup/`) the only `right` becomes `wrong`; `test` must see it."""

    mistake: str
    path: str
    right: str
    wrong: str
    test: str

    def __str__(self) -> str:
        return self.mistake.replace(" ", "-")


MUTANTS = [
    Mutant(
        "a trade counts as often as it is told",
        "orders/state.py",
        "if trade.trade_id in order.trade_ids:",
        "if trade.trade_id in ():",
        MERGE + "test_a_trade_counts_once",
    ),
    Mutant(
        "an older report takes back what a newer one said",
        "orders/state.py",
        "reported=max(order.reported, report.filled)",
        "reported=report.filled",
        MERGE + "test_filled_never_falls",
    ),
    Mutant(
        "a report revives an order that has ended",
        "orders/state.py",
        "    if order.state.terminal:\n        return order\n    if report.done:",
        "    if report.done:",
        MERGE + "test_an_end_is_an_end",
    ),
    Mutant(
        "a late fill is dropped",
        "orders/state.py",
        "    if trade.trade_id in order.trade_ids:",
        "    if trade.trade_id in order.trade_ids or order.state.terminal:",
        MERGE + "test_a_late_fill_is_booked_on_every_end",
    ),
    Mutant(
        "a lost answer is a refusal",
        "orders/state.py",
        "OrderState.UNKNOWN, reason or",
        "OrderState.REJECTED, reason or",
        MERGE + "test_a_lost_answer_tells_nothing_of_an_order_that_is_known",
    ),
    Mutant(
        "absence is concluded of an order that rests",
        "orders/state.py",
        "{OrderState.SENDING, OrderState.UNKNOWN}, OrderState.NOT_PLACED",
        "{OrderState.SENDING, OrderState.UNKNOWN, OrderState.OPEN}, OrderState.NOT_PLACED",
        MERGE + "test_absence_is_for_orders_whose_fate_is_open",
    ),
    Mutant(
        "one scan proves absence",
        "orders/resolver.py",
        "if len(scans) >= 2:",
        "if len(scans) >= 1:",
        TRADING + "test_resolver.py::test_an_incomplete_scan_starts_the_count_anew",
    ),
    Mutant(
        "an incomplete scan counts as a look",
        "orders/resolver.py",
        "error=str(error))\n            scans.clear()",
        "error=str(error))\n            scans.append(began)",
        TRADING + "test_resolver.py::test_an_incomplete_scan_starts_the_count_anew",
    ),
    Mutant(
        "absence is proven before the fence has passed",
        "orders/resolver.py",
        "if began >= dead and",
        "if began >= 0 and",
        TRADING + "test_resolver.py::test_absence_takes_two_complete_scans_after_the_fence",
    ),
    Mutant(
        "a fence has passed by a clock that is wrong",
        "orders/resolver.py",
        "            if apart:",
        "            if False:",
        TRADING + "test_resolver.py::test_a_scan_while_the_clocks_are_apart_starts_the_count_anew",
    ),
    Mutant(
        "an amendment is claimed before the venue has room for it",
        "trading/actor.py",
        "desks.claim_amendments(self.exchange.admit)",
        "desks.claim_amendments(lambda *_: 0.0)",
        TRADING + "test_orders.py::test_an_amendment_that_has_no_room_is_not_claimed_and_goes_out_when_it_has",
    ),
    Mutant(
        "what is filled and not booked is no risk",
        "trading/oversight.py",
        "max(most - order.traded, ZERO)",
        "max(most - order.filled, ZERO)",
        TRADING + "test_risk.py::test_what_is_filled_and_not_booked_yet_counts",
    ),
    Mutant(
        "who lost the lease measures losses",
        "trading/loss_watch.py",
        "            await self._lease.hold(connection)\n",
        "",
        TRADING + "test_risk.py::test_who_has_lost_the_lease_measures_nothing",
    ),
    Mutant(
        "an order is claimed more than once",
        "orders/journal.py",
        "            waiting,\n            guard.c.held == 1,",
        "            guard.c.held == 1,",
        TRADING + "test_reconciliation.py::test_an_order_is_claimed_once",
    ),
    Mutant(
        "a claim does not ask for halts",
        "orders/journal.py",
        "or_(orders.c.flattens, ~_held_back()),",
        "",
        TRADING + "test_halts.py::test_a_halt_of_each_scope_claims_nothing",
    ),
    Mutant(
        "reducing holds back nothing",
        "orders/journal.py",
        'or_(halt.state == "halted", ~order.reduces)',
        'halt.state == "halted"',
        TRADING + "test_halts.py::test_reducing_claims_what_reduces",
    ),
    Mutant(
        "a claim that waited does not see the halt that came",
        "orders/journal.py",
        "lease.halts == as_seen",
        "lease.halts == lease.halts",
        TRADING + "test_halts.py::test_a_claim_that_waited_while_the_halt_came_claims_nothing",
    ),
    Mutant(
        "who lost the lease goes on writing",
        "orders/journal.py",
        'lease.fence == bindparam("fence", type_=BigInteger),',
        'lease.fence >= bindparam("fence", type_=BigInteger),',
        TRADING + "test_reconciliation.py::test_who_lost_the_lease_writes_nothing_and_claims_nothing",
    ),
    Mutant(
        "a lease is taken while another holds it",
        "orders/lease.py",
        "where=or_(lease.expires < NOW,",
        "where=or_(lease.expires > 0,",
        TRADING + "test_reconciliation.py::test_one_gateway_trades_an_account",
    ),
    Mutant(
        "what was being sent at a restart counts as not sent",
        "trading/reconciliation.py",
        'SendResult(ResultClass.UNKNOWN, message="the gateway stopped',
        'SendResult(ResultClass.NOT_SENT, message="the gateway stopped',
        TRADING + "test_reconciliation.py::test_a_claimed_order_is_never_sent_again",
    ),
    Mutant(
        "an order that filled is made again",
        "trading/desk.py",
        "frozenset({OrderState.NOT_PLACED, OrderState.REJECTED_LOCAL})",
        "frozenset({OrderState.NOT_PLACED, OrderState.REJECTED_LOCAL, OrderState.FILLED})",
        TRADING + "test_faults.py::test_frames_are_repeated",
    ),
    Mutant(
        "an order that has ended keeps its reservation",
        "trading/desk.py",
        "            self._release(record, turn)\n            self.records.pop",
        "            self.records.pop",
        TRADING + "test_orders.py::test_18_a_cancel_after_a_partial_fill_returns_the_rest",
    ),
    Mutant(
        "a transition leaves no row in the history",
        "trading/turn.py",
        "        self.noted(record.order, record.account, before, event)\n\n    def began",
        "\n    def began",
        TRADING + "test_faults.py::test_frames_are_lost",
    ),
    Mutant(
        "a key is taken for another body",
        "trading/intake.py",
        'if row["body_hash"] != body_hash:',
        "if not body_hash:",
        TRADING + "test_engine.py::test_the_same_key_with_another_body_conflicts",
    ),
    Mutant(
        "the ledger takes what does not balance",
        "trading/ledger.py",
        "if any(sums.values()):",
        "if not sums:",
        "tests/unit/test_ledger.py::test_a_transaction_that_does_not_balance_is_refused",
    ),
    Mutant(
        "a fee in base is forgotten in the ledger",
        "trading/ledger.py",
        "fees = {base: ZERO, quote: ZERO, trade.fee_currency: trade.fee}",
        "fees = {base: ZERO, quote: ZERO, trade.fee_currency: trade.fee} | {base: ZERO}",
        TRADING + "test_faults.py::test_frames_are_lost",
    ),
    Mutant(
        "a fee in base is forgotten in the book",
        "trading/book.py",
        "quantity=position.quantity + trade.quantity - base_fee,",
        "quantity=position.quantity + trade.quantity,",
        "tests/unit/test_book.py::test_a_buy_with_its_fee_in_base_brings_less_base",
    ),
    Mutant(
        "the fee of somebody else's trade is forgotten",
        "trading/external.py",
        'posting.move(trade.fee_currency, trade.fee, "cash", "fee")',
        'posting.move(trade.fee_currency, ZERO, "cash", "fee")',
        TRADING + "test_engine.py::test_somebody_elses_trade_is_booked_to_the_account",
    ),
    Mutant(
        "a timeout after the bytes were written counts as not sent",
        "exchanges/gate_outcome.py",
        "ResultClass.UNKNOWN if reply.written else ResultClass.NOT_SENT",
        "ResultClass.NOT_SENT",
        "tests/unit/test_gate_outcome.py::test_class",
    ),
    Mutant(
        "an answer about another order is taken for ours",
        "exchanges/gate_outcome.py",
        "if report.client_order_id != client_order_id:",
        "if report.client_order_id is None:",
        "tests/unit/test_gate_outcome.py::test_class",
    ),
    Mutant(
        "what is left counts as filled",
        "exchanges/gate_rows.py",
        "else amount - left",
        "else left",
        "tests/unit/test_gate_rows.py",
    ),
    Mutant(
        "whatever begins as ours is ours",
        "orders/ids.py",
        "_OURS.fullmatch(client_order_id) is not None",
        "client_order_id.startswith(PREFIX)",
        "tests/unit/test_id_formats.py::test_an_id",
    ),
]


def copied(folder: Path) -> None:
    """The source and its tests, in a folder of their own."""
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("cashup", "tests", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", folder)


def run(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """These tests against the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "CASHUP_WARM": "0"}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    return subprocess.run([*command, *tests], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_there_are_twenty_or_more() -> None:
    assert len({mutant.mistake for mutant in MUTANTS}) == len(MUTANTS) >= 20


def test_without_a_mistake_every_test_passes(tmp_path: Path) -> None:
    copied(tmp_path)
    done = run(tmp_path, *dict.fromkeys(mutant.test for mutant in MUTANTS))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mistake_is_seen(mutant: Mutant, tmp_path: Path) -> None:
    copied(tmp_path)
    path = tmp_path / "cashup" / mutant.path
    source = path.read_text()
    assert source.count(mutant.right) == 1, f"{mutant.path} has changed; make the mistake anew"
    path.write_text(source.replace(mutant.right, mutant.wrong))
    done = run(tmp_path, mutant.test)
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"FAILED {mutant.test}" in done.stdout
