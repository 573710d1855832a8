"""`cashup validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cashup.cli.database import with_database
from cashup.cli.judging import keep, record, spec_of
from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.research.validating.validation import Validation


@with_terms()
def validate(
    notebook: Notebook,
    param: Params = None,
    samples: Annotated[int, typer.Option(help="draws of everything cheap")] = 1_000,
    histories: Annotated[int, typer.Option(help="resampled histories on which the strategy runs again")] = 100,
    block: Annotated[float | None, typer.Option(help="the mean length of resampled blocks, in bars")] = None,
    seed: Annotated[int, typer.Option(help="another seed, other draws")] = 0,
    *,
    terms: Terms,
    as_json: Json = False,
) -> None:
    """Backtest a notebook and test what came out against chance, with every trial of it that was ever counted."""
    from cashup.cli.runs import print_json
    from cashup.research.backtest import backtest
    from cashup.research.validating.candidates import load_candidates, loader_of
    from cashup.research.validating.validation import validate as validated
    from cashup.research.validating.walkforward import bars_for
    from cashup.strategies.registry import notebook_name, trials_of_notebook

    spec = spec_of(**terms)
    params = read_params(notebook, param)
    alone = load_candidates(loader_of(notebook, params), [{}])
    tried = with_database(lambda database: trials_of_notebook(database, notebook_name(notebook)))
    draws = {"samples": samples, "histories": histories, "seed": seed}
    bars = bars_for(alone, spec)
    made = validated(backtest(alone.strategies[0], bars, spec), bars, trials=tried, block=block, **draws)
    output = keep(spec, "validation", made.to_json(), made.html(f"{notebook.stem}: validation"))
    metrics = made.run.metrics()
    record("validation", notebook, params, spec, data_version=made.run.data_version, metrics=metrics, output=output)
    if as_json:
        print_json({"run_id": spec.run_id, "output": str(output)} | made.to_json())
    else:
        _print(made, output)


def _print(made: Validation, output: Path) -> None:
    from cashup.cli.table import print_table

    rows: list[list[str]] = []
    if made.significance is not None:
        rows.append(["signal by chance", f"p = {made.significance.p_value:.3f}"])
    if made.deflated is not None:
        rows.append(["probabilistic Sharpe", f"{made.deflated.psr:.1%}"])
        rows.append([f"deflated Sharpe ({made.deflated.trials} trials)", f"{made.deflated.dsr:.1%}"])
    for test in (made.shuffled, made.resampled, made.returns, made.histories):
        if test is not None:
            said = f"drawdown median {test.drawdown(50):.1%}, 95 % {test.drawdown(95):.1%}"
            rows.append([test.method, f"{said}; loses in {test.loss_probability:.0%}"])
    print(repr(made.run))
    print_table(["", ""], rows)
    for note in made.notes:
        print(f"not tested: {note}")
    print(f"report: {output}")


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command(cls=ParamsCommand)(validate)
