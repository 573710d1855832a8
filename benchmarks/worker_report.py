"""The tables of docs/performance.md about live workers: each figure beside its floor, peers, or what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]
Row = tuple[str, ...]

_ONE = (
    "A worker is two processes, papermill and its kernel, both forked from the `live` template. Memory is PSS: what is "
    "shared counts by how many share it, so the figures add up. The floor of a decision is the same hops (WebSocket "
    "in, WebSocket out, the same call of pandas, the intent back) with nothing of ours between them: no kernel, no "
    "subscription, no gateway.\n\n"
)
_MANY = (
    "All of them decide every bar, on one-minute bars of a simulator: the hardest moment is the minute itself. Delays "
    "count from the last frame of the bar's candle at the gateway.\n\n"
)
_PEERS = (
    "One paper strategy, the same averages, one-minute candles. NautilusTrader runs strategy, engine and venue in one "
    "process, with an indicator that is updated per bar, keeps nothing on disk, and gets its candles through a data "
    "client of ours, as it has none for Gate. freqtrade asks its exchange for candles in rounds. Our row is one worker "
    "with its template; the gateway, which every worker shares, weighs as much again as it says.\n\n"
)


def workers(values: Values) -> str:
    """One worker, peers beside it, and a hundred."""
    parts = [_one(values), _peers(values), _many(values)]
    return "\n".join(part for part in parts if part)


def _one(values: Values) -> str:
    rows = [*_start(values), *_decision(values), *_month(values)]
    return "## A live worker\n\n" + _ONE + _table(("what", "measured", "asked for"), rows) if rows else ""


def _start(values: Values) -> list[Row]:
    found = values.get("worker")
    if not found:
        return []
    seconds = found["seconds"]
    spread = f"{seconds['min']} / {seconds['median']} / {seconds['max']} s"
    rows = [
        ("from the wish to run to the first processed bar, template running", spread, "1.5 s"),
        ("the same, template included", f"{found['first_seconds']} s", ""),
        ("memory of template, worker and kernel", f"{found['pss_mib_first']} MiB", "130 MiB"),
        ("each further worker with its kernel", f"{found['pss_mib_each_further']} MiB", "45 MiB"),
    ]
    shared = ("gateway", "supervisor", "simulator")
    return rows + [(f"beside it: the {name}", f"{found['pss_mib'][name]} MiB", "") for name in shared]


def _decision(values: Values) -> list[Row]:
    found = values.get("worker_decision")
    if not found:
        return []
    ours, floor, decided = found["ms_close_to_intent"], found["ms_floor"], found["ms_close_to_decided"]
    beside = f"(floor {floor['p50']} ms, of it pandas {found['ms_pandas']} ms)"
    return [
        ("bar's close frame to intent, both at the gateway, 1,000 bars, p50", f"{ours['p50']} ms {beside}", "4 ms"),
        ("the same, p99", f"{ours['p99']} ms (floor {floor['p99']} ms)", "15 ms"),
        ("until the decision is committed and answered, p50 / p99", f"{decided['p50']} / {decided['p99']} ms", ""),
    ]


def _month(values: Values) -> list[Row]:
    found = values.get("worker_month")
    if not found:
        return []
    slopes = found["mib_per_10000_bars"]
    grown = f"{slopes['worker']} + {slopes['kernel']} MiB"
    return [
        (f"growth of worker and kernel per 10,000 bars, over {found['bars']:,}", grown, "1 MiB"),
        ("its notebook then", f"{found['notebook_kib']} KiB", "1,024 KiB"),
    ]


def _peers(values: Values) -> str:
    found = values.get("worker_peers")
    if not found:
        return ""
    rows = []
    if "worker" in values and "worker_decision" in values:
        decided = values["worker_decision"]["ms_close_to_intent"]
        rows.append(("**CashUp**, a worker", f"{values['worker']['pss_mib_first']}", _delay(decided)))
    rows += [(each["tool"], f"{each['pss_mib']}", _delay(each["ms_close_to_decided"])) for each in found["peers"]]
    return "## Live, beside peers\n\n" + _PEERS + _table(("tool", "memory (PSS), MiB", "candle to decision, ms"), rows)


def _delay(found: Mapping[str, Any]) -> str:
    if "p50" not in found:
        return "not measured"
    return f"{found['p50']:,} / {found['p99']:,} (p50 / p99 of {found['count']})"


def _many(values: Values) -> str:
    found = values.get("workers_many")
    if not found:
        return ""
    quick, minute, memory = found["ms_close_to_decided"], found["at_the_minute_ms_close_to_decided"], found["memory"]
    sent = found["at_the_minute_ms_close_to_bar_sent"]
    head = f"{found['deployments']} paper deployments, {found['symbols']} symbols, {found['accounts']} accounts"
    rows = [
        ("subscriptions to candles at the venue", f"{found['candle_subscriptions']}", f"{found['symbols']}"),
        ("bar's close to its frame at the last worker", f"{sent['max']} ms", "1,000 ms"),
        ("bar's close to target decided at the minute, p99", f"{minute['p99']} ms", "500 ms"),
        (f"the same over {quick['count']:,} decisions, bars seconds apart, p50 / p99", _two(quick), "500 ms"),
        ("cores at one-minute bars, all processes", f"{found['cores_at_one_minute_bars']}", "1"),
        ("memory of template, workers and kernels", f"{memory['workers_mib'] / 1024:.2f} GiB", ""),
        ("with gateway, PostgreSQL, Redis, supervisor, simulator", f"{memory['all_mib'] / 1024:.2f} GiB", "6 GiB"),
        ("until all wait for their first bar", f"{found['seconds_until_all_ready']} s", ""),
    ]
    spent = " ".join(f"{name} {ms}" for name, ms in found["cpu_ms_per_bar"].items())
    text = "## A hundred workers\n\n" + _MANY + _table((head, "measured", "asked for"), rows)
    return text + f"\nCPU time of one bar of all, in ms: {spent}.\n"


def _two(found: Mapping[str, Any]) -> str:
    return f"{found['p50']} / {found['p99']} ms"


def _table(head: Row, rows: list[Row]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
