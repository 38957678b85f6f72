"""F3: the broker is stopped or killed. F4: it closes all connections. F5: it forgets its queues, or all of the vhost.

F7, too: its disk alarm, which holds up every publisher.
"""

import asyncio
import os
import sys
import time
from signal import SIGKILL, SIGTERM
from typing import Any
from urllib.parse import urlsplit

import aio_pika

from shared.bus.port import ROUTES, Topology
from shared.bus.topology import queues
from tests.crash import evidence
from tests.crash.fault_trial import LONGEST, Own, Trial
from tests.crash.kills import quantiles
from tests.crash.picture import Picture
from tests.crash.verdict import account_for, tables_of
from tests.support import services
from tests.support.servers import NoService, Server
from tests.support.system import ROOT
from tests.support.waiting import until


async def restarts(trial: Trial, node: Own, times: int, away: float) -> None:
    """Stopped cleanly and killed in turn. What is delivered meanwhile is accepted while the broker is away."""
    drained = []
    for n in range(times):
        trial.wave()
        await asyncio.sleep(trial.dice.uniform(0, 0.3))
        await node.end(SIGKILL if n % 2 else SIGTERM)
        trial.wave()
        await trial.accepted()
        await asyncio.sleep(trial.dice.uniform(0, away))
        await node.again()
        began = time.monotonic()
        await trial.ready()
        await _published(trial)
        drained.append(time.monotonic() - began)
        trial.progress(f"{n + 1}/{times} times away")
    trial.told |= {"broker_restarts": times, "backlog_drained_seconds": quantiles(drained)}


async def connections_closed(trial: Trial, broker: Server, url: str, times: int) -> None:
    """By the management command; every queue has a consumer again each time."""
    back = []
    for n in range(times):
        trial.wave()
        await controlled(broker, "close_all_connections", "--vhost", _vhost(url), "test")
        began = time.monotonic()
        await consumed(url)
        back.append(time.monotonic() - began)
        trial.progress(f"{n + 1}/{times} times all connections closed")
    await trial.accepted()
    trial.told |= {"closes": times, "consumers_back_seconds": quantiles(back)}


async def forgotten(trial: Trial, broker: Server, url: str, times: int) -> None:
    """What policy, then notifier, had not taken yet is lost with the queues, with the exchanges, with the vhost; `resync`."""
    trial.told["lost_in_the_broker"] = []
    for n in range(times):
        trial.wave()
        await trial.accepted()
        victims = [p for p in trial.system.processes if p.name == ("policy", "notifier")[n % 4 == 3]]
        await asyncio.gather(*(asyncio.to_thread(p.end) for p in victims))
        trial.wave()
        await trial.accepted()
        await _published(trial, without=victims[0].name)
        await (_queues_deleted, _all_deleted, _vhost_deleted)[n % 3](broker, url)
        await trial.system.start()
        await trial.ready()
        await consumed(url)
        await trial.settled()
        trial.told["lost_in_the_broker"].append(await _missing(trial))
        await resync(trial)
        await trial.settled()
        left = await _missing(trial)
        assert not left, f"{left} events are still missing after resync"
        trial.progress(f"{n + 1}/{times} times forgotten: {trial.told['lost_in_the_broker'][-1]} events brought back")


async def _queues_deleted(_: Server, url: str) -> None:
    async with await aio_pika.connect(url) as connection, await connection.channel() as channel:
        for queue in queues(Topology()):
            await channel.queue_delete(queue.name)


async def _all_deleted(_: Server, url: str) -> None:
    await services.delete_topology(url, Topology())


async def _vhost_deleted(broker: Server, url: str) -> None:
    user = urlsplit(url).username or "guest"
    await controlled(broker, "delete_vhost", _vhost(url))
    await controlled(broker, "add_vhost", _vhost(url))
    await controlled(broker, "set_permissions", "-p", _vhost(url), user, ".*", ".*", ".*")


async def resync(trial: Trial) -> None:
    """By the command, told to each service."""
    names = {process.name: process for process in trial.system.processes}
    env = {name: value for name, value in os.environ.items() if not name.startswith("AMENDS_")}
    for process in names.values():
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "amends", "resync", "--url", process.url, "--key", "sandbox",
            cwd=ROOT, env=env, stdout=-1, stderr=-1,
        )  # fmt: skip
        said = await done.communicate()
        assert done.returncode == 0, said


async def alarm(trial: Trial, broker: Server, times: int, held: float) -> None:
    """The broker's disk is too full for it: it takes nothing more. Deliveries are accepted, the relay waits."""
    for n in range(times):
        trial.wave()
        await controlled(broker, "set_disk_free_limit", "1000000000000000")
        trial.wave()
        await trial.accepted()
        await asyncio.sleep(held)
        await controlled(broker, "set_disk_free_limit", "1000000")
        await trial.ready()
        await _published(trial)
        trial.progress(f"{n + 1}/{times} alarms")
    trial.told["disk_alarms"] = times


async def consumed(url: str) -> None:
    """Every queue of ours is there and somebody consumes it."""
    names = [queue.name for queue in queues(Topology()) if queue.exchange in ROUTES]

    async def all_of_them() -> bool:
        try:
            async with await aio_pika.connect(url, timeout=10) as connection, await connection.channel() as channel:
                found = [(await channel.declare_queue(name, passive=True)).declaration_result for name in names]
        except (aio_pika.exceptions.AMQPError, OSError, TimeoutError):
            return False
        return all(result.consumer_count for result in found)

    await until(all_of_them, LONGEST, "a consumer on every queue")


async def controlled(broker: Server, *command: str) -> None:
    if not await asyncio.to_thread(services.control, broker, *command):
        raise NoService(f"the broker did not obey: {' '.join(command)}")


async def _published(trial: Trial, without: str = "") -> None:
    """No row waits to be published; of a service that was stopped they may."""
    tables = {"intake": ("facts",), "policy": ("outbound", "case_events"), "notifier": ("results",)}
    async with evidence.databases(trial.system) as found:

        async def none_waits() -> bool:
            for name in tables.keys() - {without}:
                async with found[name].reading() as tx:
                    for table in tables[name]:
                        if await tx.row(f"SELECT 1 FROM {table} WHERE published_at IS NULL LIMIT 1"):
                            return False
            return True

        await until(none_waits, LONGEST, "the backlog to be published")


async def _missing(trial: Trial) -> int:
    """Facts that never reached policy, errands that never reached notifier."""
    tables: dict[str, Any] = {}
    async with evidence.databases(trial.system) as found:
        for name, database in found.items():
            tables |= await tables_of(name, database)
    picture = Picture(tables, 0)
    planned = {data["id"] for type_, data in picture.outbound if type_ == "amends.errand.planned.v1"}
    return account_for(picture)["unexplained"] + len(planned - picture.errands.keys())


def _vhost(url: str) -> str:
    return urlsplit(url).path[1:] or "/"
