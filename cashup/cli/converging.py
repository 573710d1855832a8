"""`cashup live up`: what the files say against what is stored, said first and then done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from cashup.client import Client, Row

AT_ONCE = {"capital", "limits", "protections", "mode", "on_exit", "restarts", "hang_bars", "report_band"}
"""What a running deployment takes over without another attempt of its worker."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One deployment: what its file says, what is stored, and what has to happen so that they agree.

    `steps` are `put`, `start` and `restart` in order; `words` say it to people.
    """

    name: str
    spec: Row
    steps: Sequence[str]
    words: str


def differences(specs: Mapping[str, Row], stored: Mapping[str, Row], versions: Path) -> Iterator[Difference]:
    """What has to happen for every deployment that has a file, by name."""
    for name, spec in specs.items():
        row = stored.get(name)
        if row is None:
            yield Difference(name, spec, ("put", "start"), f"new, {_where(spec)}")
            continue
        changed = [key for key in dict.fromkeys([*spec, *row["spec"]]) if row["spec"].get(key) != spec.get(key)]
        steps = ["put"] if changed else []
        words = [word for key in changed for word in _said(key, row["spec"], spec, versions)]
        if row["desired"] == "stopped":
            steps.append("start")
            words.append("is stopped and shall run")
        elif set(changed) - AT_ONCE:
            steps.append("restart")
            words.append("begins another attempt")
        if row["desired"] == "paused":
            words.append(f"stays paused (`cashup live resume {name}`)")
        yield Difference(name, spec, steps, "; ".join(words) or "as it was")


def _where(spec: Mapping[str, Any]) -> str:
    version = f"version {spec['version']} of " if "version" in spec else ""
    return f"{version}{Path(spec['notebook']).name} on account {spec['account']} with a capital of {spec['capital']}"


def _said(key: str, old: Mapping[str, Any], new: Mapping[str, Any], versions: Path) -> Iterator[str]:
    """One key that differs, for people; of a table each key in it. A version says what made it another one."""
    before, after = old.get(key), new.get(key)
    if key == "notebook_hash" and "version" in new:
        return  # the version's words say it
    if isinstance(before or after, Mapping):
        table, before, after = "parameters" if key == "params" else key, before or {}, after or {}
        for name in dict.fromkeys([*after, *before]):
            if before.get(name) != after.get(name):
                yield f"{table}.{name} {_short(before.get(name))} -> {_short(after.get(name))}"
        return
    words = f"{key} {_short(before)} -> {_short(after)}"
    yield f"{_why(old, new, versions)}: {words}" if key == "version" and before and after else words


def _why(old: Mapping[str, Any], new: Mapping[str, Any], versions: Path) -> str:
    """What makes the new version another one than the old one."""
    from cashup.errors import CashUpError
    from cashup.strategies.versions import read_version

    if old.get("notebook_hash") != new.get("notebook_hash"):
        return "notebook changed"
    if old.get("params") != new.get("params"):
        return "parameters changed"
    if _modules(old, versions) != _modules(new, versions):
        return "a module beside the notebook changed"
    try:
        promoted = read_version(versions, str(new["version"])).promoted
    except CashUpError:  # it is made when this is done
        promoted = False
    return "promoted" if promoted else "installed packages changed"


def _modules(spec: Mapping[str, Any], versions: Path) -> Mapping[str, str]:
    """The hashes of the files that a notebook imports, of its version or, where that is not made yet, as they are."""
    from cashup.errors import CashUpError
    from cashup.strategies.versions import read_version, unjudged

    try:
        return read_version(versions, str(spec["version"])).modules
    except CashUpError:
        made_of: Mapping[str, Any] = unjudged(Path(spec["notebook"]), spec["params"])
        modules: Mapping[str, str] = made_of.get("modules", {})
        return modules


def _short(value: object) -> str:
    if value is None:
        return "(default)"
    return str(value)


def converge(
    client: Client,
    specs: Mapping[str, Row],
    versions: Path,
    say: Callable[[str], None],
    *,
    prune: bool = False,
    allow_live: bool = False,
    dry_run: bool = False,
) -> None:
    """Say what differs between `specs` and what is stored, then store, start and restart; stop with `prune`.

    Raises before anything is stored: DeploymentError for an account that is not there or not what a file says it is,
    Forbidden for real money without `allow_live`, IntegrityError for a version that was tampered with.
    """
    from cashup.cli.live_checks import check_accounts, check_version

    stored = {row["name"]: row for row in client.deployments()}
    wanted = list(differences(specs, stored, versions))
    live = check_accounts(client, specs)
    for one in wanted:
        say(f"{one.name}: {one.words}")
    gone = [name for name, row in stored.items() if name not in specs and row["desired"] != "stopped"]
    for name in gone:
        goes_on = f"has no file any more; it goes on (stop it with `cashup live stop {name}` or --prune)"
        say(f"{name}: {'has no file any more and shall stop' if prune else goes_on}")
    for one in wanted:
        check_version(one.name, one.spec, versions, say, live=one.name in live, makes=True)
    if dry_run:
        say("nothing was changed: --dry-run")
        return
    for one in wanted:
        _allow(one, one.name in live, allow_live=allow_live)
    for one in wanted:
        _do(client, one, versions, allow_live=allow_live)
    for name in gone if prune else ():
        client.stop(name)


def _allow(one: Difference, live: bool, *, allow_live: bool) -> None:
    from cashup.errors import Forbidden

    if live and one.steps and not allow_live:
        raise Forbidden(
            f"{one.name} trades real money on {one.spec['account']}; say that you mean it with --allow-live, "
            "nothing was changed",
            code="live_not_allowed",
        )


def _do(client: Client, one: Difference, versions: Path, *, allow_live: bool) -> None:
    from cashup.workers.deployment import freeze_spec

    if "put" in one.steps:
        freeze_spec(one.spec, versions)
        client.put_deployment(one.name, {**one.spec, "allow_live": allow_live})
    if "start" in one.steps:
        client.start(one.name, allow_live=allow_live)
    if "restart" in one.steps:
        client.restart(one.name)
