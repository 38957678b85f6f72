"""How PostgreSQL would run statements on tables that are still empty: the plans that a new service makes and keeps."""

import re
from collections.abc import Iterable

from shared.store.session import Database

_PLACE = re.compile(r"\$(\d+)")
_ONLY_ACCOUNT = re.compile(r"Index Cond: \((?:\w+\.)?account = [^()]+\)$")


class _Undone(Exception):
    """Nothing of it stays."""


async def poor_plans(database: Database, statements: Iterable[str]) -> list[str]:
    """Nodes that read a whole table, or of an index all rows of an account, with their statement."""
    poor: list[str] = []
    try:
        async with database.transaction() as tx:
            tables = await tx.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            await tx.run(f"TRUNCATE {', '.join(row['tablename'] for row in tables)}")
            for n, sql in enumerate(dict.fromkeys(s for s in statements if s.startswith(("SELECT", "UPDATE", "WITH")))):
                places = max(map(int, _PLACE.findall(sql)), default=0)
                await tx.run(f"PREPARE looked_at_{n} AS {sql}")
                values = f"({', '.join(['NULL'] * places)})" if places else ""
                plan = [row["QUERY PLAN"] for row in await tx.rows(f"EXPLAIN EXECUTE looked_at_{n}{values}")]
                await tx.run(f"DEALLOCATE looked_at_{n}")
                poor += [f"{line.strip()} | {sql}" for line in plan if "Seq Scan" in line or _ONLY_ACCOUNT.search(line)]
            raise _Undone
    except _Undone:
        return poor
