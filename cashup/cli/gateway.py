"""`cashup gateway`: the process that trades."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cashup.bootstrap import Gateway


def gateway(
    host: Annotated[str | None, typer.Option(help="the address to listen on; default from the settings")] = None,
    port: Annotated[int | None, typer.Option(help="the port; 0 takes a free one; default from the settings")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout when it listens")] = False,
) -> None:
    """Serve the API and trade every deployment, until it is stopped."""
    from cashup.api.server import serve
    from cashup.monitoring.logging import configure
    from cashup.settings import load_settings
    from cashup.workers import coredump

    coredump.forbid()
    coredump.conceal()
    configure()
    settings = load_settings()
    changed = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update=changed)

    def announce(url: str, parts: Gateway) -> None:
        password = parts.first_password
        if as_json:
            # Whoever asked for JSON shows the password to a person; it must not end in that program's log of us.
            typer.echo(json.dumps({"url": url, "admin_password": password}))
            return
        if password is not None:
            typer.echo(
                f"A first user was made: name admin, password {password}\n"
                "It is shown this once. Another one: cashup user password admin",
                err=True,
            )
        typer.echo(f"gateway at {url}, docs at {url}/docs")

    serve(settings, announce=announce)
