"""One counterfactual run: the deployment's stretch once more, with some things as they were live and others modelled.

Planner, risk's cash and minimum checks, matching and book are those of replay and live trading.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import IntEnum

from cashup.exchanges.matching import Matcher, MatchOrder, fee_of, quantity_for
from cashup.exchanges.rules import ideal_market
from cashup.trading.book import Book, apply_trade
from cashup.trading.planner import Aim, Plan, Sizing, decide, plan_increases, plan_reductions
from cashup.trading.risk import PASSING, Draft
from cashup.trading.waterfall.facts import ByHand, Decided, Done, Facts
from cashup.types import MONEY, ZERO, FeeIn, Market, Millis, Side, Symbol, Trade

Targets = Mapping[Symbol, Decimal | None]


class Step(IntEnum):
    """What is taken from live, one after the other: a run has all up to its step from live, the rest is modelled."""

    RERUN = 0
    DATA_REVISION = 1
    SIGNAL = 2
    MISSED_BAR = 3
    BY_HAND = 4
    RISK_BLOCKED = 5
    ROUNDING = 6
    PRICE = 7
    UNFILLED = 8
    FEE = 9


@dataclass(frozen=True, slots=True)
class Series:
    """Opens of bars: `times` ascending, and per time the price of each symbol that has one."""

    times: Sequence[Millis]
    opens: Sequence[Mapping[Symbol, Decimal]]

    def after(self, bar: Millis) -> Mapping[Symbol, Decimal]:
        """The prices at which a decision at `bar` is executed: the opens of the next bar there is; empty at the end."""
        position = bisect_right(self.times, bar)
        return self.opens[position] if position < len(self.times) else {}

    def between(self, first: Millis, last: Millis) -> Sequence[Millis]:
        """The bars in [first, last)."""
        return [time for time in self.times if first <= time < last]


@dataclass(frozen=True, slots=True)
class Rerun:
    """The strategy asked once more, bar by bar: the bars it was asked on and what it said at each."""

    series: Series
    targets: Mapping[Millis, Targets]


@dataclass(frozen=True, slots=True)
class Case:
    """All that the runs are made of: what live did, the re-run on today's bars and on those live saw, and the terms.

    `fee` and `slippage` are the modelled fractions, `markets` the venue's rules, `rebalance` the strategy's.
    """

    facts: Facts
    symbols: tuple[Symbol, ...]
    today: Rerun
    seen: Rerun
    markets: Mapping[Symbol, Market]
    fee: Decimal = Decimal("0.001")
    slippage: Decimal = ZERO
    rebalance: Decimal | None = None


@dataclass(slots=True)
class World:
    """The run of `case` in which everything up to `step` is as it was live."""

    case: Case
    step: Step
    book: Book = field(init=False)
    marks: dict[Symbol, Decimal] = field(default_factory=dict)
    newest: dict[Symbol, Decimal] = field(default_factory=dict)
    curve: list[tuple[Millis, Decimal]] = field(default_factory=list)
    markets: dict[Symbol, Market] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the book that live began with, on the venue that the step has."""
        self.book = self.case.facts.start
        self.markets = {symbol: self._market(symbol) for symbol in self.case.symbols}

    def run(self) -> Decimal:
        """Go through the stretch; the worth of the book at its end, at the prices that live was measured at.

        `curve` then holds (bar, worth right after its close, before its orders).
        """
        facts = self.case.facts
        by_bar = {decided.bar: decided for decided in facts.decided}
        rerun = self._rerun()
        bars = {
            *rerun.series.between(facts.first.bar, facts.last.bar),
            *(bar for bar in by_bar if bar < facts.last.bar),
        }
        for bar in sorted(bars):
            self._bar(bar, by_bar.get(bar), rerun)
        self._happen(facts.last.bar)
        worth = self.book.equity(self.marks | dict(facts.last.marks))
        self.curve.append((facts.last.bar, worth))
        return worth

    def _rerun(self) -> Rerun:
        return self.case.seen if self.step >= Step.DATA_REVISION else self.case.today

    def _market(self, symbol: Symbol) -> Market:
        """The venue as far as the step has it: without steps, with them and the modelled fee on top, or as it is."""
        fee = self.case.fee
        if self.step < Step.ROUNDING:
            return ideal_market(symbol, fee)
        market = self.case.markets[symbol]
        if self.step < Step.FEE:
            return replace(market, taker_fee=fee, maker_fee=fee, fee_in=FeeIn.QUOTE)
        return market

    # -- one bar --------------------------------------------------------------------------------------------------

    def _bar(self, bar: Millis, decided: Decided | None, rerun: Rerun) -> None:
        if decided is not None:
            self._happen(bar)
        prices = self._prices(bar, decided, rerun.series)
        self.marks |= prices
        if all(symbol in self.marks for symbol, held in self.book.positions.items() if held.quantity):
            self.curve.append((bar, self.book.equity(self.marks)))
        if self.step >= Step.MISSED_BAR and (decided is None or not decided.sized):
            return
        wanted = self._wanted(bar, decided, rerun, prices)
        if wanted is None:
            return
        targets, rebalance = wanted
        verdict = decide(self.book, targets, self.marks, rebalance=rebalance)
        self.book = self.book.with_targets(verdict.targets) if verdict.targets else self.book
        if verdict.sizing.aims:
            self._trade(verdict.sizing, decided)

    def _prices(self, bar: Millis, decided: Decided | None, series: Series) -> Mapping[Symbol, Decimal]:
        opens = series.after(bar)
        if decided is not None and decided.marks and (self.step >= Step.PRICE or not opens):
            return decided.marks
        return opens

    def _wanted(
        self, bar: Millis, decided: Decided | None, rerun: Rerun, prices: Mapping[Symbol, Decimal]
    ) -> tuple[Targets, Decimal | None] | None:
        """What is aimed at and the threshold for drift, as recorded or from the re-run; None where nothing was said."""
        if decided is not None and self.step >= Step.SIGNAL:
            # A symbol that is not priced keeps what it has.
            return {s: t for s, t in decided.targets.items() if s in self.marks}, decided.rebalance
        said = rerun.targets.get(bar)
        if said is None:
            return None
        # As in a replay: a symbol that has no price waits with its newest target.
        self.newest |= {symbol: target for symbol, target in said.items() if target is not None}
        return {s: self.newest.get(s) for s in prices if s in self.markets}, self.case.rebalance

    def _trade(self, sizing: Sizing, decided: Decided | None) -> None:
        """Reductions first; the increases are planned from what is there when the reductions are booked."""
        sizing = self._stopped(sizing, decided)
        self._send(plan_reductions(sizing, self.book, self.markets), sizing, decided)
        slippage = self.case.slippage if self.step < Step.PRICE else ZERO
        self._send(plan_increases(sizing, self.book, self.markets, slippage=slippage), sizing, decided)

    def _stopped(self, sizing: Sizing, decided: Decided | None) -> Sizing:
        """The sizing as risk left it: what it stopped is wanted again at the next bar when the cause passes."""
        if decided is None or self.step < Step.RISK_BLOCKED:
            return sizing
        passing = {symbol for symbol, code in decided.denied.items() if code in PASSING}
        if passing:
            self.book = self.book.with_targets(sizing.as_held(self.book, passing))
        aims = [_cut(aim, decided.allowed.get(aim.symbol)) for aim in sizing.aims if aim.symbol not in decided.denied]
        return Sizing(sizing.equity, tuple(aims))

    # -- executions -----------------------------------------------------------------------------------------------

    def _send(self, plan: Plan, sizing: Sizing, decided: Decided | None) -> None:
        for draft in plan.drafts:
            if decided is not None and self.step >= Step.RISK_BLOCKED and draft.symbol in decided.held_back:
                # It was planned, so what it would have cost was not there for others.
                self.book = self.book.with_targets(sizing.as_held(self.book, {draft.symbol}))
                continue
            done = None if decided is None else decided.done.get((draft.symbol, draft.side))
            if done is None and decided is not None and decided.expired and self.step >= Step.MISSED_BAR:
                continue  # its time had run out
            for trade in self._executed(draft, done):
                self.book = apply_trade(self.book, trade)

    def _executed(self, draft: Draft, done: Done | None) -> Sequence[Trade]:
        if self.step < Step.PRICE or done is None:
            return self._matched(draft)
        if self.step >= Step.FEE and done.asks(draft.quantity, draft.cost):
            return done.trades
        return self._as_done(draft, done)

    def _matched(self, draft: Draft) -> Sequence[Trade]:
        """Executed as a replay executes it: at the mark, with the modelled slippage and fee."""
        slippage = self.case.slippage if self.step < Step.PRICE else ZERO
        matcher = Matcher(self.markets[draft.symbol], slippage=slippage)
        matcher.move(draft.mark)
        fills = matcher.submit(MatchOrder.of("1", draft.request("t-rerun")))
        return [_trade(draft.symbol, f.side, f.price, f.quantity, f.fee, f.fee_currency) for f in fills]

    def _as_done(self, draft: Draft, done: Done) -> Sequence[Trade]:
        """Executed at live's price, as far as live was filled, with live's fee: what the step has of that."""
        market = self.markets[draft.symbol]
        price = done.price or draft.mark
        quantity = draft.quantity or quantity_for(market, draft.cost or ZERO, price)
        if self.step >= Step.UNFILLED and not done.whole:
            quantity = market.round_quantity(MONEY.multiply(quantity, done.share))
        if not quantity:
            return ()
        if self.step < Step.FEE or not done.trades:
            fee, currency = fee_of(market, draft.side, price, quantity)
        else:
            share = MONEY.divide(quantity, done.filled)
            fee, currency = sum((t.fee for t in done.trades), ZERO) * share, done.trades[0].fee_currency
        return (_trade(draft.symbol, draft.side, price, quantity, fee, currency),)

    # -- what no decision made ------------------------------------------------------------------------------------

    def _happen(self, bar: Millis) -> None:
        """What happened to live between the decision before `bar` and the one at it."""
        facts = self.case.facts
        if paid_in := facts.paid_in.get(bar):
            self.book = replace(self.book, cash=self.book.cash + paid_in)
        if self.step >= Step.BY_HAND:
            for one in facts.by_hand.get(bar, ()):
                self._by_hand(one)

    def _by_hand(self, one: ByHand) -> None:
        """The same trade; a sale takes the share of the position that it took live."""
        trade, held = one.trade, self.book.quantity(one.trade.symbol)
        if trade.side is Side.SELL and held != one.held:
            share = MONEY.divide(held, one.held) if one.held else ZERO
            trade = replace(trade, quantity=trade.quantity * share, fee=trade.fee * share)
        if trade.quantity > 0:
            self.book = apply_trade(self.book, trade)
        if one.flattens:
            self.book = self.book.with_targets({trade.symbol: ZERO})


def _cut(aim: Aim, most: Decimal | None) -> Aim:
    """An increase for at most so much quote currency."""
    return aim if most is None or aim.desired <= most else replace(aim, desired=most)


def _trade(symbol: Symbol, side: Side, price: Decimal, quantity: Decimal, fee: Decimal, currency: str) -> Trade:
    return Trade("", "", None, symbol, side, price, quantity, fee, currency, 0)
