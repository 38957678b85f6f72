"""Contestants without a store, each in one process: an honest one, and two at whose rounds the bench must take offence.

Run as a script: `contestants.py PORT SINK MODE FILE`.
"""

import asyncio
import http.client
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.contestant import Command, Env, Kind, Server, answers

_ORDER = re.compile(rb'"order_id": "([^"]+)"')


@dataclass(frozen=True)
class Scripted:
    """`mode`: honest; forgetful (every tenth case is lost); stutterer (every tenth message goes twice); closed (refuses)."""

    mode: str
    name: str = "scripted"
    kind: Kind = "floor"
    servers: frozenset[Server] = frozenset()

    def processes(self, env: Env) -> Sequence[Command]:
        args = (str(env.ports[0]), env.sink, self.mode, str(env.folder / "recorded"))
        return [Command("scripted", (sys.executable, __file__, *args), {"PYTHONPATH": str(Path(__file__).parents[2])})]

    async def prepare(self, env: Env) -> None:
        (env.folder / "recorded").write_text("")

    async def ready(self, env: Env) -> bool:
        return await answers(env.ports[0])

    def webhook_urls(self, env: Env) -> Sequence[str]:
        return [f"http://127.0.0.1:{env.ports[0]}/hook"]

    async def recorded(self, env: Env) -> int:
        return len((env.folder / "recorded").read_text())

    async def clean(self, env: Env) -> None:
        pass


class _Server:
    def __init__(self, sink: str, mode: str, record: Path) -> None:
        self._sink, self._mode, self._record = urlsplit(sink), mode, record
        self._taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1])) if length else b""
            refused = self._mode == "closed" and bool(body)
            if body and not refused:
                self._work(body)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (503 if refused else 202))
        writer.close()

    def _work(self, body: bytes) -> None:
        self._taken += 1
        tenth = self._taken % 10 == 0
        if self._mode == "forgetful" and tenth:
            return
        found = _ORDER.search(body)
        for _ in range(2 if self._mode == "stutterer" and tenth else 1):
            self._send(b'{"order_id": "' + (found[1] if found else b"") + b'"}')
        with self._record.open("a") as record:
            record.write(".")

    def _send(self, message: bytes) -> None:
        connection = http.client.HTTPConnection(str(self._sink.hostname), self._sink.port, timeout=30)
        connection.request("POST", self._sink.path, message, {"Idempotency-Key": "k"})
        assert connection.getresponse().status == 200
        connection.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _main(port: str, sink: str, mode: str, record: str) -> None:
    server = await asyncio.start_server(_Server(sink, mode, Path(record)).serve, "127.0.0.1", int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
