"""`cashup worker`: one attempt of a deployment. Its supervisor starts it; see `cashup live up`."""

from __future__ import annotations

import typer


def worker() -> None:
    """Execute one attempt of a deployment; the task comes on standard input from the supervisor."""
    from cashup.workers.process import main

    raise typer.Exit(main())
