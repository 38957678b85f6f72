"""Three processes, one of each service, as `deploy/` runs them: real clock, the accounts file, nothing of the sandbox."""

import asyncio
import sys
from collections.abc import Sequence

from bench import processes
from bench.contestant import BOTH, ROOT, Command, Env, Kind, Server, answers, number
from bench.ours import accounts
from shared.clock import SystemClock, to_micros

_SERVICES = ("intake", "policy", "notifier")
_PARTITIONS = "2"
"""As many as there are cores for its one replica of each service: more would only split batches (docs/performance.md)."""
_TOLD = "SELECT count(*) FROM policy.cases WHERE updated_at >= {since} AND seq >= 2"
"""Cases of this round with their second fact, `message.sent`, applied; few rows, as the index leads to them."""


class Apart:
    """A case is recorded when policy has applied the fact that its message was sent: the whole way and back."""

    name = "ours"
    kind: Kind = "ours"
    servers: frozenset[Server] = BOTH

    def processes(self, env: Env) -> Sequence[Command]:
        return [
            Command(service, (sys.executable, "-m", "amends", service, "--port", str(port)), self._environ(env))
            for service, port in zip(_SERVICES, env.ports, strict=True)
        ]

    def _environ(self, env: Env) -> dict[str, str]:
        return {
            "AMENDS_CONFIG": str(env.folder / "accounts.yaml"),
            "AMENDS_DATA_DIR": str(env.folder / "data"),
            "AMENDS_DATABASE_URL": env.postgres,
            "AMENDS_BROKER_URL": env.amqp,
            "AMENDS_PARTITIONS": _PARTITIONS,
            "AMENDS_LOG_FORMAT": "json",
        }

    async def prepare(self, env: Env) -> None:
        accounts.write(env)
        (env.folder / "since").write_text(str(to_micros(SystemClock().now())))
        command = (sys.executable, "-m", "amends", "db", "upgrade")
        done = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=processes.clean_environ() | self._environ(env), stdout=asyncio.subprocess.DEVNULL
        )
        if await done.wait():
            raise RuntimeError("amends db upgrade failed")

    async def ready(self, env: Env) -> bool:
        return all([await answers(port, "/readyz", 200) for port in env.ports])

    def webhook_urls(self, env: Env) -> Sequence[str]:
        return accounts.urls(env.ports[0])

    async def recorded(self, env: Env) -> int:
        return await number(env.postgres, _TOLD.format(since=(env.folder / "since").read_text()))

    async def clean(self, env: Env) -> None:
        pass
