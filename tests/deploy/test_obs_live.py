"""Numbers people watch, on a running product: they equal the tables, and every query of ours runs in a real Prometheus."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from shared.store.session import Database
from tests.deploy.test_obs_files import PROMETHEUS, rules, shown
from tests.flow.conftest import START, World, opened
from tests.support import pushes, servers
from tests.support.system import until
from tests.support.truth import truth

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
SCRAPES = 3
EUR = {"value": "20.00", "currency": "EUR"}
SILENT = {"max by (marketplace) (amends_breakers_open)"}
"""Nothing to show where all is well, as in this run."""


@dataclass
class Watched:
    world: World
    url: str
    """Of the Prometheus that scrapes it."""

    async def ask(self, query: str) -> list[dict[str, Any]]:
        asked = {"params": {"query": query}}
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v1/query", **asked) as answer:
            said = await answer.json()
        assert said["status"] == "success", (query, said)
        return list(said["data"]["result"])


async def returned(w: World, name: str, kind: str = "return", **more: Any) -> None:
    buyer = {"id": f"B-{name}", "name": "Ada", "locale": "en"}
    data = {"reason": "change_of_mind", "amount": EUR, "paid": EUR, "buyer": buyer} | more
    what = "dispute.opened" if kind == "dispute" else f"{kind}.requested"
    assert await w.push_generic(what, f"msg_{name}", kind=kind, external_id=name, order_id=f"O-{name}", **data) == 202


async def worded(w: World, name: str, text: str) -> None:
    case = await w.system.case_of(name)
    said = {"action": "contact", "params": {"text": text}, "reason": "x"}
    await w.system.request("POST", f"/v1/cases/{case['id']}/actions", json=said, headers={"Idempotency-Key": name})


async def lived(w: World) -> None:
    """A little of everything: news, repeats, refusals, what cannot be read, texts that break a rule or only read like it,
    doubt, time that passes."""
    for n in range(3):
        await returned(w, f"W{n}")
    await returned(w, "W0")
    await returned(w, "D0", "dispute", reason="not_received")
    body, _ = pushes.generic(START, "return.requested", "msg_bad")
    assert (await w.system.push("generic", "shop", body, {"webhook-id": "x"}))[0] == 401
    assert (await w.system.push("generic", "shop", b"{}", pushes.signed(START, "msg_empty", b"{}")))[0] == 202
    await w.ring("8200000601")
    await w.system.drain()
    await worded(w, "W1", "Write to joe@example.com, I pay you outside.")
    await worded(w, "W2", "Help us and we help you: when the words on our page are kinder, your money goes out.")
    await w.system.post("/sandbox/faults", {"channel": "generic", "next": ["timeout", "500"]})
    await returned(w, "W4")
    await w.system.drain()
    await w.push_generic("refund.issued", "msg_W0-p", kind="return", external_id="W0", order_id="O-W0", refunded=EUR)
    await w.system.drain()
    await w.system.advance(timedelta(days=12))
    await returned(w, "W5")
    await w.system.drain()


def configuration(w: World, folder: Path) -> Path:
    """The one we ship, with the address of the one process and a quick pace instead of compose's names."""
    shipped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    shipped["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (job,) = shipped["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [w.system.processes[0].url.removeprefix("http://")]}]
    job |= {"scrape_interval": "2s", "scrape_timeout": "2s"}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One embedded product that has lived a little, and a Prometheus that has scraped it a few times."""
    folder = tmp_path_factory.mktemp("watched")
    async with opened(folder / "product", None) as world:
        server = await asyncio.to_thread(servers.start_prometheus, configuration(world, folder), PROMETHEUS / "rules")
        try:
            found = Watched(world, server.url)
            await lived(world)
            await until(lambda: _often_scraped(found), "a few scrapes", 120)
            yield found
        finally:
            await asyncio.to_thread(servers.stop, server)


async def _often_scraped(found: Watched) -> bool:
    """Seen after the run, and more than once each, so that rates have two points."""
    seen = await found.ask('min(count_over_time(amends_case_outcomes_total{outcome!=""}[5m]))')
    recorded = await found.ask("amends:deadlines:within1d")
    return bool(seen and recorded) and float(seen[0]["value"][1]) >= SCRAPES


async def test_the_numbers_are_those_of_the_tables(watched: Watched) -> None:
    assert await truth(watched.world.system) == []


async def test_a_number_that_is_wrong_is_noticed(watched: Watched) -> None:
    """The comparison itself is tested: one row changed behind the product's back shows as its difference."""
    system = watched.world.system
    database = Database(f"sqlite:///{system.folder / 'data' / 'policy.db'}")
    change = "UPDATE counters SET value = value + :by WHERE name = 'tasks_open' AND labels = :kind"
    kinds = [task["kind"] for task in await system.tasks()]
    try:
        for by, wanted in ((1, 1), (-1, 0)):
            async with database.transaction() as tx:
                await tx.run(change, by=by, kind=kinds[0])
            found = await truth(system, longest=1)
            assert len(found) == wanted and all("amends_tasks_open" in line for line in found), found
    finally:
        await database.close()


@pytest.mark.parametrize("board", shown())
async def test_every_panel_runs_and_shows_something(watched: Watched, board: str) -> None:
    """No query of a dashboard fails, and what this run makes visible is visible."""
    for query in set(shown()[board]) - SILENT:
        await until(partial(watched.ask, query), f"something to show for {query}", 60)
    for query in set(shown()[board]) & SILENT:
        await watched.ask(query)


async def test_every_rule_runs_and_alerts_say_what_is_the_matter(watched: Watched) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{watched.url}/api/v1/rules") as answer:
        groups = (await answer.json())["data"]["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in evaluated} == {rule.get("alert") or rule["record"] for rule in rules()}
    assert [(rule["name"], rule["lastError"]) for rule in evaluated if rule["health"] != "ok"] == []


async def test_alerts_that_this_run_deserves_are_raised(watched: Watched) -> None:
    """Deadlines passed with nobody acting, a delivery that cannot be read: found by the rules as they are shipped."""

    async def raised() -> bool:
        names = {row["metric"]["alertname"] for row in await watched.ask("ALERTS")}
        return names >= {"AmendsDeadlineMissed", "AmendsDeliveriesNotRead"}

    await until(raised, "the alerts", 60)
    names = {row["metric"]["alertname"] for row in await watched.ask("ALERTS")}
    assert not names & {"AmendsDown", "AmendsAbsent", "AmendsNotReady"}


@pytest.mark.pg
@pytest.mark.rabbit
async def test_apart_one_replica_tells_the_gauges_also_after_a_kill(
    tmp_path: Path, postgres_url: str, amqp_url: str
) -> None:
    urls = {name: f"{postgres_url}?schema={name}" for name in ("intake", "policy", "notifier")} | {"broker": amqp_url}
    async with opened(tmp_path, urls) as world:
        await returned(world, "A1")
        await returned(world, "A2", "dispute", reason="not_received")
        await world.system.drain()
        await world.system.advance(timedelta(hours=40), step=timedelta(hours=40))
        assert await truth(world.system) == []
        killed = [process for process in world.system.processes if process.name != "intake"][::2]
        for process in killed:
            await asyncio.to_thread(process.end, signal.SIGKILL)
        await world.system.start()
        await returned(world, "A3")
        await world.system.drain()
        assert await truth(world.system, restarted=True, longest=60) == []
