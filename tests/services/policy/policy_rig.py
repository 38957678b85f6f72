"""A policy on an empty database of either end, with small playbooks of its own and a clock that is moved by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from services.policy import due, store, tables
from services.policy.core.load import load
from services.policy.handlers import Policy
from services.policy.playbooks import Playbooks
from services.policy.terms import TermsBook
from services.policy.walk import World
from shared.accounts import AccountEntry, Config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import CASES, OUTBOUND, Topology
from shared.clock import TestClock
from shared.domain.case import Case
from shared.domain.facts import Fact
from shared.domain.order import Order
from shared.ids import digest
from shared.metrics import Metrics
from shared.ports import Account
from shared.registry import Registry
from shared.store.relay import Feed, Relay
from shared.store.session import Database

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
DATA = Path(__file__).parent / "data"


@dataclass
class Rig:
    """`policy` on `database`; `clock` is its time."""

    policy: Policy
    database: Database
    clock: TestClock

    async def take(self, *facts: Fact) -> None:
        await self.policy.advance(facts)

    async def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        async with self.database.reading() as tx:
            return [dict(row) for row in await tx.rows(sql, **params)]

    async def cases(self) -> list[Case]:
        found = await self.rows("SELECT document FROM cases ORDER BY opened_at, kind, external_id")
        return [store.read_case(row["document"]) for row in found]

    async def case(self) -> Case:
        (only,) = await self.cases()
        return only

    async def order(self, order_id: str = "O-1") -> Order:
        async with self.database.reading() as tx:
            found = await store.order_document(tx, "shop", order_id)
        assert found is not None
        return found

    async def timeline(self, case_id: str) -> list[tuple[int, str]]:
        found = await self.rows("SELECT seq, fact FROM case_log WHERE case_id = :id ORDER BY seq", id=case_id)
        return [(row["seq"], msgspec.json.decode(row["fact"])["kind"]) for row in found]

    async def settle(self) -> None:
        """Everything that is due by the clock."""
        while await due.fire(self.policy) + await due.settle_orphans(self.policy):
            pass

    def fact(self, kind: str, *, key: str = "", **more: Any) -> Fact:
        """A fact of order O-1 and, unless told otherwise, of return R-1. `key` makes it another delivery."""
        now = self.clock.now()
        told: dict[str, Any] = {
            "order_id": "O-1", "case_kind": "return", "external_id": "R-1", "occurred_at": now, **more,
        }  # fmt: skip
        id_ = digest(kind, str(told["order_id"]), str(told["external_id"]), key or str(now))
        return Fact(
            id=id_, kind=kind, account="shop", marketplace="generic", observed_at=now, source="push", **told
        )  # fmt: skip


def config(registry: Registry, *ids: str) -> Config:
    accounts = {
        id_: AccountEntry(
            Account(
                id=id_,
                marketplace="generic",
                settings={"keep_item_refund_below": "15.00 USD", "approve_refund_above": "8.00 USD"},
            ),
            {},
            {},
        )
        for id_ in ids
    }
    return Config(accounts, registry)


def charts() -> dict[tuple[str, str], Any]:
    found = [load(path.read_text(), str(path)) for path in sorted(DATA.glob("*.yaml"))]
    return {(playbook.marketplace, playbook.kind): playbook for playbook in found}


def build(database: Database, clock: TestClock, partitions: int = 2) -> Rig:
    registry = Registry()
    bus = EmbeddedBus(Topology(partitions))
    feeds = [
        Feed(tables.outbound, OUTBOUND, "/amends/policy"),
        Feed(tables.case_events, CASES, "/amends/policy", "key"),
    ]
    relay = Relay(database, bus, feeds, clock)
    world = World(Playbooks(charts()), TermsBook(config(registry, "shop", "other"), registry), partitions)
    return Rig(Policy(database, world, relay, clock, Metrics()), database, clock)


def days(n: float) -> timedelta:
    return timedelta(days=n)
