"""`cashup walkforward`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.judging import keep, record, spec_of
from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Grid, Params, ParamsCommand, read_params
from cashup.errors import UsageError

if TYPE_CHECKING:
    from cashup.research.spec import RunSpec
    from cashup.research.validating.candidates import Candidates
    from cashup.research.validating.walkforward import WalkForward
    from cashup.strategies.registry import Trial


@with_terms()
def walkforward(
    notebook: Notebook,
    grid: Grid = None,
    param: Params = None,
    scheme: Annotated[str, typer.Option(help="rolling, expanding, kfold or cpcv")] = "rolling",
    train: Annotated[str | None, typer.Option(help="the train window, in bars or as 180d")] = None,
    test: Annotated[str | None, typer.Option(help="the test window, in bars or as 30d")] = None,
    folds: Annotated[int | None, typer.Option(help="how many tests, instead of their length")] = None,
    tests: Annotated[int, typer.Option(help="cpcv: how many folds are tested at a time")] = 2,
    purge: Annotated[str, typer.Option(help="bars left out beside a test: how long a decision lasts")] = "0",
    embargo: Annotated[str, typer.Option(help="more bars left out after it; bars, 2d, or a fraction")] = "0",
    objective: Annotated[str, typer.Option(help="the figure to choose by")] = "sharpe",
    *,
    terms: Terms,
    as_json: Json = False,
) -> None:
    """Choose parameters on train windows, judge them on the tests, and join the tests to one account."""
    from cashup.cli.runs import print_json
    from cashup.research.validating.walkforward import bars_for, walk_forward

    spec = spec_of(**terms)
    params = read_params(notebook, param)
    candidates = _candidates(notebook, params, grid)
    lengths = {"train": train, "test": test, "folds": folds, "tests": tests, "purge": purge, "embargo": embargo}
    bars = bars_for(candidates, spec)
    with _bar(len(candidates)) as progress:
        made = walk_forward(candidates, bars, spec, scheme=scheme, objective=objective, progress=progress, **lengths)
    output = _keep(made, notebook, params, spec)
    if as_json:
        print_json({"run_id": spec.run_id, "output": str(output)} | made.to_json())
    else:
        _print(made, output)


def _candidates(notebook: Path, params: Mapping[str, Any], grid: Sequence[str] | None) -> Candidates:
    from cashup.research.validating.candidates import load_candidates, loader_of, sets_of

    ranges = _ranges(notebook, grid)
    for name in ranges:
        if name in params:
            raise UsageError(f"{name} is given by -p and by -g; it is either fixed or chosen")
    return load_candidates(loader_of(notebook, params), sets_of(ranges))


def _keep(made: WalkForward, notebook: Path, params: Mapping[str, Any], spec: RunSpec) -> Path:
    """Report and trials on disk, run and trials in the registry; the report's path."""
    from cashup.research.validating.walkpage import walk_page

    output = keep(spec, "walkforward", made.to_json(), walk_page(made, f"{notebook.stem}: walk-forward"))
    made.trials.to_parquet(output.with_name("trials.parquet"))
    record(
        "walkforward",
        notebook,
        params,
        spec,
        data_version=made.data_version,
        metrics=made.metrics() | {"efficiency": _finite(made.efficiency), "trials_made": len(made.trials)},
        output=output,
        tried=_trials(made, str(spec.run_id), notebook, params),
    )
    return output


def _ranges(notebook: Path, words: Sequence[str] | None) -> dict[str, list[Any]]:
    """What `-g` gave, as checked values per parameter; NotebookError for unknown names and wrong types."""
    from cashup.research.sweeping.space import Between, as_range
    from cashup.strategies.notebook import check_parameters

    ranges: dict[str, list[Any]] = {}
    for word in words or ():
        name, _, text = word.partition("=")
        wanted = as_range(name, text)
        if isinstance(wanted, Between):
            raise UsageError(f"a walk-forward tries every value, and {name} has none named; write low:high:step")
        ranges[name] = [check_parameters(notebook, {name: value})[name] for value in wanted]
    if not ranges:
        raise UsageError("name what to choose from, such as -g fast 5:25:5")
    return ranges


def _trials(made: WalkForward, run_id: str, notebook: Path, params: Mapping[str, Any]) -> list[Trial]:
    """Every set on every train window as a trial of the notebook."""
    from cashup.strategies.notebook import notebook_hash
    from cashup.strategies.registry import Trial, notebook_name

    name, source = notebook_name(notebook), notebook_hash(notebook)
    return [Trial(run_id, one.number, name, source, one.params, one.metrics) for one in made.tried(params)]


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr when a person looks at it; gives what is told how far the work is."""
    import sys

    from tqdm import tqdm

    with tqdm(total=total, unit="set", disable=not sys.stderr.isatty(), leave=False) as bar:

        def advance(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        yield advance


def _print(made: WalkForward, output: Path) -> None:
    from cashup.cli.table import print_table
    from cashup.research.reporting.page import shown

    table = made.folds
    header = ["fold", *(str(name).replace("_", " ") for name in table.columns)]
    print_table(header, [[shown(value) for value in row] for row in table.itertuples(index=True, name=None)])
    print()
    print(repr(made))
    print(made.verdict)
    for params, reason in made.invalid:
        print(f"left out {dict(params)}: {reason}")
    print(f"report: {output}")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command(cls=ParamsCommand)(walkforward)
