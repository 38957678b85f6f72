"""The message service against a local WebSocket that behaves as reference 3.1 A says: digest, heart-beat, backlog, ack.

The last tests run intake for real: a frame is acknowledged after its commit, and what was not comes again.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import WSMsgType, web

from services.intake import listening
from services.intake.wiring import Intake, build
from shared.accounts import load_config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, Topology, queue_of
from shared.clock import TestClock
from shared.errors import Unavailable
from shared.http import NotSentFault, RefusedFault
from shared.marketplaces.pinduoduo import listener as service_module
from shared.marketplaces.pinduoduo.listener import Listener, digest
from shared.ports import Account, Inbound
from shared.settings import Process
from tests.marketplaces.pinduoduo_walk import START
from tests.support.system import until

pytestmark = pytest.mark.timeout(60)
CLIENT, SECRET = "demo-client", "s3cr3t-demo"
SECRETS = {"client_id": CLIENT, "client_secret": SECRET, "access_token": "demo-token"}
MALL = 700100200


def test_the_digest_is_the_references_vector() -> None:
    assert digest(CLIENT, "1795280400123", SECRET) == "OTU4ODQzMmY3ZjUzZGUyMTkyOWU0OGI2MDc3YWEyMTU="


def frame(id_: int, topic: str = "pdd_refund_RefundCreated", mall: int = MALL, **changes: Any) -> dict[str, Any]:
    content = {
        "mall_id": mall, "refund_fee": 2590, "bill_type": 1, "modified": 1795280400123 + id_, "refund_id": 550000 + id_,
        "operation": 1000, "tid": f"261120-{id_}", **changes,
    }  # fmt: skip
    message = {"type": topic, "mallID": mall, "content": json.dumps(content)}
    return {
        "id": 910000000000000 + id_,
        "commandType": "Common",
        "time": 1,
        "sendTime": 1795280400190,
        "message": message,
    }


@dataclass
class Service:
    """Sends what is not acknowledged to whoever connects, anew on each connection with another `sendTime`."""

    backlog: dict[int, dict[str, Any]] = field(default_factory=dict)
    heard: list[dict[str, Any]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    sent: int = 0
    refused: int = 0
    on_ack: Any = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/message/{client}/{millis}/{digest}", self.connect)
        return app

    async def connect(self, request: web.Request) -> web.StreamResponse:
        info = request.match_info
        said = hashlib.md5(f"{info['client']}{info['millis']}{SECRET}".encode(), usedforsecurity=False).hexdigest()
        if info["client"] != CLIENT or base64.b64encode(said.encode()).decode() != info["digest"]:
            self.refused += 1
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        for waiting in list(self.backlog.values()):
            await self.send(socket, waiting)
        async for told in socket:
            if told.type is WSMsgType.TEXT:
                await self.hear(json.loads(told.data))
        return socket

    async def send(self, socket: web.WebSocketResponse, waiting: dict[str, Any]) -> None:
        self.sent += 1
        await socket.send_json({**waiting, "sendTime": waiting["sendTime"] + self.sent})

    async def hear(self, said: dict[str, Any]) -> None:
        self.heard.append(said)
        if said["commandType"] == "Ack":
            if self.on_ack is not None:
                await self.on_ack(said)
            self.backlog.pop(said["id"], None)

    async def tell(self, *frames: dict[str, Any]) -> None:
        for one in frames:
            self.backlog[one["id"]] = one
            for socket in self.sockets:
                if not socket.closed:
                    await self.send(socket, one)

    async def hang_up(self) -> None:
        for socket in self.sockets:
            await socket.close()

    def said(self, command: str) -> list[dict[str, Any]]:
        return [one for one in self.heard if one["commandType"] == command]

    @property
    def open(self) -> int:
        return sum(not socket.closed for socket in self.sockets)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Service, str]]:
    service = Service()
    runner = web.AppRunner(service.app(), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield service, f"http://{host}:{port}"
    finally:
        await service.hang_up()
        await runner.cleanup()


@pytest_asyncio.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    async with running() as found:
        yield found


def a_listener(url: str, secrets: Mapping[str, str] = SECRETS) -> Listener:
    return Listener(Account("pdd-main", "pinduoduo", base_url=url), secrets, TestClock(START))


async def true(check: Any) -> None:
    async def answer() -> bool:
        return bool(check())

    await until(answer, "the condition", 20)


def test_listening_is_the_default_but_not_in_the_sandbox() -> None:
    for settings, sandbox, wanted in (
        ({}, False, True), ({}, True, False), ({"message_service": True}, True, True), ({"message_service": False}, False, False),
    ):  # fmt: skip
        account = Account("a", "pinduoduo", settings=settings, sandbox=sandbox)
        assert Listener(account, SECRETS, TestClock(START)).wanted is wanted


@pytest.mark.asyncio
async def test_frames_are_acknowledged_once_taken_and_the_heart_beats(
    service: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "BEAT_S", 0.01)
    server, url = service
    gate, taken = asyncio.Event(), list[tuple[Inbound, Mapping[str, str]]]()

    async def take(inbound: Inbound, settings: Mapping[str, str]) -> bool:
        taken.append((inbound, settings))
        await gate.wait()
        return True

    listening_ = asyncio.create_task(a_listener(url).listen(take))
    await true(lambda: server.open)
    await server.tell(frame(1), frame(2))
    await true(lambda: len(taken) == 2 and len(server.said("HeartBeat")) > 3)
    assert server.said("Ack") == [] and len(server.backlog) == 2, "nothing is acknowledged before it is kept"
    gate.set()
    await true(lambda: not server.backlog)
    ack = server.said("Ack")[0]
    assert set(ack) == {"commandType", "time", "id", "sendTime", "type", "mallID"}
    assert (ack["id"], ack["type"], ack["mallID"]) == (910000000000001, "pdd_refund_RefundCreated", MALL)
    assert all(beat["time"] == int(START.timestamp() * 1000) for beat in server.said("HeartBeat"))
    inbound, settings = taken[0]
    assert settings == {"mall_id": str(MALL)} and set(json.loads(inbound.body)) == {"type", "mallID", "content"}
    await server.hang_up()
    await listening_


@pytest.mark.asyncio
async def test_what_cannot_be_kept_ends_the_connection_and_comes_again(service: tuple[Service, str]) -> None:
    server, url = service
    server.backlog = {one["id"]: one for one in (frame(1), frame(2))}

    async def full(inbound: Inbound, settings: Mapping[str, str]) -> bool:
        raise Unavailable("full")

    with pytest.raises(NotSentFault, match="could not be kept"):
        await a_listener(url).listen(full)
    assert len(server.backlog) == 2 and server.said("Ack") == []
    bodies: list[bytes] = []

    async def take(inbound: Inbound, settings: Mapping[str, str]) -> bool:
        bodies.append(inbound.body)
        return True

    again = asyncio.create_task(a_listener(url).listen(take))
    await true(lambda: not server.backlog)
    assert len(bodies) == 2
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


@pytest.mark.asyncio
async def test_other_frames_garbage_and_another_shops_news(service: tuple[Service, str]) -> None:
    server, url = service
    bodies: list[bytes] = []

    async def take(inbound: Inbound, settings: Mapping[str, str]) -> bool:
        bodies.append(inbound.body)
        return settings.get("mall_id") != "9"

    task = asyncio.create_task(a_listener(url).listen(take))
    await true(lambda: server.open)
    for odd in (
        '{"commandType":"HeartBeat","time":1}',
        '{"commandType":"Fail","id":4}',
        "not json",
        "[]",
        '{"a":1,"a":2}',
    ):
        await server.sockets[0].send_str(odd)
    await server.tell(frame(1, mall=9), frame(2))
    await true(lambda: len(server.said("Ack")) == 1)
    assert list(server.backlog) == [910000000000001], "what is for nobody here is not acknowledged"
    assert b"not json" in bodies and len(bodies) == 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_wrong_secret_and_a_closed_door_say_what_they_mean(service: tuple[Service, str]) -> None:
    async def take(inbound: Inbound, settings: Mapping[str, str]) -> bool:
        return True

    with pytest.raises(RefusedFault) as refused:
        await a_listener(service[1], {**SECRETS, "client_secret": "wrong"}).listen(take)
    assert refused.value.status == 401 and "wrong" not in refused.value.why
    with pytest.raises(NotSentFault):
        await a_listener("http://127.0.0.1:9").listen(take)


# intake for real


@asynccontextmanager
async def intake_on(folder: Path, url: str, more: str = "", database: str | None = None) -> AsyncIterator[Intake]:
    path = folder / "accounts.yaml"
    secrets = "{client_id: demo-client, client_secret: s3cr3t-demo, access_token: t, relay_secret: r}"
    path.write_text(
        f"accounts:\n  - id: pdd-main\n    marketplace: pinduoduo\n    base_url: {url}\n    secrets: {secrets}\n"
        f"    settings: {{message_service: true, mall_id: '{MALL}'}}\n{more}"
    )
    bus = EmbeddedBus(Topology(partitions=4))
    await bus.start()
    takers = [asyncio.create_task(taking(bus, queue_of(FACTS, n))) for n in range(4)]
    urls = {"intake": database} if database else {}
    process = Process(data_dir=folder, database_urls=urls, sandbox=True, partitions=4)
    config = load_config(path, {}, service="intake", sandbox=True)
    intake = build(process, config, TestClock(START), bus)
    await intake.start()
    try:
        yield intake
    finally:
        await intake.stop()
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
        await bus.stop()


async def taking(bus: EmbeddedBus, queue: str) -> None:
    """Stands for policy: intake's relay waits for somebody to take its facts before it stops."""
    subscription = await bus.subscribe(queue)
    while True:
        await (await subscription.take(100)).ack()


async def rows(intake: Intake, sql: str) -> list[dict[str, Any]]:
    async with intake.database.reading() as tx:
        return [dict(row) for row in await tx.rows(sql)]


@pytest.mark.asyncio
async def test_messages_enter_by_the_corridor_and_are_acknowledged_after_their_commit(
    service: tuple[Service, str], tmp_path: Path
) -> None:
    server, url = service
    server.backlog = {one["id"]: one for one in (frame(n) for n in range(1, 21))}
    seen: list[int] = []
    async with intake_on(tmp_path, url) as intake:

        async def committed(said: dict[str, Any]) -> None:
            told = 550000 + said["id"] - 910000000000000
            found = await rows(intake, f"SELECT 1 FROM deliveries WHERE dedupe_key LIKE '%:{told}:%'")
            seen.append(len(found))

        server.on_ack = committed
        await true(lambda: not server.backlog)
        assert seen == [1] * 20
        told = await rows(intake, "SELECT outcome, ref, facts FROM deliveries WHERE source = 'push'")
        assert {row["outcome"] for row in told} == {"needs_fetch"} and len(told) == 20
        assert {row["ref"] for row in told} == {f"refund:261120-{n}:{550000 + n}" for n in range(1, 21)}
        facts = await rows(intake, "SELECT body FROM facts")
        assert {json.loads(row["body"])["kind"] for row in facts} == {"refund.requested"} and len(facts) == 20


@pytest.mark.asyncio
async def test_a_lost_connection_is_made_anew_and_repeats_are_one(
    service: tuple[Service, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_GAPS", (0.01,))
    server, url = service
    async with intake_on(tmp_path, url) as intake:
        await true(lambda: server.open)
        await server.tell(frame(1))
        await true(lambda: not server.backlog)
        await server.hang_up()
        server.backlog = {one["id"]: one for one in (frame(1), frame(2))}
        await true(lambda: not server.backlog)
        assert len(server.sockets) == 2
        told = await rows(intake, "SELECT outcome FROM deliveries WHERE source = 'push'")
        assert [row["outcome"] for row in told] == ["needs_fetch", "needs_fetch"], (
            "sent again with another time, one news"
        )
    assert server.open == 0, "a stop leaves no connection behind"


@pytest.mark.asyncio
async def test_how_long_there_has_been_no_connection_is_told(
    service: tuple[Service, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real time, as the connection's own: a refused one grows older, an open one is 0, a lost one begins anew."""
    monkeypatch.setattr(listening, "_GAPS", (0.01,))
    server, url = service

    async def away(intake: Intake) -> float:
        text = (await intake._metrics.exposition()).decode()
        return float(
            text.partition('amends_source_away_seconds{marketplace="pinduoduo",way="connection"} ')[2].split()[0]
        )

    monkeypatch.setattr(f"{__name__}.SECRET", "changed at the marketplace")
    async with intake_on(tmp_path, url) as intake:
        await true(lambda: server.refused > 1)
        first = await away(intake)
        await true(lambda: server.refused > 3)
        assert await away(intake) > first > 0
        monkeypatch.setattr(f"{__name__}.SECRET", "s3cr3t-demo")
        await true(lambda: server.open)
        await until(lambda: _is(away(intake), 0.0), "the connection's standing", 20)
        monkeypatch.setattr(f"{__name__}.SECRET", "changed again")
        await server.hang_up()
        await true(lambda: server.refused > 5)
        assert await away(intake) > 0


async def _is(told: Awaitable[float], wanted: float) -> bool:
    return await told == wanted


@pytest.mark.asyncio
async def test_what_the_store_does_not_take_is_not_acknowledged(
    service: tuple[Service, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_GAPS", (0.01,))
    server, url = service
    async with intake_on(tmp_path, url) as intake:
        submit, refusals = intake.writer.submit, 3

        async def grudging(delivery: Any) -> str:
            nonlocal refusals
            refusals -= 1
            if refusals >= 0:
                raise Unavailable("the database cannot store now")
            return await submit(delivery)

        monkeypatch.setattr(intake.writer, "submit", grudging)
        await true(lambda: server.open)
        await server.tell(frame(1))
        await true(lambda: not server.backlog)
        assert len(server.sockets) == 4 and len(server.said("Ack")) == 1
        assert len(await rows(intake, "SELECT 1 FROM facts")) == 1


@pytest.mark.asyncio
async def test_each_shops_news_goes_to_its_account(service: tuple[Service, str], tmp_path: Path) -> None:
    server, url = service
    more = (
        f"  - id: pdd-two\n    marketplace: pinduoduo\n    base_url: {url}\n"
        "    secrets: {client_id: demo-client, client_secret: s3cr3t-demo, access_token: t}\n"
        "    settings: {message_service: false, mall_id: '77'}\n"
    )
    async with intake_on(tmp_path, url, more) as intake:
        await true(lambda: server.open)
        await server.tell(frame(1), frame(2, mall=77), frame(3, mall=5))
        await true(lambda: len(server.said("Ack")) == 2)
        told = await rows(intake, "SELECT account FROM deliveries WHERE source = 'push' ORDER BY account")
        assert [row["account"] for row in told] == ["pdd-main", "pdd-two"]
        assert list(server.backlog) == [910000000000003]


@pytest.mark.asyncio
@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgres", marks=pytest.mark.pg)])
async def test_one_replica_at_a_time_holds_the_connection(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
    service: tuple[Service, str],
) -> None:  # fmt: skip
    monkeypatch.setattr(listening, "_RENEW", 0.0)
    server, url = service
    database = request.getfixturevalue("postgres_url") if store == "postgres" else None
    async with intake_on(tmp_path, url, database=database) as intake:
        await true(lambda: server.open == 1)
        other = listening.Listening(
            intake.database,
            lambda: intake.config,
            intake.writer,
            TestClock(START),
            intake.listening._telling,
            "another",
        )
        for _ in range(5):
            await other.round()
        assert len(server.sockets) == 1
        await intake.listening.stop()
        await true(lambda: server.open == 0)
        await other.round()
        await true(lambda: server.open == 1)
        await other.stop()
