"""The table of docs/performance.md, from the results and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.order_report import order_path, soak
from benchmarks.research_report import engines, research
from benchmarks.worker_report import workers

PEERS = Path(__file__).with_name("peers") / "quoted.json"

_HEAD = """# Performance

Measured by `make bench` on one machine; the figures are in `benchmarks/results/`, and this page is written from them.
Ratios carry over to other machines, the third digit does not. Where three numbers stand together they are minimum /
median / maximum.
"""

_WARM = """## One warm process

Starting Python, importing pandas and vectorbt and calling everything for the first time is most of what a backtest
costs. So the first `cashup backtest`, `cashup lab` or `cashup up` leaves a *template* behind: a process that has done
all of that, and forks when a kernel or a command is wanted. There is one per home, in two flavours: `research`, and
`live` with pandas, the client and papermill: of the latter are the workers that trade, and their kernels. What forks
share, they share in memory.

A template holds nothing of anybody: it starts with a cleared environment, and the request (environment, folder, token)
is read by the forked process and never by the template. It listens on a socket in `run/warm/` of the home, which this
user alone can enter, and ends 15 minutes after its last use, when that socket is removed, or when CashUp or an
installed package has changed. It needs Linux. Elsewhere, with `CASHUP_WARM=0`, or when a template is not to be had, an
ordinary process starts and everything works as before, more slowly.

A forked kernel draws new seeds for `random` and `numpy.random`. Only the seed of Python's string hashes, and with it
the order of a `set` of texts, is the same in every fork of one template; set `PYTHONHASHSEED` to choose it. A forked
kernel has no debugger.

"""


def write_page(results: Path, page: Path) -> None:
    """Write the page from every result there is."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    page.write_text(render(found, json.loads(PEERS.read_text())))


def render(found: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """The page as Markdown. `found` maps a case to its stored result; a case that was not measured says so."""
    values = {name: document["result"] for name, document in found.items()}
    parts = [
        _HEAD,
        _machine(found),
        _whole(values),
        engines(values),
        _backtest(values, peers),
        research(values),
        _warm(values),
        _trading(values),
        order_path(values),
        soak(values),
        workers(values),
    ]
    return "\n".join(part for part in parts if part)


def _machine(found: Mapping[str, Any]) -> str:
    abouts = [document["machine"] for document in found.values()]
    seen = {
        f"{m['cpus']} cores of {m['cpu']}, {m['memory_gib']} GiB, {m['system']}, Python {m['python']}" for m in abouts
    }
    return "".join(f"Machine: {text}.\n" for text in sorted(seen))


def _whole(values: Mapping[str, Any]) -> str:
    rows = [
        ("`cashup --help`", _spread(values, "help", "seconds", " s")),
        ("`make demo`, fresh clone, installation included", _one(values, "demo_cold", "seconds", " s")),
        ("of which installation", _one(values, "demo_cold", "installation_seconds", " s")),
        ("`cashup demo`, installed, 2,000 bars traded", _one(values, "demo_warm", "seconds", " s")),
    ]
    return "## Commands as whole processes\n\n" + _table(("what", "takes"), rows)


def _backtest(values: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    rows = [
        ("**CashUp**, in a warm kernel", _spread(values, "backtest_kernel", "seconds"), ""),
        (
            "**CashUp**, as a script",
            _spread(values, "backtest_script", "seconds"),
            _one(values, "backtest_script", "peak_mib"),
        ),
        (
            "**CashUp**, `cashup backtest` (papermill, kernel, report, record), nothing warm",
            _spread(values, "backtest_process", "cold_seconds"),
            "",
        ),
        ("**CashUp**, `cashup backtest`, warm", _spread(values, "backtest_process", "warm_seconds"), ""),
        (
            "vectorbt 1.2.0 by hand: a bare script, in turn with the two above",
            _spread(values, "backtest_process", "bare_seconds"),
            _one(values, "backtest_process", "bare_peak_mib"),
        ),
    ]
    rows += [(tool["tool"], str(tool["seconds"]), str(tool["peak_mib"])) for tool in peers["tools"]]
    note = (
        "SMA 10/30, fee 0.1 %, 525,600 one-minute bars. CashUp trades all of its equity, and its peak is that "
        "of its largest process. The peers trade one unit and were measured on another, faster machine: "
        f"{peers['machine']}.\n\n"
    )
    return "## One backtest\n\n" + note + _table(("tool", "whole process, s", "peak MiB"), rows)


def _warm(values: Mapping[str, Any]) -> str:
    rows = [
        (
            "`cashup backtest` against the bare script, nothing warm",
            _one(values, "backtest_process", "cold_ratio", " x"),
        ),
        ("`cashup backtest` against the bare script, warm", _one(values, "backtest_process", "warm_ratio", " x")),
    ]
    for flavour, what in (("live", "pandas and the client"), ("research", "vectorbt")):
        for way in ("forked", "cold"):
            name = f"a kernel with {what}, {way}"
            rows.append(
                (
                    f"{name}, until its first cell has run",
                    _spread(values, "kernel_start", f"{flavour}_{way}_seconds", " s"),
                )
            )
            rows.append(
                (
                    f"{name}, memory (PSS) of the fourth",
                    _one(values, "kernel_start", f"{flavour}_{way}_pss_mib", " MiB"),
                )
            )
    return _WARM + _table(("what", ""), rows)


def _trading(values: Mapping[str, Any]) -> str:
    rows = [
        ("replay, strategy asked bar by bar as live", _spread(values, "replay", "bars_per_second_window")),
        ("replay, strategy asked once", _spread(values, "replay", "bars_per_second_frame")),
        ("the whole stack in lockstep, a year of hours", _one(values, "stack", "bars_per_second")),
    ]
    text = "## Trading\n\n" + _table(("what", "bars/s"), rows)
    spent = values.get("stack", {}).get("cpu_ms_per_bar")
    if spent:
        text += "\nWhere the time of the whole stack goes, as CPU time per bar:\n\n"
        text += _table(
            ("process", "ms"), [(name, str(ms)) for name, ms in sorted(spent.items(), key=lambda item: -item[1])]
        )
    return text


def _spread(values: Mapping[str, Any], case: str, field: str, unit: str = "") -> str:
    found = values.get(case, {}).get(field)
    return "not measured" if found is None else f"{found['min']:,} / {found['median']:,} / {found['max']:,}{unit}"


def _one(values: Mapping[str, Any], case: str, field: str, unit: str = "") -> str:
    found = values.get(case, {}).get(field)
    return "not measured" if found is None else f"{found:,}{unit}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
