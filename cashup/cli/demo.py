"""`cashup demo`: the whole way, offline, on the code that trades."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cashup.cli.journey import Report

MARK = ".cashup-demo"
"""A file that says that a folder is a demo's and may be emptied by the next one."""

STEPS = {
    "bars": "made-up bars of BTC/USDT into the lake",
    "backtest": "the notebook as a backtest (papermill, vectorbt)",
    "checks": "sound bars; the notebook does not look ahead, is deterministic and holds no secret",
    "replay": "the same strategy through planner, risk, order states and matching",
    "live": "a worker trades it on a simulated Gate.io, bar by bar",
    "parity": "what was traded against what was promised",
}


def demo(
    bars: Annotated[int, typer.Option(help="how many bars the worker trades", min=50)] = 2_000,
    home: Annotated[Path | None, typer.Option(help="a folder for it; default `demo` under the home")] = None,
    notebook: Annotated[Path, typer.Option(help="the strategy")] = Path("notebooks/sma_cross.ipynb"),
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """From bars to a live worker and a report, without network, account or key."""
    from cashup.cli.journey import Journey
    from cashup.errors import UsageError, WorkFailed
    from cashup.settings import load_settings

    if not notebook.is_file():
        raise UsageError(f"there is no notebook {notebook}; run this in the project's folder or name one")
    folder = _fresh(home or load_settings().home_path / "demo")
    with _shown() as show:
        report = Journey(folder, notebook, bars, show).run()
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        _print(report)
    if not report.equal:
        raise WorkFailed("the live run is not what the replay promised; see the report above")


def _fresh(folder: Path) -> Path:
    """An empty folder that is ours; raises UsageError for a folder with something else in it."""
    from cashup.errors import UsageError

    folder = folder.expanduser().resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise UsageError(f"{folder} is not empty and not a demo's; name an empty folder with --home")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


class Show:
    """Progress on standard error: one line per step, and a bar while the market runs."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(28), TextColumn("{task.fields[note]}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self.console)
        self._task: Any = None

    def __enter__(self) -> Show:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show `name` as what happens now, and as done after the block."""
        self._task = self._progress.add_task(f"{name:<9}{STEPS[name]}", total=None, note="")
        yield
        self._progress.update(self._task, total=1, completed=1, visible=False)
        self.console.print(f"[green]done[/]  {name:<9}{STEPS[name]}", highlight=False)

    def bars(self, done: int, total: int, per_second: float) -> None:
        """How far the market has run."""
        note = f"{done}/{total} bars, {per_second:.0f} bars/s"
        self._progress.update(self._task, completed=done, total=total, note=note)


def _shown() -> Show:
    return Show()


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False)
    table = Table("", "backtest", "replay, venue's rounding", "live", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_row("orders", *(str(n) for n in report.orders))
    table.add_row("final equity", *(f"{value:,.2f}" for value in report.equities))
    table.add_row("return", *(f"{value / report.capital - 1:+.2%}" for value in report.equities))
    console.print()
    console.print(table)
    console.print()
    for line in report.sentences():
        console.print(line)
    console.print("\nLook at:")
    for name, path in report.artefacts.items():
        console.print(f"  {name.replace('_', ' '):<20}{path}", soft_wrap=True)
    console.print(
        "\nNext: `make up` serves JupyterLab, the API and the dashboards; docs/getting-started.md goes on from here."
    )
