"""Every metric of the product, by the names that are promised. Labels are closed sets: never an id, never input.

One `Metrics` per process: three services in one process share it. Each has its own registry, so tests build many.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from shared import logs

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PATIENCE = 4.0
"""Seconds a scrape waits for the tables."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ACK = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10)
_LAG = (0.005, 0.015, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, _MINUTE, 5 * _MINUTE, _HOUR)
_RESPONSE = (_MINUTE, 10 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 5 * _DAY, 10 * _DAY)
_LEFT = (0, _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 5 * _DAY, 10 * _DAY, 30 * _DAY)

_log = structlog.get_logger(__name__)


class Snapshot(Collector):
    """A histogram over what is there now (not over time): each `set` replaces it."""

    def __init__(self, name: str, about: str, bounds: Sequence[float]) -> None:
        self._name, self._about = name, about
        self.bounds = tuple(bounds)
        self.clear()

    def clear(self) -> None:
        self.set([0] * (len(self.bounds) + 1), 0.0)

    def set(self, reached: Sequence[int], total: float) -> None:
        """`reached`: how many values are at most each bound, and last how many there are; `total`: their sum."""
        self._reached, self._total = tuple(reached), total

    def describe(self) -> Iterable[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._about)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._about)
        names = (*map(str, map(float, self.bounds)), "+Inf")
        family.add_metric([], list(zip(names, self._reached, strict=True)), self._total)
        yield family


class _LostLines(Collector):
    def collect(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily("amends_log_lines_lost", "log lines that could not be written", logs.lost())


class Metrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.before_scrape: list[Callable[[], Awaitable[None]]] = []
        """Called ahead of each exposition: gauges over tables are set there."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_LostLines())
        self.ready = self._gauge("ready", "1: can do its work", "service")
        self._intake()
        self._cases()
        self._leaving()

    def _intake(self) -> None:
        self.deliveries = self._counter("deliveries", "deliveries by what became of them", "marketplace", "outcome")
        self.delivery_ack_seconds = self._histogram("delivery_ack_seconds", "from request to committed answer", _ACK)
        self.facts = self._counter("facts", "facts taken down", "marketplace", "kind")
        self.unpublished_oldest_seconds = self._gauge(
            "unpublished_oldest_seconds", "age of the oldest event", "service"
        )
        self.source_away_seconds = self._gauge(
            "source_away_seconds", "for how long a way to the marketplace's news has been shut", "marketplace", "way"
        )
        self.parked = self._counter("parked", "set aside because it failed alone", "service", "reason")

    def _cases(self) -> None:
        self.cases = self._gauge("cases", "cases", "marketplace", "kind", "phase")
        self.case_outcomes = self._counter(
            "case_outcomes", "cases resolved", "marketplace", "kind", "outcome", "liability"
        )
        self.deadline_seconds_left = Snapshot("amends_deadline_seconds_left", "to the deadline, over open cases", _LEFT)
        self.registry.register(self.deadline_seconds_left)
        self.deadlines_missed = self._counter("deadlines_missed", "deadlines passed with no act sent")
        self.clock_lag_seconds = self._histogram("clock_lag_seconds", "from due to fired", _LAG)
        self.money_at_risk = self._gauge("money_at_risk", "asked in open cases", "marketplace", "currency")
        self.deadlines_at_risk = self._gauge(
            "deadlines_at_risk", "open cases so close to the marketplace's deadline that wait for somebody", "within"
        )
        self.tasks_open = self._gauge("tasks_open", "tasks waiting for a person", "kind")
        self.tasks_overdue = self._gauge("tasks_overdue", "of these, past their time", "kind")
        self.dispute_rate = self._gauge("dispute_rate", "disputes of 30 days to orders known in them", "account")
        self.first_response_seconds = self._histogram("first_response_seconds", "opened to first word", _RESPONSE)

    def _leaving(self) -> None:
        self.messages = self._counter("messages", "messages by what became of them", "marketplace", "purpose", "status")
        self.rule_violations = self._counter("rule_violations", "texts stopped or held by a rule", "rule")
        self.rule_likenesses = self._counter("rule_likenesses", "of these, held for how they read alone", "rule")
        self.breakers_open = self._gauge(
            "breakers_open", "accounts to which nothing, or only a trial, is sent", "marketplace"
        )
        self.acts = self._counter("acts", "acts by what became of them", "marketplace", "act", "status")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"amends_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"amends_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"amends_{name}", about, buckets=buckets, registry=self.registry)

    async def exposition(self) -> bytes:
        """Prometheus text; `CONTENT_TYPE` goes with it. What cannot be read in time keeps its value: a scrape is answered
        also while the database is away, and tells of that (`amends_ready`)."""
        await asyncio.gather(*(_in_time(refresh) for refresh in self.before_scrape))
        return generate_latest(self.registry)


async def _in_time(refresh: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.wait_for(refresh(), _PATIENCE)
    except Exception as fault:
        _log.warning("metrics_not_read", fault=type(fault).__name__)


def replace(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Sets the whole gauge, by label values in order: what is not named is no longer exported."""
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
