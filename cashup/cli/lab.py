"""`cashup lab`: JupyterLab for authors, on this machine only, behind a token of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

FAILED_CELL = "#cell-id=papermill-error-cell"
"""Where papermill marks the cell that failed."""


def lab(
    folder: Annotated[Path, typer.Argument(help="the folder to open")] = Path(),
    run: Annotated[str | None, typer.Option(help="open this run's executed notebook, at the cell that failed")] = None,
    port: Annotated[int | None, typer.Option(help="the port; default from the settings")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout before it starts")] = False,
) -> None:
    """Serve JupyterLab on 127.0.0.1 until it is stopped."""
    from cashup.cli.ports import require_free
    from cashup.errors import UsageError
    from cashup.settings import load_settings

    notebook = _notebook_of(run) if run else None
    folder = notebook.parent if notebook else folder
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the one that holds your notebooks")
    number = load_settings().lab_port if port is None else port
    require_free("127.0.0.1", number, "JupyterLab", "CASHUP_LAB_PORT")
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "jupyterlab", *_options(folder.resolve(), number)]
    _warm_up()
    # The token goes through the environment: arguments can be read by everybody on the machine.
    given = {"JUPYTER_TOKEN": token, "JUPYTER_DEFAULT_PROVISIONER_NAME": "cashup"}
    process = subprocess.Popen(command, env=os.environ | given, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        _wait_until_it_listens(process, number)
        url = f"http://127.0.0.1:{number}/lab{_place(notebook)}?token={token}{FAILED_CELL if notebook else ''}"
        typer.echo(json.dumps({"url": url}) if as_json else f"JupyterLab at {url}")
        sys.stdout.flush()
        process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()


def _notebook_of(run: str) -> Path:
    """The executed notebook of `run`."""
    from cashup.cli.database import with_database
    from cashup.errors import NotFound
    from cashup.strategies.registry import find_run

    found = with_database(lambda database: find_run(database, run))
    if not Path(found.output).is_file():
        raise NotFound(f"the executed notebook of run {found.id} is not at {found.output} any more")
    return Path(found.output)


def _place(notebook: Path | None) -> str:
    return f"/tree/{quote(notebook.name)}" if notebook else ""


def _warm_up() -> None:
    """Start the process that the kernels will be forked from; it is ready when the first notebook is opened."""
    from cashup.settings import load_settings
    from cashup.workers.fork import start

    settings = load_settings()
    if settings.warm:
        start("research", settings.home_path)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    from cashup.cli.ports import is_open
    from cashup.errors import WorkFailed

    while not is_open("127.0.0.1", port):
        if process.poll() is not None:
            raise WorkFailed(f"JupyterLab ended with exit code {process.returncode}; what it said stands above")
        time.sleep(0.1)


def _options(folder: Path, port: int) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": str(port),
        "ServerApp.port_retries": "0",
        "ServerApp.root_dir": str(folder),
        "ServerApp.open_browser": "False",
        "Application.log_level": "WARN",
        "ServerApp.allow_root": "True",
        # Nothing is looked up in the network, and no extension is installed into the locked environment.
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": "",
        # ipykernel's default, TCP ports on the loopback, can be read by every user of the machine.
        "KernelManager.transport": "ipc",
    }
    return [f"--{name}={value}" for name, value in options.items()]
