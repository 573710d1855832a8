"""The simulated venue's customers: their keys and what they own. Money is never made or lost between them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cashup.errors import Conflict, IntegrityError
from cashup.simulator.refusals import Refusal
from cashup.types import ZERO, Balance


@dataclass(slots=True)
class Holding:
    """One currency of one account."""

    available: Decimal = ZERO
    locked: Decimal = ZERO
    updates: int = 0


@dataclass(slots=True)
class Account:
    """One customer."""

    uid: int
    name: str
    key: str
    secret: str = field(repr=False)
    holdings: dict[str, Holding] = field(default_factory=dict)

    def holding(self, currency: str) -> Holding:
        """The holding of `currency`, made when it is first asked for."""
        return self.holdings.setdefault(currency, Holding())

    def lock(self, currency: str, amount: Decimal) -> None:
        """Set `amount` aside for an order; refused when it is not there."""
        holding = self.holding(currency)
        if amount > holding.available:
            raise Refusal("BALANCE_NOT_ENOUGH", f"Not enough balance: {holding.available} {currency} available")
        holding.available -= amount
        holding.locked += amount
        holding.updates += 1

    def unlock(self, currency: str, amount: Decimal) -> None:
        """Give back what an order no longer needs."""
        self.take_locked(currency, amount)
        self.holding(currency).available += amount

    def take_locked(self, currency: str, amount: Decimal) -> None:
        """Spend what an order had set aside."""
        holding = self.holding(currency)
        if amount > holding.locked:
            raise IntegrityError(f"account {self.uid} has {holding.locked} {currency} locked, not {amount}")
        holding.locked -= amount
        holding.updates += 1

    def credit(self, currency: str, amount: Decimal) -> None:
        """Receive `amount`."""
        holding = self.holding(currency)
        holding.available += amount
        holding.updates += 1

    def balances(self) -> dict[str, Balance]:
        """Everything it owns, without empty currencies."""
        return {
            currency: Balance(holding.available, holding.locked)
            for currency, holding in self.holdings.items()
            if holding.available or holding.locked
        }


class Accounts:
    """Every account, found by key. Keys and secrets are made here, at run time, and nowhere else."""

    def __init__(self) -> None:
        self._by_key: dict[str, Account] = {}
        self._by_name: dict[str, Account] = {}
        self.deposits: dict[str, Decimal] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())

    def create(self, name: str, balances: Mapping[str, Decimal]) -> Account:
        """A new account with a deposit; raises Conflict when the name is taken."""
        if name in self._by_name:
            raise Conflict(f"the simulator has an account {name!r} already; choose another name")
        uid = 10_000_001 + len(self._by_name)
        account = Account(uid, name, secrets.token_hex(16), secrets.token_hex(32))
        for currency, amount in balances.items():
            if not amount.is_finite() or amount < 0:
                raise Conflict(f"a deposit of {amount} {currency} is not possible; give a number of zero or more")
            self.transfer(account, currency, amount)
        self._by_key[account.key] = account
        self._by_name[name] = account
        return account

    def transfer(self, account: Account, currency: str, amount: Decimal) -> None:
        """Deposit `amount`, or withdraw it when it is below zero; refused when it is not there."""
        available = account.holding(currency).available
        if available + amount < 0:
            raise Refusal("BALANCE_NOT_ENOUGH", f"Not enough balance: {available} {currency} available")
        account.credit(currency, amount)
        self.deposits[currency] = self.deposits.get(currency, ZERO) + amount

    def owner(self, key: str) -> Account | None:
        """The account of an API key, or None."""
        return self._by_key.get(key)

    def with_key(self, key: str) -> Account:
        """The account of an API key; refused when there is none."""
        account = self._by_key.get(key)
        if account is None:
            raise Refusal("INVALID_KEY", "Invalid key provided", status=401)
        return account
