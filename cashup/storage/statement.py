"""Statements that are compiled once: their SQL with numbered parameters, and rows handed over as one JSON array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ClauseElement, Table, TableValuedAlias, Text, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import JSONB, asyncpg
from sqlalchemy.sql.compiler import SQLCompiler


@dataclass(frozen=True, slots=True)
class Prepared:
    """SQL for `exec_driver_sql`, the names of its parameters in order, and the values of those that never change."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def bind(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters in order. Raises KeyError when one is missing."""
        return tuple(values[name] if name in values else self.constants[name] for name in self.names)


def prepare(statement: ClauseElement) -> Prepared:
    """Compile `statement` once and for all."""
    compiled = statement.compile(dialect=asyncpg.dialect())  # type: ignore[no-untyped-call]
    if not isinstance(compiled, SQLCompiler):
        raise TypeError("only statements with parameters can be prepared")
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return Prepared(str(compiled), tuple(compiled.positiontup or ()), constants)


def rows_of(table: Table, names: Sequence[str], parameter: str) -> TableValuedAlias:
    """The JSON array bound as `parameter`, as rows with the types of `table`'s columns."""
    array = cast(bindparam(parameter, type_=Text), JSONB)
    typed = [column(name, table.c[name].type) for name in names]
    return func.jsonb_to_recordset(array).table_valued(*typed).render_derived(name=f"rows_{parameter}", with_types=True)
