"""The book of a paper account in PostgreSQL: what the venue knows, whatever happens to the process that plays it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.errors import ExchangeTransient
from cashup.paper.tables import paper_accounts, paper_orders, paper_trades
from cashup.storage.database import transaction
from cashup.types import (
    MONEY,
    Balance,
    Millis,
    OrderReport,
    OrderType,
    Side,
    Symbol,
    TimeInForce,
    Trade,
)


@dataclass(frozen=True, slots=True)
class Line:
    """An order as the book has it. `spent` is price * quantity of its fills, `reserved` what it holds of a balance."""

    id: int
    client_order_id: str
    symbol: Symbol
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal | None
    cost: Decimal | None
    price: Decimal | None
    filled: Decimal
    spent: Decimal
    reserved: Decimal
    done: bool
    reason: str
    updated_at: Millis


@dataclass(frozen=True, slots=True)
class Page:
    """An account between two commits: its balances, how far its markets were followed, when its countdown runs out, and
    the orders that rest."""

    version: int
    serial: int
    balances: Mapping[str, Balance]
    markets: Mapping[str, Mapping[str, Any]]
    cancel_at: Millis | None = None
    resting: Sequence[Line] = ()


class Book:
    """The book of the account named `account`, which began with `opening` (asset -> amount).

    Raises ExchangeTransient when the database does not answer; what was to be written is then unknown.
    """

    def __init__(self, engine: AsyncEngine, account: str, opening: Mapping[str, Decimal]) -> None:
        self._engine = engine
        self._account = account
        self._opening = opening

    async def page(self) -> Page:
        """The account as it is; a new one is opened."""
        query = select(paper_orders).where(self._mine(paper_orders), ~paper_orders.c.done).order_by(paper_orders.c.id)
        with _answering():
            async with transaction(self._engine) as connection:
                page = await self._page(connection)
                rows = await connection.execute(query)
                return replace(page, resting=[_line(row._mapping) for row in rows])

    async def write(self, page: Page, orders: Sequence[Line], trades: Sequence[Trade], now: Millis) -> None:
        """Commit what follows the page before `page`: all of it, or nothing when another process did already."""
        turned = (
            update(paper_accounts)
            .where(self._mine(paper_accounts), paper_accounts.c.version == page.version - 1)
            .values(
                version=page.version,
                serial=page.serial,
                balances={asset: [str(b.available), str(b.reserved)] for asset, b in page.balances.items()},
                markets=page.markets,
                cancel_at=page.cancel_at,
                updated_at=now,
            )
        )
        with _answering():
            async with transaction(self._engine) as connection:
                if (await connection.execute(turned)).rowcount != 1:
                    raise ExchangeTransient(f"another process trades the paper account {self._account}")
                if orders:
                    statement = postgresql.insert(paper_orders)
                    changed = {name: statement.excluded[name] for name in _CHANGES}
                    upsert = statement.on_conflict_do_update(index_elements=["account", "id"], set_=changed)
                    await connection.execute(upsert, [self._order_row(line) for line in orders])
                if trades:
                    await connection.execute(insert(paper_trades), [self._trade_row(trade) for trade in trades])

    async def balances(self) -> Mapping[str, Balance]:
        """Every asset with something on it."""
        with _answering():
            async with transaction(self._engine) as connection:
                page = await self._page(connection)
        return {asset: balance for asset, balance in page.balances.items() if balance.total}

    async def orders(self, *conditions: ColumnElement[bool]) -> list[OrderReport]:
        """The orders that meet the conditions (on `paper_orders`), oldest first."""
        query = select(paper_orders).where(self._mine(paper_orders), *conditions).order_by(paper_orders.c.id)
        with _answering():
            async with self._engine.connect() as connection:
                return [_report(_line(row._mapping)) for row in await connection.execute(query)]

    async def trades(self, symbol: Symbol, since: Millis) -> list[Trade]:
        """The executions since `since`, oldest first."""
        query = select(paper_trades).where(
            self._mine(paper_trades), paper_trades.c.symbol == symbol, paper_trades.c.time >= since
        )
        with _answering():
            async with self._engine.connect() as connection:
                return [_trade(row._mapping) for row in await connection.execute(query.order_by(paper_trades.c.id))]

    async def _page(self, connection: AsyncConnection) -> Page:
        query = select(paper_accounts).where(self._mine(paper_accounts))
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            first = {
                "account": self._account,
                "version": 0,
                "serial": 0,
                "balances": {asset: [str(amount), "0"] for asset, amount in self._opening.items()},
                "markets": {},
                "updated_at": 0,
            }
            await connection.execute(postgresql.insert(paper_accounts).on_conflict_do_nothing(), first)
            row = (await connection.execute(query)).one()
        balances = {asset: Balance(*map(Decimal, amounts)) for asset, amounts in row.balances.items()}
        return Page(row.version, row.serial, balances, row.markets, row.cancel_at)

    def _mine(self, table: Any) -> ColumnElement[bool]:
        mine: ColumnElement[bool] = table.c.account == self._account
        return mine

    def _order_row(self, line: Line) -> dict[str, Any]:
        return {"account": self._account} | {name: getattr(line, name) for name in _ORDER}

    def _trade_row(self, trade: Trade) -> dict[str, Any]:
        ids = {"id": int(trade.trade_id), "order_id": int(trade.exchange_order_id)}
        return {"account": self._account} | ids | {name: getattr(trade, name) for name in _TRADE}


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise ExchangeTransient(f"the book of the paper account does not answer: {error}") from error


_ORDER = [column.name for column in paper_orders.columns if column.name != "account"]
_CHANGES = [name for name in _ORDER if name not in ("id", "client_order_id", "symbol", "side", "type")]
_TRADE = [column.name for column in paper_trades.columns if column.name not in ("account", "id", "order_id")]


def _line(row: Mapping[Any, Any]) -> Line:
    words = {
        "symbol": Symbol(row["symbol"]),
        "side": Side(row["side"]),
        "type": OrderType(row["type"]),
        "time_in_force": TimeInForce(row["time_in_force"]),
    }
    return Line(**({name: row[name] for name in _ORDER} | words))


def _report(line: Line) -> OrderReport:
    return OrderReport(
        client_order_id=line.client_order_id,
        exchange_order_id=str(line.id),
        symbol=line.symbol,
        side=line.side,
        filled=line.filled,
        done=line.done,
        reason=line.reason,
        updated_at=line.updated_at,
        quantity=line.quantity,
        average_price=MONEY.divide(line.spent, line.filled) if line.filled else None,
        price=line.price,
    )


def _trade(row: Mapping[Any, Any]) -> Trade:
    ids = {"trade_id": str(row["id"]), "exchange_order_id": str(row["order_id"])}
    words = {"symbol": Symbol(row["symbol"]), "side": Side(row["side"])}
    return Trade(**({name: row[name] for name in _TRADE} | ids | words))
