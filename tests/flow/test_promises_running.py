"""What the interfaces promise of running it: the sandbox, faults, metrics, reload, restart, the command line."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.clock import parse_time
from tests.flow.conftest import START, World, opened
from tests.flow.test_promises_lists import returned
from tests.support import pushes
from tests.support.system import ROOT, Process, System, free_port, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
METRICS = (
    "amends_deliveries_total", "amends_delivery_ack_seconds", "amends_facts_total", "amends_unpublished_oldest_seconds",
    "amends_cases", "amends_case_outcomes_total", "amends_deadline_seconds_left", "amends_deadlines_missed_total",
    "amends_clock_lag_seconds", "amends_money_at_risk", "amends_messages_total", "amends_rule_violations_total",
    "amends_acts_total", "amends_tasks_open", "amends_parked_total", "amends_dispute_rate",
    "amends_first_response_seconds",
)  # fmt: skip
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


async def samples(w: World) -> dict[str, Counter[frozenset[tuple[str, str]]]]:
    """Metric -> label values -> value."""
    _, text = await w.system.request("GET", "/metrics", key="")
    found: dict[str, Counter[frozenset[tuple[str, str]]]] = {}
    for line in text.splitlines():
        if match := _SAMPLE.match(line):
            name, labels, value = match.groups()
            pairs = frozenset(re.findall(r'(\w+)="([^"]*)"', labels or ""))
            found.setdefault(name, Counter())[pairs] += float(value)  # type: ignore[assignment]
    return found


def by(rows: list[dict[str, Any]], *names: str) -> Counter[frozenset[tuple[str, str]]]:
    return Counter(frozenset((name, str(row[name])) for name in names) for row in rows)


async def test_every_metric_is_there_and_agrees_with_the_lists(product: World) -> None:
    for n in range(3):
        await returned(product, f"Q{n}")
    await product.push_generic("refund.issued", "msg_Q0-p", kind="return", external_id="Q0", order_id="O-Q0",
                               refunded={"value": "20.00", "currency": "EUR"})  # fmt: skip
    await product.ring("8200000601")
    await product.system.drain()
    found = await samples(product)
    _, text = await product.system.request("GET", "/metrics", key="")
    assert [name for name in METRICS if f"# TYPE {name} " not in text] == []
    cases = await product.system.cases()
    assert found["amends_cases"] == by(cases, "marketplace", "kind", "phase")
    ended = [c for c in cases if c["phase"] == "resolved"]
    assert found["amends_case_outcomes_total"] == by(ended, "marketplace", "kind", "outcome", "liability")
    risk: Counter[frozenset[tuple[str, str]]] = Counter()
    for case in cases:
        if money := case["money_at_risk"]:
            labels = frozenset({("marketplace", case["marketplace"]), ("currency", money["currency"])})
            risk[labels] += float(money["value"])  # type: ignore[assignment]
    assert found["amends_money_at_risk"] == risk
    assert found.get("amends_tasks_open", Counter()) == by(await product.system.tasks(), "kind")
    sent = [c for c in await product.system.calls() if c["kind"] == "message" and c["outcome"] == "sent"]
    counted = found["amends_messages_total"]
    assert sum(v for k, v in counted.items() if ("status", "sent") in k) == len(sent)
    kept = (await product.system.get("/v1/admin/deliveries?limit=200"))["items"]
    pushed = by([d for d in kept if d["source"] == "push"], "marketplace", "outcome")
    for labels, n in pushed.items():
        assert found["amends_deliveries_total"][labels] >= n
    assert {v for k, v in found["amends_dispute_rate"].items() if ("account", "ae-main") in k} == {1.0}


@pytest.mark.parametrize(
    ("by_", "seconds"), [("PT1S", 1), ("PT0S", 0), ("PT1M30S", 90), ("PT1.5S", 1.5), ("P1DT2H", 93600), ("P1W", 604800)]
)
async def test_the_clock_moves_by_what_it_is_told(product: World, by_: str, seconds: float) -> None:
    before = parse_time((await product.system.get("/sandbox/clock"))["now"])
    after = parse_time((await product.system.post("/sandbox/clock/advance", {"by": by_}))["now"])
    assert after - before == timedelta(seconds=seconds)


@pytest.mark.parametrize("by_", ["", "1D", "P", "-P1D", "soon", 5, None])
async def test_what_is_no_duration_moves_nothing(product: World, by_: Any) -> None:
    before = await product.system.get("/sandbox/clock")
    assert (await product.system.request("POST", "/sandbox/clock/advance", json={"by": by_}))[0] == 422
    assert await product.system.get("/sandbox/clock") == before


async def test_faults_are_of_known_channels_and_kinds(product: World) -> None:
    for wrong in (
        {"channel": "nowhere", "next": ["ok"]},
        {"channel": "generic", "next": ["boom"]},
        {"channel": "generic"},
    ):
        assert (await product.system.request("POST", "/sandbox/faults", json=wrong))[0] == 422


@pytest.mark.parametrize(
    ("faults", "outcomes"),
    [
        (["ok"], ["sent"]), (["refused"], ["not_sent", "sent"]), (["429"], ["not_sent", "sent"]),
        (["timeout"], ["in_doubt", "sent"]), (["500"], ["in_doubt", "sent"]),
        (["timeout", "500", "429", "ok"], ["in_doubt", "in_doubt", "not_sent", "sent"]),
    ],
)  # fmt: skip
async def test_a_keyed_channel_is_asked_again_under_the_same_key(
    product: World, faults: list[str], outcomes: list[str]
) -> None:
    await product.system.post("/sandbox/faults", {"channel": "generic", "next": faults})
    case = await returned(product, f"X{''.join(faults)}")
    await product.system.advance(timedelta(minutes=30))
    rows = [c for c in await product.system.calls() if c["case_id"] == case["id"]]
    assert [(c["attempt"], c["outcome"]) for c in rows] == list(enumerate(outcomes, 1))
    assert len({c["idempotency_key"] for c in rows}) == 1
    [message] = await product.system.messages(case["id"])
    assert (message["status"], message["attempts"]) == ("sent", len(outcomes))
    assert product.shop.said_twice() == []


async def test_a_reload_and_a_hang_up_take_a_changed_file_and_refuse_a_broken_one(tmp_path: Path) -> None:
    async with opened(tmp_path, None) as w:
        sound = w.system.config.read_text()
        w.system.config.write_text(sound.replace("marketplace: generic", "marketplace: nowhere"))
        status, problem = await w.system.request("POST", "/v1/admin/reload")
        assert (status, problem["code"]) == (422, "bad_configuration")
        assert "nowhere" not in json.dumps(problem)
        assert await w.push_generic("order.placed", "msg_1", order_id="O1") == 202
        w.system.config.write_text(sound.replace("id: shop", "id: boutique"))
        handle = w.system.processes[0].handle
        assert handle is not None
        handle.send_signal(signal.SIGHUP)
        body, headers = pushes.generic(START, "order.placed", "msg_2", order_id="O2")

        async def taken() -> bool:
            return (await w.system.push("generic", "boutique", body, headers))[0] == 202

        await until(taken, "the new account to be known")
        assert (await w.system.push("generic", "shop", body, headers))[0] == 404
        w.system.config.write_text(sound)
        assert await w.system.post("/v1/admin/reload") == {"reload": {"intake": 2, "policy": 2, "notifier": 2}}
        assert await w.push_generic("order.placed", "msg_3", order_id="O3") == 202


@asynccontextmanager
async def answering(system: System, process: Process) -> AsyncIterator[None]:
    """Waits until the one process answers; ends it gracefully, with exit code 0."""
    system._session = aiohttp.ClientSession()
    try:
        await system._ready(process)
        yield
    finally:
        await system._session.close()
        code = await asyncio.to_thread(process.end)
    assert code == 0


async def test_at_wins_over_the_kept_time_and_a_restart_keeps_the_rest(tmp_path: Path) -> None:
    config = tmp_path / "accounts.yaml"
    config.write_text(pushes.accounts("http://127.0.0.1:9/hooks"))
    port = free_port()
    system = System(tmp_path, config.read_text(), START)

    async def told(*more: str) -> str:
        args = ["up", "--sandbox", "--port", str(port), "--data", str(tmp_path / "d"), "--config", str(config), *more]
        env = {k: v for k, v in system._base_env().items() if k != "AMENDS_TEST_CLOCK"}
        process = Process("embedded", args, env, port, tmp_path / "log")
        process.start()
        system.processes = [process]
        async with answering(system, process):
            return str((await system.get("/sandbox/clock"))["now"])

    assert await told("--at", "2026-11-02T08:00:00Z") == "2026-11-02T08:00:00Z"
    assert await told() == "2026-11-02T08:00:00Z"
    assert await told("--at", "2026-11-20T10:00:00+02:00") == "2026-11-20T08:00:00Z"


async def _amends(*args: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "amends", *args], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


async def test_the_command_line_reads_and_changes_the_running_product(product: World) -> None:
    await returned(product, "CLI")
    to = ("--url", product.system.processes[0].url, "--key", "sandbox", "--json")
    for args in (("parked", "list"), ("deliveries", "list"), ("deliveries", "list", "--account", "shop")):
        done = await _amends(*args, *to)
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), list)
    [newest] = json.loads((await _amends("deliveries", "list", "--limit", "1", *to)).stdout)
    replayed = json.loads((await _amends("deliveries", "replay", newest["id"], *to)).stdout)
    assert replayed["replayed"] == 1
    assert json.loads((await _amends("deliveries", "replay", "none", *to)).stdout)["left"] == {
        "none": "no such delivery"
    }
    assert set(json.loads((await _amends("resync", *to)).stdout)["resync"]) == {"intake", "policy", "notifier"}
    await product.system.drain()
    assert len(await product.system.messages((await product.system.case_of("CLI"))["id"])) == 1


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("parked", "show", "none"), 1), (("parked", "retry", "none"), 1), (("deliveries", "replay"), 2),
        (("deliveries", "list", "--outcome", "strange"), 1), (("resync", "--since", "yesterday"), 2),
        (("deliveries", "list", "--limit", "0"), 2),
    ],
)  # fmt: skip
async def test_what_fails_is_one_line_on_stderr(product: World, args: tuple[str, ...], code: int) -> None:
    done = await _amends(*args, "--url", product.system.processes[0].url, "--key", "sandbox")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), done.stderr


async def test_config_check_takes_the_file_as_up_does(tmp_path: Path) -> None:
    file = tmp_path / "accounts.yaml"
    file.write_text(pushes.accounts("http://127.0.0.1:9/hooks"))
    for args in ((str(file),), ("--config", str(file))):
        assert (await _amends("config", "check", *args)).returncode == 0
    file.write_text(file.read_text().replace("locale: en", "locale: 5"))
    done = await _amends("config", "check", "--config", str(file))
    assert done.returncode == 2
    assert f"{file}:5 " in done.stderr
