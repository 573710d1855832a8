"""A deployment that trades in memory through planner, risk and book, and leaves the rows that a gateway leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from cashup.exchanges.matching import fee_of, quantity_for
from cashup.exchanges.rules import ideal_market
from cashup.strategies.limits import Limits
from cashup.trading.book import Book, apply_trade
from cashup.trading.planner import Plan, Sizing, decide, plan_increases, plan_reductions
from cashup.trading.risk import CALM, Allowance, Draft, Exposure, Lock, Standing
from cashup.trading.waterfall.reading import Records, read_facts
from cashup.trading.waterfall.split import Split, split
from cashup.trading.waterfall.world import Case, Rerun, Series
from cashup.types import ZERO, Market, Millis, Side, Symbol, Trade

HOUR: Millis = 3_600_000
BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
IDEAL = ideal_market(BTC, ZERO)
LATE = 1_000_000_000_000_000


def bar(number: int) -> Millis:
    """The open time of the bar with this number."""
    return number * HOUR


Figure = str | int | None
Figures = Figure | Mapping[Symbol, Figure]
"""One figure of BTC/USDT, or one per symbol."""


def rerun(opens: Sequence[Figures], targets: Sequence[Figures]) -> Rerun:
    """A re-run on bars with these opens, whose first ones have these targets."""
    times = [bar(number) for number in range(len(opens))]
    said = {bar(number): maybe(target) for number, target in enumerate(targets)}
    return Rerun(Series(times, [exactly(price) for price in opens]), said)


def maybe(figures: Figures) -> dict[Symbol, Decimal | None]:
    """Figures per symbol as money; None stays."""
    found = figures if isinstance(figures, Mapping) else {BTC: figures}
    return {symbol: None if figure is None else Decimal(figure) for symbol, figure in found.items()}


def exactly(figures: Figures) -> dict[Symbol, Decimal]:
    """Figures per symbol as money."""
    return {symbol: figure for symbol, figure in maybe(figures).items() if figure is not None}


@dataclass
class Live:
    """What happens to one deployment, step by step; `rows` is what is then on record."""

    market: Market = IDEAL
    book: Book = field(default_factory=lambda: Book(Decimal(1000)))
    decisions: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)
    payments: list[dict[str, Any]] = field(default_factory=list)
    standing: Standing = CALM
    now: Millis = 0

    def decide(
        self,
        number: int,
        target: Figures,
        mark: Figures,
        *,
        price: Figures = None,
        share: str = "1",
        fee: tuple[str, bool] | None = None,
        rebalance: str | None = None,
        halted: bool = False,
        expires: bool = False,
    ) -> None:
        """Bar `number` is decided and sized at `mark`; its orders are filled at `price`, to this `share`.

        `fee` is a rate, and whether it is taken in base currency (default: the venue's). `halted`: its orders are held
        back when they should be sent; `expires`: its time runs out before the increases.
        """
        self.now = bar(number + 1)
        marks, wanted = exactly(mark), maybe(target)
        prices = marks | exactly(price)
        equity, cash = self.book.equity(marks), self.book.cash
        drift = None if rebalance is None else Decimal(rebalance)
        verdict = decide(self.book, wanted, marks, rebalance=drift)
        self.book = self.book.with_targets(verdict.targets)
        said = list(verdict.decisions)
        key = str(bar(number))
        for plan_of in (plan_reductions, plan_increases):
            if expires and plan_of is plan_increases:
                break
            plan: Plan = plan_of(verdict.sizing, self.book, self.markets, standing=self.standing)  # type: ignore[operator]
            said.extend(plan.decisions)
            if held := plan.held_back(verdict.sizing, self.book):
                self.book = self.book.with_targets(held)
            for draft in plan.drafts:
                if halted:
                    self._hold_back(draft, key, bar(number), verdict.sizing)
                else:
                    self._order(draft, key, bar(number), prices[draft.symbol], share, fee)
        state = "expired" if expires else "done"
        self._decision(key, bar(number), wanted, drift, said, marks, verdict.sizing, equity, cash, state)

    def decide_too_late(self, number: int, target: Figures) -> None:
        """Bar `number` is decided, and its time runs out before it is sized."""
        self.now = bar(number + 1)
        self._decision(str(bar(number)), bar(number), maybe(target), None, [], {}, None, None, None, "expired")

    def trade_by_hand(self, side: Side, quantity: str, price: str | int, *, flatten: bool = False) -> None:
        """An order that no decision made."""
        self.now += 1000
        intent = "flatten:1" if flatten else f"by-hand-{self.now}"
        draft = Draft(BTC, side, Decimal(price), quantity=Decimal(quantity))
        row = self._order_row(intent, bar(0) if flatten else None, draft, "filled")
        self._fill(
            row, Decimal(price), Decimal(quantity), *fee_of(self.market, side, Decimal(price), Decimal(quantity))
        )
        if flatten:
            self.book = self.book.with_targets({BTC: ZERO})

    def pay_in(self, amount: str) -> None:
        """The capital grows, or shrinks."""
        self.now += 1000
        self.payments.append({"at": self.now, "amount": amount})
        self.book = replace(self.book, cash=self.book.cash + Decimal(amount))

    def limit(self, **limits: str) -> None:
        """The deployment's limits from now on."""
        allowance = Allowance("deployment demo", Limits(**{k: Decimal(v) for k, v in limits.items()}), Exposure(ZERO))
        self.standing = Standing(allowances=(allowance,))

    def lock(self, code: str = "cooldown_period") -> None:
        """A protection pauses the symbol from now on."""
        self.standing = Standing(locks=(Lock(code, "paused", LATE, BTC),))

    def free(self) -> None:
        """Nothing limits it any more."""
        self.standing = CALM

    @property
    def markets(self) -> dict[Symbol, Market]:
        """The venue's rules; both symbols have the same."""
        return {BTC: self.market, ETH: replace(self.market, symbol=ETH, base="ETH")}

    @property
    def rows(self) -> Records:
        """What is on record."""
        return Records(self.decisions, self.orders, self.fills, self.payments)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _decision(
        self,
        key: str,
        time: Millis,
        wanted: Mapping[Symbol, Decimal | None],
        drift: Decimal | None,
        said: Sequence[Any],
        marks: Mapping[Symbol, Decimal],
        sizing: Sizing | None,
        equity: Decimal | None,
        cash: Decimal | None,
        state: str = "done",
    ) -> None:
        self.decisions.append(
            {
                "key": key,
                "bar": time,
                "state": state,
                "created_at": self.now,
                "at": None if equity is None else self.now,
                "targets": {symbol: None if target is None else str(target) for symbol, target in wanted.items()},
                "rebalance": None if drift is None else str(drift),
                "decisions": [
                    {"symbol": one.symbol, "action": one.action.value, "code": one.code, "reason": ""} for one in said
                ],
                "marks": {symbol: str(mark) for symbol, mark in marks.items()},
                "sizing": None if sizing is None else sizing.to_json(),
                "equity": None if equity is None else str(equity),
                "cash": None if cash is None else str(cash),
            }
        )

    def _order(
        self, draft: Draft, key: str, time: Millis, price: Decimal, share: str, fee: tuple[str, bool] | None
    ) -> None:
        self.now += 1
        market = self.markets[draft.symbol]
        quantity = draft.quantity or quantity_for(market, draft.cost or ZERO, price)
        filled = market.round_quantity(quantity * Decimal(share))
        state = "filled" if share == "1" else "cancelled"
        row = self._order_row(key, time, draft, state)
        if not filled:
            return
        if fee is None:
            taken, currency = fee_of(market, draft.side, price, filled)
        else:
            rate, in_base = Decimal(fee[0]), fee[1] and draft.side is Side.BUY
            taken = filled * rate if in_base else filled * price * rate
            currency = draft.symbol.split("/")[0] if in_base else "USDT"
        self._fill(row, price, filled, taken, currency)

    def _hold_back(self, draft: Draft, key: str, time: Millis, sizing: Sizing) -> None:
        """As `Desk.give_up`: the order ends unsent, and what is held is the target."""
        row = self._order_row(key, time, draft, "expired")
        row["exchange_order_id"] = None
        self.book = self.book.with_targets(sizing.as_held(self.book, {draft.symbol}))

    def _order_row(self, intent: str, time: Millis | None, draft: Draft, state: str) -> dict[str, Any]:
        number = len(self.orders) + 1
        row = {
            "client_order_id": f"t-{number}",
            "exchange_order_id": str(number),
            "intent": intent,
            "bar": time,
            "symbol": draft.symbol,
            "side": draft.side.value,
            "quantity": None if draft.quantity is None else str(draft.quantity),
            "cost": None if draft.cost is None else str(draft.cost),
            "state": state,
            "filled": "0",
        }
        self.orders.append(row)
        return row

    def _fill(self, order: dict[str, Any], price: Decimal, quantity: Decimal, fee: Decimal, currency: str) -> None:
        self.now += 1
        side, ident = Side(order["side"]), order["client_order_id"]
        symbol = Symbol(order["symbol"])
        trade = Trade(ident, order["exchange_order_id"], ident, symbol, side, price, quantity, fee, currency, self.now)
        self.book = apply_trade(self.book, trade)
        order["filled"] = str(quantity)
        row = {"trade_id": ident, "booked_at": self.now, "time": self.now, "symbol": symbol, "side": side.value}
        row |= {"exchange_order_id": ident, "client_order_id": ident, "price": str(price), "quantity": str(quantity)}
        self.fills.append(row | {"fee": str(fee), "fee_currency": currency})


def split_of(live: Live, today: Rerun, seen: Rerun | None = None, **terms: Any) -> Split:
    """The split of what `live` did against a re-run."""
    return split(case_of(live, today, seen, **terms))


def case_of(live: Live, today: Rerun, seen: Rerun | None = None, *, since: Millis = 0, **terms: Any) -> Case:
    """The case of what `live` did; without terms the model has no fee."""
    return Case(
        facts=read_facts("demo", live.rows, since),
        symbols=tuple(maybe(live.rows.decisions[0]["targets"])),
        today=today,
        seen=seen or today,
        markets=live.markets,
        **{"fee": ZERO, **terms},
    )
