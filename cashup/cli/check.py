"""`cashup check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.research.checks.verdict import Report


@with_terms(venue_limits=True)
def check(
    notebook: Notebook,
    param: Params = None,
    quick: Annotated[bool, typer.Option("--quick", help="a few shorter histories and secrets, within seconds")] = False,
    only: Annotated[str, typer.Option(help="some checks, such as lookahead,warmup")] = "",
    seed: Annotated[int, typer.Option(help="which bars are tried")] = 0,
    *,
    terms: Terms,
    as_json: Json = False,
) -> None:
    """Is the strategy honest: look-ahead, warm-up, determinism, secrets, parameters that do nothing. Exit 1 when not.

    Without --start the last 10,000 bars are used. Capital, costs and limits are taken as `backtest` takes them; no
    check depends on them.
    """
    import json

    from cashup.errors import WorkFailed
    from cashup.research.checks.run import check as run_checks
    from cashup.research.spec import RunSpec

    spec = RunSpec(
        **terms,
    )
    params = read_params(notebook, param)
    names = [name.strip() for name in only.split(",") if name.strip()]
    report = run_checks(notebook, params=params, only=names, quick=quick, seed=seed, spec=spec)
    typer.echo(json.dumps(report.to_json()) if as_json else "\n".join(report.lines()))
    if not report.passed:
        raise WorkFailed(_sentence(notebook, report), code="check_failed")


def _sentence(notebook: Path, report: Report) -> str:
    return f"{notebook.name} does not pass: {', '.join(check.name for check in report.failed)}; see the evidence above"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command(cls=ParamsCommand)(check)
