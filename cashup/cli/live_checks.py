"""What is looked at before a deployment is stored or started: its account, and the version that it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cashup.client import Client, Row


def check_accounts(client: Client, specs: Mapping[str, Row]) -> set[str]:
    """The deployments that trade real money. Raises DeploymentError when one names an account that does not exist."""
    from cashup.errors import DeploymentError
    from cashup.strategies.conduct import own_account

    modes = {account["name"]: account.get("mode") for account in client.accounts()}
    missing = {
        name: spec["account"]
        for name, spec in specs.items()
        if spec["account"] not in modes and spec["account"] != own_account(name)  # which is made when it is needed
    }
    if missing:
        listed = ", ".join(f"{account!r} of {name}" for name, account in missing.items())
        raise DeploymentError(f"there is no account {listed}; add it with `cashup account create`, nothing was changed")
    for name, spec in specs.items():
        mode, said = modes.get(spec["account"]), spec.get("mode")
        if mode is not None and said not in (None, mode):
            raise DeploymentError(
                f"{name} has mode {said}, and its account {spec['account']} is a {mode} one; nothing was changed"
            )
        if mode == "live" and said is None:
            raise DeploymentError(
                f'{name} is on account {spec["account"]}, which trades real money; that needs mode = "live" and a '
                "version, nothing was changed"
            )
    return {name for name, spec in specs.items() if modes.get(spec["account"]) == "live"}


def check_version(
    name: str, spec: Row, versions: Path, say: Callable[[str], None], *, live: bool, makes: bool = False
) -> None:
    """Verify the version that a deployment runs; a warning when other packages are installed.

    One that is not there is fine where it `makes` it. Raises NotFound, IntegrityError when it was tampered with, and
    DeploymentError when it trades real money and the version was never promoted or the packages differ.
    """
    from cashup.errors import CashUpError, DeploymentError
    from cashup.strategies.notebook import notebook_hash
    from cashup.strategies.versions import read_version, require_environment

    ident = spec.get("version")
    if ident is None or (makes and not live and not (versions / ident).is_dir()):
        return
    version = read_version(versions, ident)
    if live and not version.promoted:
        raise DeploymentError(f"{name} shall trade real money, and version {ident} was never promoted")
    if warning := require_environment(version, live=live):
        say(f"{name}: {warning}")
    try:
        changed = notebook_hash(Path(spec["notebook"])) != version.notebook_hash
    except CashUpError:  # the working copy is gone: the version does not need it
        return
    if changed:
        say(f"{name}: {version.notebook} was changed since version {ident} was frozen; the version runs")
