"""The product as an outsider drives it: real processes, HTTP only. One driver, two stacks.

`embedded`: one process, SQLite, in-process bus. `apart`: the three services as processes of their own, two replicas each,
on RabbitMQ and PostgreSQL. Both share a test clock kept in a file.
"""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from amends.joined import owner_of
from shared.clock import TestClock
from tests.support import forking
from tests.support.forking import Forked, ForkServer

ROOT = Path(__file__).parents[2]
SERVICES = ("intake", "policy", "notifier")
_KEY = {"Authorization": "Bearer sandbox"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(check: Callable[[], Awaitable[Any]], what: str, longest: float = 90.0) -> Any:
    """Waits for a condition; its truthy value."""
    end = time.monotonic() + longest
    while time.monotonic() < end:
        if value := await check():
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {longest:.0f} s in vain for {what}")


@dataclass
class Process:
    """One of ours, started and ended by its own id."""

    name: str
    args: Sequence[str]
    env: Mapping[str, str]
    port: int
    log: Path
    handle: subprocess.Popen[bytes] | Forked | None = None
    server: ForkServer | None = None
    """None: started as the command it is."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self.server is not None:
            self.handle = self.server.start(self.args, self.env, self.log)
            return
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                [sys.executable, "-m", "amends", *self.args], cwd=ROOT, env=dict(self.env), stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        return self.handle is not None and self.handle.poll() is None

    def wait(self, longest: float) -> int | None:
        """The exit code. Raises subprocess.TimeoutExpired."""
        return None if self.handle is None else self.handle.wait(longest)

    def end(self, how: signal.Signals = signal.SIGTERM, longest: float = 25) -> int | None:
        if self.handle is not None and self.running:
            self.handle.send_signal(how)
        return self.wait(longest)


@dataclass
class System:
    """Start with `async with`; every process is ended at the end."""

    folder: Path
    accounts: str
    """The YAML text of the accounts file."""
    at: datetime
    urls: Mapping[str, str] | None = None
    """Database URL per service and the broker's under `broker`: the stack `apart`. None: `embedded`."""
    env: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 2
    processes: list[Process] = field(default_factory=list)
    server: ForkServer | None = field(default_factory=forking.running)
    """Where processes are started in a moment. None: as the command itself."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "accounts.yaml"
        self.config.write_text(self.accounts)
        self.clock_file = self.folder / "clock"
        self.clock = TestClock(self.at, self.clock_file)
        self._turn = itertools.count()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "System":
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90))
        self.processes = self._embedded() if self.urls is None else self._apart()
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        for process in self.processes:
            if process.running:
                process.end(signal.SIGKILL)

    def _base_env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
        return {**kept, "AMENDS_TEST_CLOCK": str(self.clock_file), "AMENDS_LOG_FORMAT": "json", **self.env}

    def _embedded(self) -> list[Process]:
        port = free_port()
        args = [
            "up",
            "--port",
            str(port),
            "--data",
            str(self.folder / "data"),
            "--config",
            str(self.config),
            "--sandbox",
        ]
        log = self.folder / "embedded.log"
        return [Process("embedded", args, self._base_env(), port, log, server=self.server)]

    def _apart(self) -> list[Process]:
        assert self.urls is not None
        env = self._base_env() | {
            "AMENDS_CONFIG": str(self.config),
            "AMENDS_BROKER_URL": self.urls["broker"],
            "AMENDS_SANDBOX": "1",
        }
        env |= {f"AMENDS_{s.upper()}_DATABASE_URL": self.urls[s] for s in SERVICES} | {
            "AMENDS_DATA_DIR": str(self.folder / "data")
        }
        found = []
        for service in SERVICES:
            for n in range(self.replicas):
                port, log = free_port(), self.folder / f"{service}{n}.log"
                found.append(Process(service, [service, "--port", str(port)], env, port, log, server=self.server))
        return found

    async def start(self) -> None:
        """Starts what does not run and waits until all are ready."""
        if self.urls is not None and not any(p.running for p in self.processes):
            await self._migrate()
        for process in self.processes:
            if not process.running:
                process.start()
        await asyncio.gather(*(self._ready(process) for process in self.processes))

    async def _migrate(self) -> None:
        first = self.processes[0]
        upgrade = Process(
            "upgrade", ["db", "upgrade"], first.env, first.port, self.folder / "upgrade.log", server=self.server
        )
        upgrade.start()
        assert await asyncio.to_thread(upgrade.wait, 150) == 0, f"amends db upgrade failed: {upgrade.log.read_text()}"

    async def _ready(self, process: Process) -> None:
        async def check() -> bool:
            assert process.running, f"{process.name} ended: {process.log.read_text()[-3000:]}"
            try:
                async with self._http.get(f"{process.url}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await until(check, f"{process.name} to be ready", 150)

    async def stop(self) -> None:
        """All end gracefully with exit code 0."""
        codes = await asyncio.gather(*(asyncio.to_thread(p.end) for p in self.processes))
        assert set(codes) == {0}, f"exit codes {codes}"

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    def url(self, path: str) -> str:
        """Of a running replica that owns the path, taken in turn."""
        owner = owner_of(path.partition("?")[0])
        fitting = [
            p for p in self.processes if p.running and p.name in ("embedded", owner if owner != "sandbox" else "policy")
        ]
        return fitting[next(self._turn) % len(fitting)].url + path

    async def request(self, method: str, path: str, *, key: str = "sandbox", **kwargs: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}", **kwargs.pop("headers", {})}
        async with self._http.request(method, self.url(path), headers=headers, **kwargs) as response:
            text = await response.text()
            return response.status, json.loads(text) if "json" in response.content_type and text else text

    async def get(self, path: str) -> Any:
        status, body = await self.request("GET", path)
        assert status == 200, (path, status, body)
        return body

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> Any:
        status, answer = await self.request("POST", path, json=body if body is not None else {}, **kwargs)
        assert 200 <= status < 300, (path, status, answer)
        return answer

    async def push(self, marketplace: str, account: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        path = f"/webhooks/{marketplace}/{account}"
        async with self._http.post(
            self.url(path), data=body, headers={"Content-Type": "application/json", **headers}
        ) as answer:
            return answer.status, await answer.text()

    async def drain(self) -> None:
        """Nothing in flight in any process, nothing on its way between them: the picture stays the same for three looks."""
        same, picture = 0, ""
        while same < (1 if self.urls is None else 3):
            for process in self.processes:
                async with self._http.post(f"{process.url}/sandbox/drain", headers=_KEY) as response:
                    assert response.status == 200, await response.text()
            now = await self._picture()
            same, picture = (same + 1, picture) if now == picture else (0 if self.urls is not None else same + 1, now)
            if self.urls is not None:
                await asyncio.sleep(0.05)

    async def _picture(self) -> str:
        if self.urls is None:
            return ""
        cases, calls, tasks = await self.cases(), await self.calls(), await self.tasks()
        return json.dumps([[(c["id"], c["seq"]) for c in cases], len(calls), [t["id"] for t in tasks]])

    async def advance(self, by: timedelta, step: timedelta = timedelta(hours=6)) -> None:
        """Embedded: the sandbox goes from due moment to due moment. Apart: the shared clock is moved in steps."""
        await self.drain()
        if self.urls is None:
            await self.post("/sandbox/clock/advance", {"by": f"PT{int(by.total_seconds())}S"})
            return
        target = self.clock.now() + by
        while self.clock.now() < target:
            self.clock.set(min(self.clock.now() + step, target))
            await self.drain()

    async def rehearse(self) -> str:
        """Stops the product and decides every case again from its log; fails unless the bytes are the same."""
        await self.stop()
        env = {**self.processes[0].env, "AMENDS_DATA_DIR": str(self.folder / "data")}
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "amends", "rehearse", cwd=ROOT, env=env, stdout=-1, stderr=-1
        )
        said, complaints = await done.communicate()
        assert done.returncode == 0, (said + complaints).decode()
        return said.decode().splitlines()[-1]

    async def _whole(self, path: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        cursor, joint = "", "&" if "?" in path else "?"
        while True:
            page = await self.get(f"{path}{joint}limit=200{cursor}")
            found += page["items"]
            if page.get("next") is None:
                return found
            cursor = f"&cursor={page['next']}"

    async def cases(self, query: str = "") -> list[dict[str, Any]]:
        return await self._whole(f"/v1/cases{query}")

    async def case_of(self, external_id: str) -> dict[str, Any]:
        cases = await self.cases(f"?external_id={external_id}")
        assert len(cases) == 1, f"{len(cases)} cases for {external_id}"
        return cases[0]

    async def timeline(self, case_id: str) -> list[dict[str, Any]]:
        return await self._whole(f"/v1/cases/{case_id}/timeline")

    async def messages(self, case_id: str) -> list[dict[str, Any]]:
        return await self._whole(f"/v1/cases/{case_id}/messages")

    async def tasks(self, query: str = "?status=open") -> list[dict[str, Any]]:
        return await self._whole(f"/v1/tasks{query}")

    async def calls(self) -> list[dict[str, Any]]:
        answer = await self.get("/sandbox/calls")
        return list(answer["items"] if isinstance(answer, dict) else answer)
