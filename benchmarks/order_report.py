"""The tables of docs/performance.md about orders: each figure beside its floor or what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]
Row = tuple[str, str, str]

_SOAK = (
    "A soak runs everything (gateway, PostgreSQL, Redis, simulator) under orders of every kind while faults strike: of "
    "the venue, of the network, of the processes and of people. All tables are held against the venue's own book "
    "throughout and at the end. `make soak MINUTES=20` does it again.\n\n"
)


def order_path(values: Values) -> str:
    """What orders take, from the intent to a kill."""
    rows = [*_path(values), *_recovery(values), *_kill(values), *_unknown(values)]
    return "## Orders\n\n" + _table(("what", "measured", "asked for"), rows) if rows else ""


def soak(values: Values) -> str:
    """Twenty minutes of faults."""
    found = values.get("soak")
    if not found:
        return ""
    head = f"{found['minutes']:g} minutes at {found['rate']:g} intents/s, seed {found['seed']}"
    return "## A soak\n\n" + _SOAK + _table((head, ""), _soak(found))


def _path(values: Values) -> list[Row]:
    found = values.get("order_path")
    if not found:
        return []
    sent, floor = found["ms_to_socket"], found["ms_to_socket_floor"]
    heard, busy = found["ms_to_worker"], found["busy"]
    return [
        (
            f"intent to the venue's socket, {found['intents_per_second']} a second, p50",
            f"{sent['p50']} ms (the same hops without our work: {floor['p50']} ms)",
            "3 ms, 2 x",
        ),
        ("the same, p99", f"{sent['p99']} ms", "12 ms"),
        ("a fill's frame until the worker hears of it, p50", f"{heard['p50']} ms", "5 ms"),
        (f"intents a second of {found['accounts']} accounts, sustained", f"{busy['per_second']}", "200"),
    ]


def _recovery(values: Values) -> list[Row]:
    found = values.get("order_recovery")
    if not found:
        return []
    what = f"a new gateway compares {found['open_orders']:,} open orders and books {found['missed_fills']} missed fills"
    asked = sum(found["requests"].values())
    measured = f"{found['seconds_to_booked']} s, ready after {found['seconds_to_ready']} s, {asked} requests"
    return [(what, measured, f"{found['limit_seconds']} s")]


def _kill(values: Values) -> list[Row]:
    found = values.get("order_kill")
    if not found:
        return []
    return [
        ("a kill: until the last order is sent", f"{_spread(found['ms_to_last_order'])} ms", "100 ms"),
        (
            f"a kill: until the venue shows none of {found['open_orders']} orders",
            f"{_spread(found['seconds_to_clear'])} s",
            f"{found['limit_clear_seconds']} s",
        ),
    ]


def _unknown(values: Values) -> list[Row]:
    found = values.get("order_unknown")
    if not found:
        return []
    measured = f"{found['seconds_p99']} s of {found['unknown']} (longest {found['seconds_max']} s)"
    return [("an order's fate unknown, p99, virtual time", measured, f"{found['limit_p99_seconds']} s")]


def _soak(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    orders, memory = found["orders"], found["memory"]
    recovered = "; ".join(f"{kind} {', '.join(map(str, times))}" for kind, times in found["seconds_to_recover"].items())
    return [
        ("intents, orders, fills", f"{found['intents']['asked']:,}, {orders['total']:,}, {orders['fills']:,}"),
        ("faults", ", ".join(f"{kind} {count}" for kind, count in sorted(found["faults"].items()))),
        ("checks of everything", f"{found['checks']:,}"),
        ("**violations**", f"**{len(found['violations'])}**"),
        ("intent to sent, p50 / p99", _ms(found["ms_to_sent"])),
        ("the same while a fault was on", _ms(found["ms_to_sent_in_faults"])),
        ("an order's fate unknown, p99 / longest", _seconds(found["seconds_unknown"])),
        ("until everybody is answered again, s", recovered),
        *((f"memory of the {name}, growth", _growth(row)) for name, row in memory.items()),
    ]


def _ms(found: Mapping[str, Any]) -> str:
    return f"{found['p50']} / {found['p99']} ms of {found['count']:,}"


def _seconds(found: Mapping[str, Any]) -> str:
    return f"{found['p99']} / {found['max']} s of {found['count']:,}"


def _growth(row: Mapping[str, Any]) -> str:
    return f"{row['pss_mib']} MiB, {row['pss_mib_per_hour']} MiB an hour"


def _spread(found: Mapping[str, Any]) -> str:
    return f"{found['min']:,} / {found['median']:,} / {found['max']:,}"


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
