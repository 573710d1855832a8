"""Which account a deployment may trade on: paper by default, and real money only when that was said three times."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cashup.api.access import require_own
from cashup.bootstrap import Gateway
from cashup.errors import DeploymentError, Forbidden, NotFound
from cashup.exchanges.paper_terms import PaperTerms
from cashup.strategies.conduct import Conduct, own_account
from cashup.strategies.registry import version_on_record
from cashup.trading.halts import Scope
from cashup.types import Mode
from cashup.users.accounts import Account
from cashup.users.tokens import Claims

LONGEST_NAME = 63
"""Letters in the name of an account."""


async def account_of(
    gateway: Gateway, claims: Claims, name: str, named: str | None, conduct: Conduct, opening: Mapping[str, Decimal]
) -> Account:
    """The account that deployment `name` shall trade on, of the person who asks: the one that is `named`, or its own.

    Its own paper account is made when it is not there; it begins with `opening`.

    Raises NotFound, Forbidden for somebody else's, DeploymentError when the account is not of the mode that was said.
    """
    own = own_account(name)
    wanted = own if named is None else named
    try:
        account = await gateway.accounts.get(wanted)
    except NotFound:
        if wanted != own or conduct.mode not in (None, "paper"):
            raise
        if len(own) > LONGEST_NAME:
            raise DeploymentError(
                f"{name} is too long a name for a paper account of its own; name its account"
            ) from None
        terms = PaperTerms(balances=opening)
        account = await gateway.accounts.create(own, "gate", Mode.PAPER, None, by=claims.subject, terms=terms)
    await require_own(claims, gateway, Scope.ACCOUNT, account.name)
    if named is None and account.mode is not Mode.PAPER:
        raise DeploymentError(f"account {own} is no paper account, so {name} has to name its account")
    await require_mode(gateway, name, account, conduct)
    return account


async def require_mode(gateway: Gateway, name: str, account: Account, conduct: Conduct) -> None:
    """Raise DeploymentError unless the account is what the deployment says it is, and a live one was meant."""
    if conduct.mode is not None and conduct.mode != account.mode:
        raise DeploymentError(f"{name} has mode {conduct.mode}, and its account {account.name} is a {account.mode} one")
    if account.mode is Mode.LIVE and conduct.mode is None:
        raise DeploymentError(
            f'account {account.name} trades real money; {name} needs mode = "live" and a version for it'
        )
    if account.mode is Mode.LIVE and conduct.version is None:
        raise DeploymentError(f"{name} shall trade real money and has no version; `cashup promote` makes one")
    if account.mode is Mode.LIVE and await version_on_record(gateway.database, str(conduct.version)) is None:
        raise DeploymentError(
            f"{name} shall trade real money, and version {conduct.version} was never promoted; `cashup promote` does it"
        )


async def require_live_allowed(
    gateway: Gateway, name: str, account: Account, conduct: Conduct, *, allowed: bool
) -> None:
    """Raise Forbidden unless the deployment trades no real money, or whoever asks said that it may.

    Raises DeploymentError as `require_mode` does: what is stored may be older than these rules.
    """
    await require_mode(gateway, name, account, conduct)
    if account.mode is Mode.LIVE and not allowed:
        raise Forbidden(
            f"{name} trades real money on {account.name}; say that you mean it: --allow-live (API: allow_live)",
            code="live_not_allowed",
        )
