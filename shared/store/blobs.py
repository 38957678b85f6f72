"""Bytes by their SHA-256, in a folder. Written before the row that names them, so a row never names what is not there."""

import asyncio
import os
import re
import secrets
from pathlib import Path

from shared.ids import content_hash

_NAME = re.compile(r"[0-9a-f]{64}\Z")


class Blobs:
    """`folder/ab/abcd…`; the same content is kept once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, content: bytes) -> str:
        """Its SHA-256 in hex, once it is on disk. OSError when it cannot be kept."""
        return await asyncio.to_thread(self._put, content)

    async def get(self, sha256: str) -> bytes | None:
        """None: not kept (or not ours to name)."""
        return await asyncio.to_thread(self._get, sha256)

    async def drop(self, sha256: str) -> None:
        await asyncio.to_thread(self._path(sha256).unlink, True)

    def _put(self, content: bytes) -> str:
        name = content_hash(content)
        path = self._path(name)
        if path.exists():
            return name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{name}.{secrets.token_hex(4)}")
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return name

    def _get(self, sha256: str) -> bytes | None:
        try:
            return self._path(sha256).read_bytes()
        except (FileNotFoundError, ValueError):
            return None

    def _path(self, sha256: str) -> Path:
        if not _NAME.match(sha256):
            raise ValueError("not a SHA-256 in lower-case hex")
        return self._folder / sha256[:2] / sha256


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
