"""DBOS in its own way: the webhook enqueues a workflow in its transaction, two executors run it. PostgreSQL only."""

import asyncio

from bench.contestant import ROOT, Env
from bench.peers.peer import Peer, environ


class _Dbos(Peer):
    async def prepare(self, env: Env) -> None:
        await super().prepare(env)
        migrate = (str(env.python), "-m", "bench.peers.dbos.migrate")
        done = await asyncio.create_subprocess_exec(*migrate, cwd=ROOT, env=environ(env), stdout=-3, stderr=-1)
        _, said = await done.communicate()
        if done.returncode:
            raise RuntimeError(f"dbos: no tables: {said.decode()[-2000:]}")


_EXECUTORS = {name: ("-m", "bench.peers.dbos.app", name) for name in ("first", "second")}
contestant = _Dbos("dbos", workers=_EXECUTORS, servers=frozenset(("postgres",)))
