"""One open transaction as the services see it: plain SQL with named parameters, rows as mappings, on either end.

What is written and answers nothing (`insert` without `returning`, `update`, `later`) need not go at once: PostgreSQL hears it
together with what asks next, or with the commit, in one statement. What it raises comes then. Writes to one table keep
their order; between tables there is none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Table

OnConflict = Literal["raise", "nothing"]
Row = Mapping[str, Any]
Watch = Callable[[str], None]
"""Told each statement that is sent to the database."""


class Led(NamedTuple):
    """Rows of another table that go in with the row `account, <link>` names; known ones are left out."""

    table: Table
    link: str
    rows: Sequence[Mapping[str, Any]]


class Tx:
    """One open transaction (or read). All SQL of a service goes through one of these."""

    postgres: bool

    async def rows(self, sql: str, **params: Any) -> Sequence[Row]:
        raise NotImplementedError

    async def peek(self, sql: str, **params: Any) -> Sequence[Row]:
        """As `rows`, for what is checked again later: it does not begin the transaction."""
        raise NotImplementedError

    async def row(self, sql: str, **params: Any) -> Row | None:
        """The first, None where there is none."""
        found = await self.rows(sql, **params)
        return found[0] if found else None

    async def run(self, sql: str, **params: Any) -> int:
        """Rows touched."""
        raise NotImplementedError

    async def in_turn(self, names: Iterable[str]) -> None:
        """Of the transactions that name the same one goes after the other, to its end. SQLite has one writer anyway."""
        raise NotImplementedError

    async def later(self, table: Table, sql: str, **params: Any) -> None:
        """A statement that writes to this table, and whose answer nobody needs."""
        raise NotImplementedError

    async def send(self) -> None:
        """All that was written so far is with the database."""
        raise NotImplementedError

    def any_of(self, column: str, param: str, type_: str = "text") -> str:
        """`column` is one of the values of list parameter `param`."""
        raise NotImplementedError

    def among(self, columns: Sequence[str], param: str) -> str:
        """`(columns)` is one of the tuples of text that `tuples(param, …)` binds."""
        raise NotImplementedError

    def tuples(self, param: str, values: Iterable[Sequence[str]], width: int = 2) -> dict[str, Any]:
        """`width`: how many texts each of the values is."""
        raise NotImplementedError

    def locked(self, *, skip: bool = False) -> str:
        """Row locks at the end of a SELECT. SQLite needs none: it has one writer."""
        raise NotImplementedError

    def micros_now(self) -> str:
        """The database's own time in microseconds since 1970."""
        raise NotImplementedError

    async def insert(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        on_conflict: OnConflict = "raise",
        returning: Sequence[str] = (),
    ) -> list[Row]:
        """Many rows, all with the same columns. With `nothing`, only rows put in are returned."""
        raise NotImplementedError

    async def insert_led(
        self, table: Table, rows: Sequence[Mapping[str, Any]], led: Sequence["Led"], *, alone: bool = False
    ) -> set[str]:
        """Rows whose `account, id` or other unique key is known are left out, and with them all rows that they lead.

        Answers the ids of those put in. One round trip on PostgreSQL. `alone`: may stay, whatever becomes of the rest of the
        transaction; where nothing went before, it is then committed by itself.
        """
        raise NotImplementedError

    async def update(self, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Sets every non-key column of each row, found by its keys; no conflict check."""
        raise NotImplementedError


def ending(on_conflict: OnConflict, returning: Sequence[str]) -> str:
    """The tail of an INSERT."""
    tail = " ON CONFLICT DO NOTHING" if on_conflict == "nothing" else ""
    return f"{tail} RETURNING {', '.join(returning)}" if returning else tail
