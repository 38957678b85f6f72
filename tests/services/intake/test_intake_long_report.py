"""A returns report of 10,000 rows: how long it takes, what it holds in memory, and that the event loop goes on meanwhile."""

import asyncio
import gc
import gzip
import json
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.intake.settings import Settings
from services.intake.wiring import Intake, build
from shared.accounts import load_config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import Topology
from shared.clock import TestClock
from shared.marketplaces.amazon.returns_report import read_report
from shared.metrics import Metrics
from shared.settings import Process
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
ROWS = 10_000
STRETCH_S = 0.1
"""CPU seconds of the loop's own thread that nothing may take at a stretch: the wall clock would measure the neighbours."""
_HEAD = (
    "Order ID\tOrder date\tReturn request date\tReturn request status\tAmazon RMA ID\tLabel type\tLabel cost\tCurrency code\t"
    "Return carrier\tTracking ID\tLabel to be paid by\tA-to-Z Claim\tIs prime\tASIN\tMerchant SKU\tItem Name\tReturn quantity\t"
    "Return Reason\tIn policy\tReturn type\tResolution\tOrder Amount\tOrder quantity\tRefunded Amount"
)
_ROW = (
    "902-{n:07d}-1234567\t20-Dec-2025\t02-Jan-2026\tApproved\tRMA-{n}\tAmazonUnPaidLabel\t4.90\tUSD\tUPS\t1Z{n:010d}\tCustomer\tN\tN\t"
    "B0{n:08d}\tSKU-{n}\tA lamp with a name as long as they mostly are, in brass, number {n}\t1\tAMZ-PG-APP-TOO-SMALL\tY\t"
    "C-Returns\tStandardRefund\t39.90\t1\t0.00"
)


def report(rows: int) -> bytes:
    return "\r\n".join([_HEAD, *(_ROW.format(n=n) for n in range(rows))]).encode()


def cpu_seconds(rows: int) -> float:
    document = report(rows)
    found = []
    for _ in range(3):
        began = time.process_time()
        assert len(read_report(document).returns) == rows
        found.append(time.process_time() - began)
    return min(found)


def test_reading_grows_with_the_rows_and_no_faster() -> None:
    """Twice what is in proportion would be a loop within the loop coming."""
    assert cpu_seconds(ROWS) < 2 * (ROWS / 2500) * cpu_seconds(2500)


def test_reading_holds_a_few_times_the_document() -> None:
    document = report(ROWS)
    tracemalloc.start()
    try:
        read_in = read_report(document)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(read_in.returns) == ROWS
    assert peak < 15 * len(document), f"{peak / 1e6:.0f} MB for a document of {len(document) / 1e6:.1f} MB"


class _Market(BaseHTTPRequestHandler):
    """Login, one report that is ready, its document; on a thread of its own, so that only our work is on our loop."""

    packed = gzip.compress(report(ROWS), 1)

    def do_GET(self) -> None:
        if self.path.endswith("/document"):
            self._answer(self.packed, "application/octet-stream")
        elif "/documents/" in self.path:
            here = f"http://127.0.0.1:{self.server.server_address[1]}/document"
            self._json({"reportDocumentId": "d1", "url": here, "compressionAlgorithm": "GZIP"})
        else:
            done = {"reportId": "r1", "processingStatus": "DONE", "reportDocumentId": "d1"}
            self._json({**done, "createdTime": "2026-01-05T10:00:00Z"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        token = {"access_token": "Atza|1", "expires_in": 3600, "token_type": "bearer"}
        self._json(token if self.path == "/auth/o2/token" else {"reportId": "r1"})

    def _json(self, told: dict[str, object]) -> None:
        self._answer(json.dumps(told).encode(), "application/json")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def market() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Market)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def intake_of(folder: Path, url: str) -> AsyncIterator[Intake]:
    path = folder / "accounts.yaml"
    path.write_text(
        f"accounts: [{{id: amz, marketplace: amazon, base_url: '{url}', settings: {{finances: false}}, secrets: "
        "{notification_key: the-key-of-the-forwarder-1234567890, lwa_client_id: c, lwa_client_secret: s, refresh_token: r}}]"
    )
    config = load_config(path, {}, service="intake", sandbox=True)
    assert config.registry.sources("amazon") and config.registry.records("amazon"), "loaded once, and not by the report"
    bus = EmbeddedBus(Topology(partitions=4))
    await bus.start()
    process = Process(
        data_dir=folder, database_urls={"intake": f"sqlite:///{folder / 'intake.db'}"}, sandbox=True, partitions=4
    )
    intake = build(
        process, config, TestClock(START), bus, metrics=Metrics(), settings=Settings(), reload=lambda: config
    )
    await intake.start()
    try:
        yield intake
    finally:
        await intake.stop()
        await bus.stop()


@contextmanager
def nothing_to_collect() -> Iterator[None]:
    """What the test run itself holds in memory is no work for the collector meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Stretches:
    """The longest stretch of the loop's thread between two turns of ours."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.thread_time() - began)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def count(intake: Intake, table: str) -> int:
    async with intake.database.reading() as tx:
        row = await tx.row(f"SELECT count(*) AS n FROM {table}")
    return int(row["n"]) if row else 0


@pytest.mark.asyncio
async def test_landing_it_leaves_the_loop_free(tmp_path: Path) -> None:
    with market() as url, nothing_to_collect():
        async with intake_of(tmp_path, url) as intake:
            stretches = Stretches()
            began = time.monotonic()
            await until(lambda: landed(intake), 240, "all rows to be there")
            took = time.monotonic() - began
            await stretches.stop()
            assert await count(intake, "facts") == 3 * ROWS
    assert stretches.longest < STRETCH_S
    assert took < 200


async def landed(intake: Intake) -> bool:
    await asyncio.sleep(0.2)
    return await count(intake, "records") > ROWS
