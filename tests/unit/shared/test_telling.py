"""Logs, metrics and health: what a process tells about itself."""

import ast
import asyncio
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest
import structlog
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from shared import health, logs
from shared.metrics import Metrics, replace
from tests.support.asgi import ask

ROOT = Path(__file__).parents[3]


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("json", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_only_listed_fields_get_out(out: io.StringIO) -> None:
    logs.get_logger("x").info("case.advanced", case_id="case_1", buyer="Ann Example", text="hello", count=3)
    assert "Ann" not in out.getvalue() and "hello" not in out.getvalue()
    (line,) = lines(out)
    assert (line["event"], line["case_id"], line["count"], line["dropped"]) == (
        "case.advanced",
        "case_1",
        3,
        ["buyer", "text"],
    )


def test_bound_ids_stand_on_every_line(out: io.StringIO) -> None:
    with logs.bound_contextvars(delivery_id="d1", account="ae-main"):
        logs.get_logger("x").warning("delivery.refused", why="bad\nsignature\x1b[31m", ref="r" * 5_000)
    logs.get_logger("x").info("after")
    first, second = lines(out)
    assert (first["delivery_id"], first["account"], first["level"]) == ("d1", "ae-main", "warning")
    assert first["why"] == "bad signature [31m" and len(str(first["ref"])) == 300
    assert "delivery_id" not in second


def test_a_fault_tells_where_but_not_what(out: io.StringIO) -> None:
    try:
        raise ValueError("buyer@example.com")
    except ValueError:
        logs.get_logger("x").error("broken", exc_info=True)
    (line,) = lines(out)
    assert line["fault"] == "ValueError"
    assert str(line["trace"]).startswith("['test_telling.py:")
    assert "example.com" not in out.getvalue()


def test_a_fault_can_be_told_on_a_terminal_too(out: io.StringIO) -> None:
    """The console's renderer gives some keys a meaning of its own; none of ours may be one of those."""
    logs.configure("console", stream=out)
    try:
        raise ValueError("buyer@example.com")
    except ValueError:
        logs.get_logger("x").exception("broken")
    assert "broken" in out.getvalue() and "trace=" in out.getvalue() and "example.com" not in out.getvalue()


def _closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


def _full() -> TextIO:
    return Path("/dev/full").open("w")


def _read_by_nobody() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [_closed, _full, _read_by_nobody])
async def test_a_line_that_cannot_be_written_is_counted_and_ends_nothing(
    out: io.StringIO, stream: Callable[[], TextIO]
) -> None:
    broken = stream()
    try:
        logs.configure("console", stream=broken)
        before = logs.lost()
        logs.get_logger("x").error("broken", exc_info=True)
        logging.getLogger("some.library").warning("broken too")
        assert logs.lost() == before + 2
        assert f"amends_log_lines_lost_total {float(before + 2)}" in (await Metrics().exposition()).decode()
        logs.configure("json", stream=out)
        logs.get_logger("x").info("written")
        assert [line["event"] for line in lines(out)] == ["written"]
    finally:
        with suppress(OSError):
            broken.close()


def test_a_process_may_be_started_without_the_stream(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    before = logs.lost()
    logs.configure()
    logs.get_logger("x").error("broken")
    assert logs.lost() == before + 1


def test_libraries_log_the_same_way_without_arguments(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning("sent %s", "buyer@example.com")
    logging.getLogger("some.library").info("too much detail")
    (line,) = lines(out)
    assert (line["room"], line["why"], line["level"]) == ("some.library", "sent %s", "warning")


def test_every_field_that_is_logged_somewhere_is_on_the_list() -> None:
    levels = ("debug", "info", "warning", "error", "exception")
    unlisted = []
    for path in (p for room in ("amends", "services", "shared") for p in (ROOT / room).rglob("*.py")):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            match call.func:
                case ast.Attribute(value=ast.Name(id="_log" | "log"), attr=attr) if attr in levels:
                    names = {k.arg for k in call.keywords} - logs.ALLOWED - {"exc_info"}
                    unlisted += [f"{path}:{call.lineno} {name}" for name in names]
    assert unlisted == []


PROMISED = {
    "amends_deliveries_total": {"marketplace", "outcome"},
    "amends_delivery_ack_seconds": set(),
    "amends_facts_total": {"marketplace", "kind"},
    "amends_unpublished_oldest_seconds": {"service"},
    "amends_cases": {"marketplace", "kind", "phase"},
    "amends_case_outcomes_total": {"marketplace", "kind", "outcome", "liability"},
    "amends_deadline_seconds_left": set(),
    "amends_deadlines_missed_total": set(),
    "amends_clock_lag_seconds": set(),
    "amends_money_at_risk": {"marketplace", "currency"},
    "amends_messages_total": {"marketplace", "purpose", "status"},
    "amends_rule_violations_total": {"rule"},
    "amends_rule_likenesses_total": {"rule"},
    "amends_acts_total": {"marketplace", "act", "status"},
    "amends_tasks_open": {"kind"},
    "amends_tasks_overdue": {"kind"},
    "amends_deadlines_at_risk": {"within"},
    "amends_breakers_open": {"marketplace"},
    "amends_ready": {"service"},
    "amends_parked_total": {"service", "reason"},
    "amends_dispute_rate": {"account"},
    "amends_first_response_seconds": set(),
    "amends_log_lines_lost_total": set(),
    "amends_source_away_seconds": {"marketplace", "way"},
}


def filled(metrics: Metrics) -> Metrics:
    for collector in vars(metrics).values():
        names = getattr(collector, "_labelnames", None)
        child = collector.labels(*names) if names else collector
        for method in ("inc", "observe"):
            if names is not None and hasattr(child, method):
                getattr(child, method)(1)
                break
    metrics.deadline_seconds_left.set([1, 2, 2, 2, 2, 2, 2, 2, 2, 3], 1e9 + 1795)
    return metrics


@pytest.mark.asyncio
async def test_every_promised_metric_by_name_and_labels() -> None:
    text = (await filled(Metrics()).exposition()).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            found[name] = set(sample.labels) - {"le"}
    assert {name: labels for name, labels in found.items() if name.startswith("amends_")} == PROMISED


@pytest.mark.asyncio
async def test_the_snapshot_is_replaced_not_added() -> None:
    metrics = Metrics()
    metrics.deadline_seconds_left.set([9] * 10, 9.0)
    metrics.deadline_seconds_left.set([1, 2, 2, 2, 2, 2, 2, 2, 2, 3], 1e9 + 1795)
    text = (await metrics.exposition()).decode()
    assert 'amends_deadline_seconds_left_bucket{le="0.0"} 1.0' in text
    assert 'amends_deadline_seconds_left_bucket{le="3600.0"} 2.0' in text
    assert 'amends_deadline_seconds_left_bucket{le="+Inf"} 3.0' in text


@pytest.mark.asyncio
async def test_a_gauge_forgets_what_is_gone_and_is_set_before_the_scrape() -> None:
    metrics = Metrics()
    metrics.tasks_open.labels("conflict").set(4)

    async def refresh() -> None:
        replace(metrics.tasks_open, {("in_doubt",): 2})

    metrics.before_scrape.append(refresh)
    text = (await metrics.exposition()).decode()
    assert 'amends_tasks_open{kind="in_doubt"} 2.0' in text and "conflict" not in text


def probed(**checks: health.Check) -> FastAPI:
    app = FastAPI()
    app.include_router(health.router(checks, Metrics()))
    return app


async def fine() -> str | None:
    return None


async def away() -> str | None:
    raise ConnectionError("secret-host")


async def said() -> str | None:
    return "2 s apart from the database"


async def silent() -> str | None:
    await asyncio.sleep(60)
    return None


def test_ready_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 0.05)
    app = probed(database=fine, broker=away, clock=said, disk=silent)
    answer = ask(app, "GET", "/readyz")
    assert (answer.status, answer.json()["code"]) == (503, "not_ready")
    assert answer.json()["missing"] == {
        "broker": "ConnectionError", "clock": "2 s apart from the database", "disk": "no answer in time",
    }  # fmt: skip
    assert ask(app, "GET", "/healthz").status == 200


def test_a_scrape_tells_whether_the_service_is_ready() -> None:
    metrics, missing = Metrics(), ["the broker is away"]

    async def broker() -> str | None:
        return missing[0] if missing else None

    app = FastAPI()
    app.include_router(health.router({"broker": broker}, metrics, "policy"))
    assert 'amends_ready{service="policy"} 0.0' in ask(app, "GET", "/metrics").text
    missing.clear()
    assert 'amends_ready{service="policy"} 1.0' in ask(app, "GET", "/metrics").text


@pytest.mark.asyncio
async def test_a_scrape_is_answered_while_the_tables_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.metrics._PATIENCE", 0.05)
    metrics = Metrics()
    metrics.before_scrape += [away, silent, partial(_deliver, metrics)]
    assert 'amends_deliveries_total{marketplace="toy",outcome="accepted"} 1.0' in (await metrics.exposition()).decode()


async def _deliver(metrics: Metrics) -> None:
    metrics.deliveries.labels("toy", "accepted").inc()


def test_ready_and_metrics_need_no_key() -> None:
    app = probed(database=fine)
    assert ask(app, "GET", "/readyz").json() == {"status": "ready", "checks": ["database"]}
    answer = ask(app, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain") and "amends_" in answer.text
