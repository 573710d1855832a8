"""`cashup up`: everything a person needs on one machine, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.process import Process

if TYPE_CHECKING:
    from cashup.settings import Settings


def up(
    lab: Annotated[bool, typer.Option(help="serve JupyterLab as well")] = True,
    dashboards: Annotated[bool, typer.Option(help="serve the dashboards as well")] = True,
    supervise: Annotated[bool, typer.Option(help="run what is wished to run")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout when all is up")] = False,
) -> None:
    """Start gateway, dashboards, JupyterLab and the supervisor, say where they are, and end them at Ctrl-C."""
    from cashup.errors import CashUpError
    from cashup.settings import load_settings
    from cashup.storage.servers import open_servers

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings()
    _require_ports(settings, lab=lab, dashboards=dashboards)
    with ExitStack() as exits:
        servers = open_servers(settings)  # held here, so that they outlive every child
        exits.callback(servers.close)
        crew = Crew(settings, exits)
        try:
            places = crew.start(lab=lab, dashboards=dashboards, supervise=supervise)
        except CashUpError:
            if stop.is_set():  # it was the interrupt that ended them
                return
            raise
        _show(places, as_json=as_json)
        while not stop.wait(0.5):
            crew.look()
        if not as_json:
            typer.echo("\nstopping ...", err=True)


class Crew:
    """The children of one `cashup up`. They end with `exits`, the last one started first."""

    def __init__(self, settings: Settings, exits: ExitStack) -> None:
        self._settings = settings
        self._exits = exits
        self._processes: list[Process] = []

    def start(self, *, lab: bool, dashboards: bool, supervise: bool) -> dict[str, Any]:
        """Start everything; where it is."""
        gateway = self._begin("gateway", ["gateway", "--json"])
        url, password = gateway.ready["url"], gateway.ready["admin_password"]
        places: dict[str, Any] = {"gateway": url, "docs": f"{url}/docs"}
        overview = Path("dashboards") / "overview.ipynb"
        if dashboards and overview.is_file():
            places["dashboards"] = self._begin("dashboards", ["dashboards", str(overview), "--json"]).ready["url"]
        if lab:
            places["lab"] = self._begin("lab", ["lab", "--json"]).ready["url"]
        if password is not None:
            places["first_admin"] = {"name": "admin", "password": password}
            self._log_in(password)
        if supervise and self._logged_in():
            self._begin("supervisor", ["live", "up", "--no-files"], announces=False)
        return places

    def look(self) -> None:
        """Raise WorkFailed when a child has ended by itself."""
        for process in self._processes:
            if process.exit_code is not None:
                raise process.failure()

    def _begin(self, name: str, words: list[str], *, announces: bool = True) -> Process:
        process = Process(name, words, log=self._settings.home_path / "logs" / f"{name}.log")
        self._exits.callback(process.stop)
        self._processes.append(process.start(announces=announces))
        return process

    def _log_in(self, password: str) -> None:
        """Whoever starts CashUp for the first time owns it: this machine is logged in as the first admin."""
        from cashup.client import Client, save_token

        with Client(self._settings.gateway) as client:
            save_token(self._settings, client.login("admin", password)["access_token"])

    def _logged_in(self) -> bool:
        """True when this machine has a login that still holds; otherwise there is nobody to run workers for."""
        from cashup.client import Client
        from cashup.errors import Unauthenticated

        try:
            with Client.from_settings(self._settings) as client:
                client.me()
        except Unauthenticated:
            typer.echo(
                "nobody is logged in here, so no worker is started: `cashup user login`, then `cashup live up`",
                err=True,
            )
            return False
        return True


def _require_ports(settings: Settings, *, lab: bool, dashboards: bool) -> None:
    from cashup.cli.ports import require_free

    require_free(settings.host, settings.port, "the gateway", "CASHUP_PORT")
    if dashboards:
        require_free(settings.host, settings.dashboard_port, "the dashboards", "CASHUP_DASHBOARD_PORT")
    if lab:
        require_free("127.0.0.1", settings.lab_port, "JupyterLab", "CASHUP_LAB_PORT")


def _show(places: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(places))
        sys.stdout.flush()
        return
    names = {"lab": "JupyterLab", "dashboards": "dashboards", "gateway": "gateway", "docs": "API"}
    for name, label in names.items():
        if name in places:
            typer.echo(f"  {label:<11}{places[name]}")
    if "first_admin" in places:
        typer.echo(f"\n  A first user was made: name admin, password {places['first_admin']['password']}")
        typer.echo("  It is shown this once. Another one: cashup user password admin")
    typer.echo("\nCtrl-C ends all of it.")
    sys.stdout.flush()
