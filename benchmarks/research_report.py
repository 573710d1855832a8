"""The research tables of docs/performance.md: each figure beside its floor or limit, and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]
Row = tuple[str, str, str, str]

HEAD = ("what", "measured", "beside it, in the same run", "asked for")


def engines(values: Values) -> str:
    """One backtest by every engine, in one run."""
    found = values.get("engines")
    if not found:
        return ""
    seconds = found["seconds"]
    rows = [
        ("**CashUp**, `cu.run` in a warm kernel", _ms(seconds["cashup"]["median"]), "1"),
        ("vectorbt by hand, from its bars in memory", *_beside(seconds, "vectorbt")),
        ("a literal kernel of one pass (the limit)", *_beside(seconds, "limit")),
    ]
    rows += [(peer["tool"], _ms(peer["engine_seconds"]), f"{peer['times_cashup']:g}") for peer in found["peers"]]
    rows += [(name, why, "") for name, why in found["peers_not_run"].items()]
    note = (
        "SMA 10/30 on 525,600 one-minute bars in processes that have imported everything; medians. CashUp's holds "
        "reading the bars from the lake, and a look for look-ahead.\n\n"
    )
    return "## One backtest, engine against engine\n\n" + note + _table(("engine", "takes", "times CashUp's"), rows)


def research(values: Values) -> str:
    """Everything else that research asks of a machine."""
    rows = [*_sweeps(values), *_lake(values), *_checks(values), *_notebook(values), *_validation(values)]
    return "## Research\n\n" + _table(HEAD, rows) if rows else ""


def _sweeps(values: Values) -> list[Row]:
    rows: list[Row] = []
    one, many = values.get("sweep"), values.get("sweep_dask")
    if one:
        literal = f"literal kernel: {one['pairs_per_second_literal']:,} pairs/s"
        plain, remembered = one["pairs_per_second_plain"], one["pairs_per_second_indicator"]
        memory = max(one["pss_mib_plain"], one["pss_mib_indicator"])
        rows += [
            ("sweep of 1,000 pairs, target in plain pandas", f"{plain:,} pairs/s", literal, "100 pairs/s"),
            ("the same, indicators computed once", f"{remembered:,} pairs/s", literal, "600 pairs/s"),
            ("the literal kernel's lead over that", f"{one['literal_to_indicator']} x", "", "3 x"),
            ("memory of all its processes (PSS)", f"{memory:,.0f} MiB", "", "1,536 MiB"),
        ]
    if many:
        for pairs, asked in ((1_000, "1.7 x"), (100, "")):
            found = many[f"of_{pairs}_pairs"]
            what = f"{pairs:,} pairs over 20 symbols through Dask, two workers"
            beside = f"one worker: {found['seconds_one']} s"
            if "bare_two_to_one" in many:
                beside += f"; two bare processes: {many['bare_two_to_one']} x one"
            rows.append((what, f"{found['two_to_one']} x one worker", beside, asked))
    return rows


def _lake(values: Values) -> list[Row]:
    found = values.get("lake")
    if not found:
        return []
    names = {
        "year": ("a symbol's year of minutes as `Bars`", "25 ms"),
        "month": ("a month of it", "8 ms"),
        "twenty_years": ("20 symbols' year", "400 ms"),
        "import_csv": ("import of a CSV with 53,308 rows", "500 ms"),
        "append_500": ("a bar appended to 500 symbols", "500 ms"),
    }
    return [(what, *_pair(found[name]), asked) for name, (what, asked) in names.items()]


def _checks(values: Values) -> list[Row]:
    found = values.get("check")
    if not found:
        return []
    one = found["sma_cross"]
    glance = found["minutes"]
    beside = f"the backtest: {glance['backtest']['median'] * 1000:,.1f} ms"
    return [
        ("`cashup check`, a year of hours, whole process", f"{one['full']['median']:.1f} s", "", "20 s"),
        ("`cashup check --quick`, whole process", f"{one['quick']['median']:.1f} s", "", "3 s"),
        ("the look at every backtest, a year of minutes", f"{glance['glance']['median'] * 1000:.1f} ms", beside, ""),
    ]


def _notebook(values: Values) -> list[Row]:
    found = values.get("import")
    if not found:
        return []
    ours, floor = found["cashup"], found["pandas"]
    beside = f"`import pandas`: {floor['seconds']['median']} s, {floor['peak_mib']} MiB"
    measured = f"{ours['seconds']['median']} s, {ours['peak_mib']} MiB"
    return [("`import cashup`, before research is used", measured, beside, "0.8 s, 120 MiB")]


def _validation(values: Values) -> list[Row]:
    walk, tests = values.get("walkforward"), values.get("validation")
    rows: list[Row] = []
    if walk:
        floor = f"the kernel alone: {walk['floor_seconds']['median']} s"
        what = f"walk-forward of {walk['sets']} sets over a year of hours"
        rows.append((what, f"{walk['seconds']['median']} s", floor, ""))
    if tests:
        rows += [
            ("100 other histories of a year of hours", f"{tests['histories_100']['median']} s", "", ""),
            ("significance of a signal, 2,000 draws", f"{tests['significance_2000']['median']} s", "", ""),
        ]
    return rows


def _pair(found: Mapping[str, Any]) -> tuple[str, str]:
    ours, floor = (found[name]["median"] for name in ("ms", "floor_ms"))
    return f"{ours:g} ms", f"bare: {floor:g} ms"


def _beside(seconds: Mapping[str, Any], name: str) -> tuple[str, str]:
    median = seconds[name]["median"]
    return _ms(median), f"{median / seconds['cashup']['median']:.2g}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
