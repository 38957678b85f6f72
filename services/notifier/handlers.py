"""Taking in what policy says: a batch of events, one transaction. Plans are rendered and judged here, once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from services.notifier import protocol, store
from services.notifier.claims import Work
from services.notifier.composer import Composer
from services.notifier.desk import Claims, Desk
from services.notifier.ledger import Ledger, Row, buyer_key, life_of
from services.notifier.planner import Planner, new_row
from services.notifier.protocol import Next, Report
from shared import crashpoints
from shared.accounts import AccountEntry, Config
from shared.bus.grouping import Grouped
from shared.bus.port import Event, Unread, Unreadable
from shared.clock import Clock, to_micros
from shared.domain.errands import Conversation, Errand, Resolution, Withdrawal
from shared.domain.facts import encode
from shared.store.session import Database, Tx, repeating

PLANNED, WITHDRAWN = "amends.errand.planned.v1", "amends.errand.withdrawn.v1"
RESOLVED, CONVERSATION = "amends.errand.resolved.v1", "amends.conversation.v1"
_TYPES: dict[str, type[msgspec.Struct]] = {
    PLANNED: Errand, WITHDRAWN: Withdrawal, RESOLVED: Resolution, CONVERSATION: Conversation,
}  # fmt: skip
_decoders = {name: msgspec.json.Decoder(type_) for name, type_ in _TYPES.items()}
T = TypeVar("T", bound=msgspec.Struct)


def decode(event: Event) -> msgspec.Struct:
    """Raises Unreadable for a type or a body that is none of ours."""
    decoder = _decoders.get(event.type)
    if decoder is None:
        raise Unreadable(f"the notifier knows no {event.type}")
    try:
        return decoder.decode(event.data)
    except msgspec.MsgspecError as fault:
        raise Unreadable(str(fault)) from None


class Handlers:
    """`done(ledger)` is called after each commit: results are published, counters counted, dispatch is woken.

    `desk`: what may leave at once is claimed in the transaction that takes it in, and called after its commit. What waits in
    several queues goes into one transaction, at most `most` events.
    """

    def __init__(
        self,
        database: Database,
        config: Callable[[], Config],
        composer: Callable[[], Composer],
        clock: Clock,
        partitions: int,
        done: Callable[[Ledger], None],
        desk: Desk,
        most: int,
    ) -> None:
        self._database, self._desk = database, desk
        self._grouped = Grouped(self._advance, most)
        self._config = config
        self._composer = composer
        self._clock = clock
        self._partitions = partitions
        self._done = done

    async def handle(self, events: Sequence[Event | Unread]) -> None:
        """All or nothing, together with what comes meanwhile. Raises Unreadable for what is not understood."""
        await self._grouped.take([decode(event) for event in events if isinstance(event, Event)])

    async def _advance(self, news: Sequence[msgspec.Struct]) -> None:
        await self._desk.roomy()
        for last in (False, False, True):
            try:
                await repeating(lambda: self._taken_in(news))
                return
            except _Overtaken:
                if last:
                    raise

    async def _taken_in(self, news: Sequence[msgspec.Struct]) -> None:
        with self._desk.claiming() as claimed:
            async with self._database.transaction() as tx:
                ledger = await self.take_in(tx, news, claimed)
            self._done(ledger)
            claimed.begin()

    async def take_in(self, tx: Tx, news: Sequence[msgspec.Struct], claimed: Claims | None = None) -> Ledger:
        """Within the caller's transaction; call `done` with the answer after its commit."""
        ledger = Ledger(self._partitions, self._clock.now())
        talks = await self._conversations(tx, _only(news, Conversation), ledger.now)
        orders: list[Withdrawal | Resolution] = [*_only(news, Withdrawal), *_only(news, Resolution)]
        rows = await store.errands(tx, [(order.account, order.errand_id) for order in orders])
        planner = Planner(self._config().accounts, self._composer(), ledger.now)
        known = await self._known(tx, _only(news, Errand), orders, talks, planner)
        planner.know(known, talks)
        batch = _Batch(ledger, rows, known, planner, self._config().accounts)
        for one in news:
            batch.take(one)
        if claimed is not None:
            batch.claim(claimed)
        await self._save(tx, batch, claimed.works if claimed is not None else ())
        return ledger

    async def take_in_one(self, tx: Tx, item: Event | Unread) -> Ledger:
        """Raises Unreadable."""
        if isinstance(item, Unread):
            raise Unreadable(item.why)
        return await self.take_in(tx, [decode(item)])

    async def _known(
        self,
        tx: Tx,
        errands: Sequence[Errand],
        orders: Iterable[Withdrawal | Resolution],
        talks: Mapping[store.Key, Conversation],
        planner: Planner,
    ) -> store.Known:
        messages = [e for e in errands if e.what == "message"]
        return await store.known(
            tx,
            [*((e.account, e.id) for e in errands), *((o.account, o.errand_id) for o in orders)],
            [(e.account, e.order_id) for e in messages if (e.account, e.order_id) not in talks],
            [buyer_key(e) for e in messages],
            to_micros(planner.since),
            [(e.account, e.order_id) for e in messages],
        )

    async def _conversations(
        self, tx: Tx, talks: Sequence[Conversation], now: datetime
    ) -> dict[store.Key, Conversation]:
        """Answers those that were news."""
        latest = _newest(talks)
        rows = [
            {"account": account, "order_id": order_id, "seq": t.seq, "document": encode(t).decode()}
            for (account, order_id), t in latest.items()
        ]
        taken = await store.put_conversations(tx, rows)
        await store.release_held(tx, taken, to_micros(now))
        return {key: latest[key] for key in taken}

    async def _save(self, tx: Tx, batch: "_Batch", works: Sequence[Work]) -> None:
        await store.save(tx, [batch.known[key] for key in batch.touched])
        await store.begin_attempts(tx, [work.begun_at(batch.ledger.now) for work in works])
        await store.put_tombstones(tx, list(batch.tombstones.values()))
        await store.put_results(tx, batch.ledger.results)
        put = await store.put_errands(tx, list(batch.new.values()))
        if batch.new.keys() - put:
            # another replica took the same plan in meanwhile: what it says of it stands
            raise _Overtaken
        await store.release_held(tx, batch.ledger.freed, to_micros(batch.ledger.now), batch.ledger.freed_buyers)
        await tx.send()
        crashpoints.hit("notifier.planned")
        if works:
            crashpoints.hit("notifier.claimed")


class _Overtaken(Exception):
    """Rolled back; the batch is tried again and then finds the rows."""


class _Batch:
    """The batch's events applied in order to rows in memory."""

    def __init__(
        self,
        ledger: Ledger,
        rows: dict[store.Key, Row],
        known: store.Known,
        planner: Planner,
        accounts: Mapping[str, AccountEntry],
    ) -> None:
        self.ledger = ledger
        self.known = rows
        self.new: dict[store.Key, Row] = {}
        self._errands: dict[store.Key, Errand] = {}
        self._there, self._now = known.errands, known.now
        self.touched: set[store.Key] = set()
        self.tombstones: dict[store.Key, Row] = {}
        self._dead = known.dead
        self._planner = planner
        self._accounts = accounts

    def take(self, one: msgspec.Struct) -> None:
        match one:
            case Errand():
                self._plan(one)
            case Withdrawal():
                self._withdraw(one)
            case Resolution():
                self._resolve(one)

    def _plan(self, errand: Errand) -> None:
        key = (errand.account, errand.id)
        if key in self._there or key in self.new:
            return
        self._errands[key] = errand
        why = self._dead.get(key)
        if why is None:
            self.new[key] = self._planner.plan(errand, self.ledger)
            return
        row = new_row(errand)
        self.ledger.apply(row, Next("suppressed", why=why))
        self.new[key] = row

    def claim(self, claimed: Claims) -> None:
        """Once all of the batch is heard: what it takes back itself does not leave. What a person has answered about in it
        is asked about again, by dispatch."""
        for key, row in self.new.items():
            if row["status"] == "planned" and not row["approved"]:
                claimed.add(row, self._errands[key], self.ledger.now, self._now)

    def _withdraw(self, order: Withdrawal) -> None:
        key = (order.account, order.errand_id)
        row = self._row(key)
        if row is None:
            self._bury(order, key)
        elif row["withdrawn"] is None:
            row["withdrawn"] = order.why
            next_ = protocol.withdraw(row["status"], life_of(row), order.why)
            if next_ is not None:
                self.ledger.apply(row, next_)

    def _bury(self, order: Withdrawal, key: store.Key) -> None:
        if key in self._dead:
            return
        self._dead[key] = order.why
        self.tombstones[key] = {
            "account": order.account, "errand_id": order.errand_id, "why": order.why, "at": to_micros(self.ledger.now),
        }  # fmt: skip
        entry = self._accounts.get(order.account)
        told = {
            "id": order.errand_id,
            "marketplace": entry.account.marketplace if entry else "",
            "reported": "{}",
            "status": "suppressed",
        }
        named = {"what": order.what, "name": order.name, "order_id": order.order_id, "case_id": order.case_id}
        self.ledger.tell({"account": order.account, **told, **named}, Report("withdrawn", {"why": order.why}))

    def _resolve(self, answer: Resolution) -> None:
        row = self._row((answer.account, answer.errand_id))
        if row is None:
            return
        next_ = protocol.resolve(row["status"], life_of(row), answer.answer, answer.by, self.ledger.now)
        if next_ is not None:
            self.ledger.apply(row, next_)

    def _row(self, key: store.Key) -> Row | None:
        if key in self.known:
            self.touched.add(key)
            return self.known[key]
        return self.new.get(key)


def _only(news: Sequence[msgspec.Struct], type_: type[T]) -> list[T]:
    return [one for one in news if isinstance(one, type_)]


def _newest(talks: Iterable[Conversation]) -> dict[store.Key, Conversation]:
    """Of each order; of two with one number the first, as where they come one after the other."""
    newest: dict[store.Key, Conversation] = {}
    for talk in talks:
        key = (talk.account, talk.order_id)
        if key not in newest or talk.seq > newest[key].seq:
            newest[key] = talk
    return newest
