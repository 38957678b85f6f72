"""`amends rehearse`: decides every stored case again from its log and compares the bytes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from amends.commands.db import on_database
from amends.output import show

if TYPE_CHECKING:
    from services.policy.rehearse import Report
    from shared.store.session import Database

Data = Annotated[Path | None, typer.Option("--data", help="Folder of the SQLite files (default: ./var).")]


def rehearse(data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Exit 1 when a decision would come out differently now; each such case with its first difference."""
    from shared.settings import Process

    report = on_database(Process.from_env(os.environ, data_dir=data), "policy", _report)
    if as_json:
        show(msgspec.to_builtins(report), as_json=True)
    else:
        if report.differing:
            show(
                msgspec.to_builtins(list(report.differing)),
                as_json=False,
                columns=("case_id", "seq", "state", "fact_id"),
            )
        print(f"{report.cases} cases, {report.decisions} decisions, {len(report.differing)} come out differently")
    if report.differing:
        raise typer.Exit(1)


async def _report(database: "Database", migrations: Path) -> "Report":
    from services.policy.rehearse import rehearse as again
    from shared.store.migrate import check

    await check(database, migrations)
    return await again(database)
