"""Reports of long runs: plain JSON below docs/guarantees, with what they ran on."""

import json
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from shared.clock import SystemClock, format_time
from tests.support import services

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "guarantees"
_LIBRARIES = ("aio-pika", "aiohttp", "aiosqlite", "asyncpg", "fastapi", "msgspec", "sqlalchemy", "uvicorn")


def surroundings(urls: Mapping[str, str] | None) -> dict[str, Any]:
    """When, of which commit, on what."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    versions = {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
    if urls is None:
        versions["sqlite"] = sqlite3.sqlite_version
    else:
        versions["postgresql"] = services.apart(_postgres_version(urls["policy"].partition("?")[0]))
    moment = format_time(SystemClock().now())
    return {"at": moment, "commit": commit.stdout.strip(), "versions": versions, "cores": os.cpu_count()}


async def _postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def plain(counter: Mapping[Any, int]) -> dict[str, int]:
    return {str(key): counter[key] for key in sorted(counter)}


def write(name: str, report: Mapping[str, Any]) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path
