"""Whether the numbers people watch are the numbers of the tables: a scrape of every process beside what the databases hold."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from shared.clock import to_micros
from shared.domain.money import from_minor
from shared.store.session import Database, Tx
from tests.support.system import SERVICES, Process, System

Labels = tuple[str, ...]
"""Label values, in the order of the label names' alphabet."""
Figures = dict[tuple[str, Labels], float]
"""Sample name and labels -> value."""
_WITHIN = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "12h": timedelta(hours=12)}
_CONFLICT = "delivery_conflict"
_WITHOUT_ROW = frozenset(
    {"refused", "unknown_account", "too_large", "malformed", "unavailable", "probe", "gone", "replayed"}
)
"""Outcomes of deliveries that are counted and nowhere else."""
_OF_TABLES = (
    "amends_cases", "amends_money_at_risk", "amends_tasks_open", "amends_tasks_overdue", "amends_deadlines_at_risk",
    "amends_dispute_rate", "amends_breakers_open",
)  # fmt: skip
"""Gauges over tables: one replica exports them, at zero or not at all where there is nothing."""


@dataclass
class Told:
    """What the tables say. `gauges` and `counted` must be met exactly; of `least` a counter may have seen more (a status
    that was left again, the same conflict twice)."""

    gauges: Figures = field(default_factory=dict)
    counted: Figures = field(default_factory=dict)
    least: Figures = field(default_factory=dict)


async def truth(system: System, *, restarted: bool = False, longest: float = 30.0) -> list[str]:
    """Every difference between the metrics and the tables of a system at rest, one line each; empty: they agree.

    `restarted`: a process has ended since the tables were empty. Counters live in processes, so they may then show less
    than the tables, never more; gauges must agree all the same. Looks again for `longest` seconds before it complains:
    some gauges are read more rarely than they are scraped, and a partition may just change hands.
    """
    end = time.monotonic() + longest
    async with _databases(system) as databases:
        while True:
            now = system.clock.now()
            told = await _told(system, databases, now)
            found = _compared(told, await _scraped(system), restarted)
            if not found or time.monotonic() > end:
                return found
            await asyncio.sleep(0.25)


def _compared(told: Told, scrapes: list[tuple[Process, Figures]], restarted: bool) -> list[str]:
    shown = _summed(figures for _, figures in scrapes)
    found = [*_exporters(scrapes), *_away(scrapes)]
    for key in sorted(told.gauges.keys() | {key for key in shown if key[0] in _OF_TABLES}):
        there, seen = told.gauges.get(key, 0.0), shown.get(key, 0.0)
        if not _same(there, seen):
            found.append(_line(key, seen, "in the tables", there))
    for key in sorted(told.counted.keys() | {key for key in shown if _leaves_rows(key, told)}):
        there, seen = told.counted.get(key, 0.0), shown.get(key, 0.0)
        if key not in told.least and (seen > there or (seen < there and not restarted)):
            found.append(_line(key, seen, "in the tables", there))
    for key, there in sorted(told.least.items() if not restarted else ()):
        if shown.get(key, 0.0) < there:
            found.append(_line(key, shown.get(key, 0.0), "in the tables at least", there))
    return found


def _leaves_rows(key: tuple[str, Labels], told: Told) -> bool:
    """Whether what a sample counts must be found in the tables to the last one."""
    name, labels = key
    if name == "amends_deliveries_total":
        return labels[1] not in _WITHOUT_ROW
    if name in ("amends_messages_total", "amends_acts_total"):
        return labels[2] == "sent"
    return name in {counted for counted, _ in told.counted}


def _line(key: tuple[str, Labels], seen: float, what: str, there: float) -> str:
    return f"{key[0]}{{{','.join(key[1])}}}: shown {seen:g}, {what} {there:g}"


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-9 * max(abs(one), abs(other), 1.0)


# the scrape


async def _scraped(system: System) -> list[tuple[Process, Figures]]:
    async with aiohttp.ClientSession() as session:
        return [(p, await _scrape(session, p)) for p in system.processes if p.running]


async def _scrape(session: aiohttp.ClientSession, process: Process) -> Figures:
    async with session.get(f"{process.url}/metrics") as answer:
        assert answer.status == 200, (process.name, answer.status)
        families = list(text_string_to_metric_families(await answer.text()))
    samples = [s for family in families for s in family.samples if s.name.startswith("amends_")]
    return {(s.name, tuple(value for _, value in sorted(s.labels.items()))): s.value for s in samples}


def _summed(scrapes: Iterable[Figures]) -> Figures:
    sums: Figures = {}
    for figures in scrapes:
        for key, value in figures.items():
            sums[key] = sums.get(key, 0.0) + value
    return sums


def _exporters(scrapes: list[tuple[Process, Figures]]) -> list[str]:
    """Two replicas that both export a table's gauge would be added up on a dashboard."""
    found = []
    for name in _OF_TABLES:
        by = [process.name for process, figures in scrapes if any(key[0] == name for key in figures)]
        if len(by) > 1:
            found.append(f"{name}: exported by {len(by)} replicas of {', '.join(sorted(set(by)))}")
    return found


def _away(scrapes: list[tuple[Process, Figures]]) -> list[str]:
    found = []
    for process, figures in scrapes:
        wanted = SERVICES if process.name == "embedded" else (process.name,)
        found += [f"amends_ready{{{name}}}: not 1" for name in wanted if figures.get(("amends_ready", (name,))) != 1]
    return found


# the tables


@asynccontextmanager
async def _databases(system: System) -> AsyncIterator[dict[str, Database]]:
    urls = system.urls or {name: f"sqlite:///{system.folder / 'data' / f'{name}.db'}" for name in SERVICES}
    found = {name: Database(urls[name], pool=2) for name in SERVICES}
    try:
        yield found
    finally:
        for database in found.values():
            await database.close()


async def _told(system: System, databases: Mapping[str, Database], now: datetime) -> Told:
    told = Told()
    accounts = yaml.safe_load(system.config.read_text())["accounts"]
    marketplaces = {account["id"]: account["marketplace"] for account in accounts}
    for name, look in (("intake", _intake), ("policy", _policy), ("notifier", _notifier)):
        async with databases[name].reading() as tx:
            await look(tx, told, now, marketplaces)
    return told


async def _intake(tx: Tx, told: Told, now: datetime, marketplaces: Mapping[str, str]) -> None:
    for row in await tx.rows(
        "SELECT marketplace, outcome, count(*) AS n, count(replayed_at) AS again FROM deliveries GROUP BY marketplace, outcome"
    ):
        exact = row["outcome"] != "conflict" and not row["again"]
        into = told.counted if exact else told.least
        into["amends_deliveries_total", (row["marketplace"], row["outcome"])] = row["n"] - row["again"]
        if row["outcome"] in ("failed", "unreadable"):
            key = ("amends_parked_total", (row["outcome"], "intake"))
            told.least[key] = told.least.get(key, 0) + row["n"] - row["again"]
    for row in await tx.rows("SELECT account, name, value FROM counters"):
        if row["account"] in marketplaces:
            _add(told.counted, "amends_deliveries_total", (marketplaces[row["account"]], row["name"]), row["value"])
    for row in await tx.rows("SELECT body FROM facts"):
        fact = json.loads(row["body"])
        if fact.get("raw_code") != _CONFLICT:
            _add(told.counted, "amends_facts_total", (fact["kind"], fact["marketplace"]))
    await _unpublished(tx, told, now, "intake", ("facts",))


async def _policy(tx: Tx, told: Told, now: datetime, marketplaces: Mapping[str, str]) -> None:
    cases = await tx.rows(
        "SELECT id, account, marketplace, kind, phase, outcome, order_id, opened_at, next_due_at, deadline_at, "
        "at_risk_minor, at_risk_currency FROM cases"
    )
    open_tasks = await tx.rows("SELECT case_id, kind, due_at FROM tasks WHERE status = 'open'")
    moment = to_micros(now)
    for case in cases:
        _add(told.gauges, "amends_cases", (case["kind"], case["marketplace"], case["phase"]))
        if case["at_risk_minor"] is not None:
            money = float(from_minor(case["at_risk_minor"], case["at_risk_currency"]).value)
            _add(told.gauges, "amends_money_at_risk", (case["at_risk_currency"], case["marketplace"]), money)
    for task in open_tasks:
        _add(told.gauges, "amends_tasks_open", (task["kind"],))
        if task["due_at"] <= moment:
            _add(told.gauges, "amends_tasks_overdue", (task["kind"],))
    _deadlines(told, cases, {task["case_id"] for task in open_tasks}, moment)
    await _disputes(tx, told, cases, now, marketplaces)
    await _history(tx, told)
    await _parked(tx, told, "policy")
    await _unpublished(tx, told, now, "policy", ("outbound", "case_events"))


def _deadlines(told: Told, cases: Iterable[Mapping[Any, Any]], attended: set[str], now: int) -> None:
    left = [(case["deadline_at"] - now) / 1e6 for case in cases if case["deadline_at"] is not None]
    hour, day = 3600.0, 86400.0
    for bound in (0.0, hour, 4 * hour, 12 * hour, day, 2 * day, 5 * day, 10 * day, 30 * day):
        told.gauges["amends_deadline_seconds_left_bucket", (str(bound),)] = sum(one <= bound for one in left)
    told.gauges["amends_deadline_seconds_left_bucket", ("+Inf",)] = len(left)
    told.gauges["amends_deadline_seconds_left_count", ()] = len(left)
    late = now - 60_000_000
    waiting = [
        (case["deadline_at"] - now) / 1e6 for case in cases
        if case["deadline_at"] is not None and case["deadline_at"] > now
        and (case["id"] in attended or case["next_due_at"] is None or case["next_due_at"] <= late)
    ]  # fmt: skip
    for name, ahead in _WITHIN.items():
        told.gauges["amends_deadlines_at_risk", (name,)] = sum(one <= ahead.total_seconds() for one in waiting)


async def _disputes(
    tx: Tx, told: Told, cases: Iterable[Mapping[Any, Any]], now: datetime, marketplaces: Mapping[str, str]
) -> None:
    """Disputes of 30 days neither withdrawn nor cancelled, to the orders known in them (at least the disputed ones)."""
    since = to_micros(now - timedelta(days=30))
    orders = Counter(
        row["account"] for row in await tx.rows("SELECT account FROM orders WHERE first_seen_at > :since", since=since)
    )
    for account in marketplaces:
        disputes = [
            case for case in cases if case["account"] == account and case["kind"] == "dispute"
            and case["opened_at"] > since and case["outcome"] not in ("withdrawn", "cancelled")
        ]  # fmt: skip
        most = max(orders[account], len({case["order_id"] for case in disputes}), 1)
        told.gauges["amends_dispute_rate", (account,)] = len(disputes) / most


async def _history(tx: Tx, told: Told) -> None:
    """What the log and the case events say has happened."""
    told.counted["amends_deadlines_missed_total", ()] = told.counted["amends_clock_lag_seconds_count", ()] = 0
    answered = set()
    for row in await tx.rows("SELECT case_id, fact, decision FROM case_log WHERE case_id <> ''"):
        kind = json.loads(row["fact"])["kind"]
        missed = sum(effect["do"] == "miss" for effect in json.loads(row["decision"] or "{}").get("effects", ()))
        _add(told.counted, "amends_deadlines_missed_total", (), missed)
        _add(told.counted, "amends_clock_lag_seconds_count", (), kind == "timer.elapsed")
        if kind in ("message.sent", "act.sent"):
            answered.add(row["case_id"])
    told.counted["amends_first_response_seconds_count", ()] = len(answered)
    events = [json.loads(row["body"])["case"] for row in await tx.rows("SELECT body FROM case_events")]
    closed: set[str] = set()
    for case in sorted(events, key=lambda case: (case["id"], case["seq"])):
        ends = case["phase"] == "resolved"
        if ends and case["id"] not in closed:
            labels = (case["kind"], case["liability"] or "none", case["marketplace"], case["outcome"] or "none")
            _add(told.counted, "amends_case_outcomes_total", labels)
        (closed.add if ends else closed.discard)(case["id"])


async def _notifier(tx: Tx, told: Told, now: datetime, marketplaces: Mapping[str, str]) -> None:
    for row in await tx.rows(
        "SELECT marketplace, what, name, status, count(*) AS n FROM errands "
        "WHERE status NOT IN ('planned', 'sending') GROUP BY marketplace, what, name, status"
    ):
        is_message = row["what"] == "message"
        name = "amends_messages_total" if is_message else "amends_acts_total"
        place = (row["marketplace"], row["name"]) if is_message else (row["name"], row["marketplace"])
        into = told.counted if row["status"] == "sent" else told.least
        into[name, (*place, row["status"])] = row["n"]
    for row in await tx.rows("SELECT verdict FROM errands WHERE verdict IS NOT NULL"):
        for violation in json.loads(row["verdict"]).get("violations", ()):
            _add(told.counted, "amends_rule_violations_total", (violation["rule"],))
            if violation["why"].startswith("reads like: "):
                _add(told.counted, "amends_rule_likenesses_total", (violation["rule"],))
    for row in await tx.rows("SELECT account FROM breakers WHERE open_until IS NOT NULL"):
        if row["account"] in marketplaces:
            _add(told.gauges, "amends_breakers_open", (marketplaces[row["account"]],))
    await _parked(tx, told, "notifier")
    await _unpublished(tx, told, now, "notifier", ("results",))


async def _parked(tx: Tx, told: Told, service: str) -> None:
    reasons = Counter(row["why"].partition(":")[0] for row in await tx.rows("SELECT why FROM parked"))
    for reason, n in reasons.items():
        told.least["amends_parked_total", (reason, service)] = n


async def _unpublished(tx: Tx, told: Told, now: datetime, service: str, feeds: Iterable[str]) -> None:
    oldest = [await tx.row(f"SELECT min(created_at) AS at FROM {feed} WHERE published_at IS NULL") for feed in feeds]
    ages = [max(0.0, (to_micros(now) - row["at"]) / 1e6) for row in oldest if row is not None and row["at"] is not None]
    if not ages:
        told.gauges["amends_unpublished_oldest_seconds", (service,)] = 0.0


def _add(into: Figures, name: str, labels: Labels, by: float = 1.0) -> None:
    into[name, labels] = into.get((name, labels), 0.0) + by
