"""Whatever is sent in the shapes our own OpenAPI describes (and just beside them): never a 5xx, problems are problems."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from amends.serve import HttpServer
from services.policy import wiring
from shared.bus import open_bus
from shared.bus.port import Topology
from shared.clock import TestClock
from shared.registry import Registry
from shared.settings import Process
from tests.services.policy.policy_rig import START, Rig, config

pytestmark = pytest.mark.slow


class _Served(threading.Thread):
    """The service over real HTTP, on a loop of its own, with one case in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.ready, self.url, self.case = folder, threading.Event(), "", ""
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as fault:
            self.fault = fault
            self.ready.set()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.join(20)

    async def _serve(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        clock, bus = TestClock(START), open_bus("embedded://", Topology(1))
        process = Process(data_dir=self.folder, sandbox=True, partitions=1)
        service = wiring.build(process, config(Registry(), "shop"), clock, bus)
        await bus.start()
        await service.start()
        rig = Rig(service.policy, service.database, clock)
        await rig.take(rig.fact("return.requested"))
        self.case = (await rig.case()).id
        server = HttpServer(service.app)
        await server.start()
        self.url = server.url
        self.ready.set()
        await self.stop.wait()
        await server.stop()
        await service.stop()
        await bus.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Served]:
    thread = _Served(tmp_path_factory.mktemp("policy"))
    thread.start()
    assert thread.ready.wait(30)
    if thread.fault is not None:
        raise thread.fault
    yield thread
    thread.end()


def test_nothing_that_is_sent_breaks_us(served: _Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in ("/metrics", "/readyz", "/healthz"):
            continue

        @settings(
            max_examples=25, deadline=None, database=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            if "case_id" in case.path_parameters:
                case.path_parameters["case_id"] = served.case
            answer = case.call(headers={"Authorization": "Bearer sandbox"})
            assert answer.status_code < 500, (case.method, case.path, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"][0].startswith("application/problem+json")
                assert answer.json()["code"]

        holds()
