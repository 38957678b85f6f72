"""One schedule's world: three services as three processes, the broker and the marketplace between them, senders outside.

Its public methods are the steps of a schedule. A step starts something and returns; what it set going runs when the
schedule lets it run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.notifier.desk import LEASE
from shared.bus.port import FACTS, OUTBOUND, Topology, queue_of
from shared.clock import TestClock, format_time, from_micros, to_micros
from shared.errors import Refusal
from tests.simulation.broker import Broker, Message, SimBus
from tests.simulation.loop import OWNER, Died, Process, SimLoop
from tests.simulation.market import SLOW, Market
from tests.simulation.operators import People
from tests.simulation.senders import Senders
from tests.simulation.stage import ACCOUNTS, SERVICES, Stage

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
PARTITIONS = 2
_LEFT = {
    "intake": ("SELECT count(*) FROM facts WHERE published_at IS NULL",),
    "policy": (
        "SELECT count(*) FROM outbound WHERE published_at IS NULL",
        "SELECT count(*) FROM case_events WHERE published_at IS NULL",
        "SELECT count(*) FROM cases WHERE next_due_at <= {now}",
        "SELECT count(*) FROM orders WHERE waiting_since_at <= {now} - 86400000000",
    ),
    "notifier": (
        "SELECT count(*) FROM results WHERE published_at IS NULL",
        "SELECT count(*) FROM errands WHERE status = 'sending' OR (next_at <= {now} AND account NOT IN "
        "(SELECT account FROM breakers WHERE open_until > {now}))",
    ),
}
"""What keeps a service from being at rest, as its database tells."""
_SHUT = "SELECT min(open_until) FROM breakers WHERE open_until > {now}"
_DUE = (
    ("policy", "SELECT min(next_due_at) FROM cases WHERE next_due_at > {now}"),
    ("notifier", "SELECT min(next_at) FROM errands WHERE next_at > {now}"),
    ("notifier", _SHUT),
)


class Stuck(AssertionError):
    """It does not come to rest."""


@dataclass
class Running:
    """One service as it runs now. `starting` is its start, done or under way."""

    name: str
    process: Process
    bus: SimBus
    service: Any
    starting: Any

    @property
    def ready(self) -> bool:
        up = self.starting.done() and not self.starting.cancelled() and self.starting.exception() is None
        return up and not self.process.frozen


class World:
    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.seed = stage, seed
        self.loop = SimLoop(seed)
        self.dice = self.loop.dice
        self.history: list[str] = []
        self.clock = TestClock(START)
        self.broker = Broker(self.loop, Topology(PARTITIONS), disorder=self.dice.choice((0.0, 0.0, 0.2, 0.6)))
        self.market = Market(self.loop, self.clock)
        self.running: dict[str, Running] = {}
        self.zombie: Running | None = None
        self.outlived: set[str] = set()
        """Names under which notifiers had leases that died after another took their place."""
        self.armed: dict[str, int] = {}
        self.config = 0
        self.deaths = 0
        self.heard: dict[str, int] = {}
        self.poison: list[str] = []
        self.resyncs: set[str] = set()
        """Services that have been asked to publish all they have, and have not answered yet."""
        for disk in stage.disks.values():
            disk.reset(self.loop)
        stage.disks["notifier"].committed = self._hear
        self.senders, self.people = Senders(self), People(self)

    def note(self, what: str) -> None:
        self.history.append(f"{self.loop.turns} {what}")

    def hit(self, name: str) -> None:
        """A crash point is passed; when it is armed the process that passes it ends there."""
        left = self.armed.get(name)
        process = OWNER.get(self.loop.world)
        if left is None or not process.alive or process is self.loop.world:
            return
        self.armed[name] = left - 1
        if left <= 1:
            del self.armed[name]
            self.note(f"{process.name} dies at {name}")
            self.loop.shut(process)
            raise Died(name)

    def _hear(self) -> None:
        """After each commit of notifier: what it has heard withdrawn, and how many requests had left by then.

        What was committed as `sending` before is begun: it is past the point at which it could be stopped.
        """
        sql = (
            "SELECT id FROM errands WHERE withdrawn IS NOT NULL AND status <> 'sending' "
            "UNION ALL SELECT errand_id FROM tombstones"
        )
        for row in self.stage.disks["notifier"].all(sql):
            self.heard.setdefault(row["id"], self.market.begun + 1)

    def rows(self, service: str, sql: str, *params: Any) -> list[dict[str, Any]]:
        return self.stage.disks[service].all(sql, *params)

    # processes

    def start(self, name: str) -> None:
        """As a supervisor does: what could not start is ended and started once more."""
        if name in self.running:
            starting = self.running[name].starting
            if not starting.done() or starting.exception() is None:
                return
            self.crash(name)
        process = self.loop.spawn(name)
        bus = self.broker.connect(process)
        with self.loop.inside():
            service = process.context.copy().run(self.stage.build, name, self.clock, bus, self._configured)
        running = self.running[name] = Running(name, process, bus, service, self.loop.start(process, service.start()))
        process.on_death.append(lambda: self._ended(running))
        self.note(f"start {name}")

    def _configured(self) -> Any:
        return self.stage.configs[self.config]

    def _ended(self, running: Running) -> None:
        self.deaths += 1
        if self.running.get(running.name) is running:
            del self.running[running.name]
        if self.zombie is running:
            self.zombie = None
            self.outlived.add(running.service.owner)

    def crash(self, name: str) -> None:
        if name in self.running:
            self.note(f"crash {name}")
            self.loop.kill(self.running[name].process)

    def arm(self, point: str, count: int) -> None:
        self.note(f"arm {point}:{count}")
        self.armed[point] = count

    def freeze_notifier(self) -> None:
        """It stands still with the marketplace's answer in its hand, and another takes its place."""
        if set(self.running) != set(SERVICES) or self.zombie is not None:
            return
        account = self.dice.choice(("readable", *ACCOUNTS))
        self.note(f"{account} will be slow")
        self.market.next_manners(account, [self.dice.choice(SLOW)])
        self.broker.up = True
        self.broker.hold_back()
        self.senders.new_matter(account)
        for _ in range(200):
            if not self.loop.run(5) or self.market.withholding:
                break
        self._land()
        one, free = self.running.get("notifier"), self.stage.disks["notifier"].writer is None
        if one is not None and one.ready and free and self.market.withholding:
            self.note("freeze notifier")
            one.process.frozen = True
            one.bus.cut()  # the broker hears nothing of it any more
            self.zombie = self.running.pop("notifier")
        self.market.release()

    def thaw(self) -> None:
        if self.zombie is not None:
            self.note("thaw notifier")
            self.zombie.process.frozen = False

    def kick(self) -> None:
        for one in list(self.running.values()):
            if one.ready and one.process.alive:
                with self.loop.inside():
                    one.process.context.copy().run(one.service.kick)

    def do(self, name: str, work: Any) -> Any:
        """Starts something in a service's process, if it is up: `work(service)` is a coroutine. Answers the task."""
        one = self.running.get(name)
        if one is None or not one.ready:
            return None
        with self.loop.inside():
            return self.loop.start(one.process, work(one.service))

    def reload(self) -> None:
        self.config = 1 - self.config
        self.note(f"reload {self.config}")
        for name in SERVICES:
            self.do(name, lambda service: service.reload())

    def resync(self) -> None:
        """Every queue is deleted; a while later all three services are told to publish what they have once more."""
        up = self.broker.up and self.zombie is None and set(self.running) == set(SERVICES)
        if not up or not all(one.ready for one in self.running.values()):
            return
        self.note("queues deleted, resync")
        parked = {
            bytes(row["body"]).decode()
            for s in ("policy", "notifier")
            for row in self.rows(s, "SELECT body FROM parked")
        }
        self.poison = [body for body in self.poison if body in parked]
        self.broker.lose_everything()
        for disk in self.stage.disks.values():
            disk.fail_in = None
        self.let_time_pass(1.5)
        self.resyncs = set(SERVICES)
        self._ask_for_resync()

    def _ask_for_resync(self) -> None:
        """Again and again, until each has said that it is done."""
        for name in sorted(self.resyncs):
            self.do(name, lambda service, name=name: self._resync(service, name))

    async def _resync(self, service: Any, name: str) -> None:
        await service.relay.resync()
        self.resyncs.discard(name)

    def overtake(self) -> None:
        """A case begins and ends while notifier hears nothing; then the last is heard first."""
        self.note("the last will be heard first")
        self.broker.hold_back(OUTBOUND)
        self.senders.new_matter()
        self.loop.run(400)
        self.senders.last_word()
        self.loop.run(400)
        self.broker.reverse()
        self.broker.hold_back()

    def retry_parked(self) -> None:
        for row in self.rows("policy", "SELECT id FROM parked WHERE retried_at IS NULL ORDER BY id LIMIT 1"):
            self.note("retry parked")
            self.do("policy", lambda service, id_=row["id"]: _politely(service.parked.retry(self.people.who, id_)))
        for row in self.rows("notifier", "SELECT id FROM parked WHERE retried_at IS NULL ORDER BY id LIMIT 1"):
            self.do("notifier", lambda service, id_=row["id"]: _politely(service.retry(id_)))

    def fill_disk(self, name: str) -> None:
        """One statement, soon, finds no room."""
        self.note(f"{name}'s disk is full for a moment")
        self.stage.disks[name].fail_in = self.dice.randrange(12)

    def put_poison(self) -> None:
        """Bytes that are no event of ours lie in a queue."""
        name = queue_of(self.dice.choice((FACTS, OUTBOUND)), self.dice.randrange(PARTITIONS))
        body = f'{{"poison": {len(self.poison)}}}'
        self.poison.append(body)
        self.note(f"poison in {name}")
        queue = self.broker.queue(name)
        queue.messages.append(Message("application/cloudevents+json", body.encode()))
        queue.wake()

    # time

    def advance(self, by: timedelta) -> None:
        """The clock goes on. What was on its way to the marketplace arrives before: no request is on it for so long."""
        self._land()
        self.note(f"clock +{by}")
        self._pass(by)

    def advance_to_due(self) -> bool:
        """To the next moment at which something is due. False: nothing is ahead."""
        return self._to_first_of(_DUE)

    def past_breakers(self) -> bool:
        """To the moment at which the first shut line is tried again. False: none is shut."""
        return self._to_first_of((("notifier", _SHUT),))

    def _to_first_of(self, questions: Sequence[tuple[str, str]]) -> bool:
        now = to_micros(self.clock.now())
        ahead = [
            m for service, sql in questions if (m := self.stage.disks[service].one(sql.format(now=now))) is not None
        ]
        if not ahead:
            return False
        self._land()
        moment = from_micros(min(ahead))
        self.note(f"clock to {format_time(moment)}")
        self._pass(moment - self.clock.now())
        return True

    def _pass(self, by: timedelta) -> None:
        """On the injected clock and on the real one."""
        self.clock.advance(by)
        self.loop.now += by.total_seconds()
        self.kick()

    def _land(self) -> None:
        """What has been looked at for the last time leaves; what has left arrives."""
        if "notifier" in self.running:
            self.loop.drain(self.running["notifier"].process)
        for _ in range(10_000):
            if not self.market.on_the_way:
                return
            self.loop.run(1)

    def let_time_pass(self, seconds: float) -> None:
        """Real time, as timers see it."""
        end = self.loop.now + seconds
        while self.loop.jump(end - self.loop.now):
            self.loop.run(200)

    # rest

    def heal(self) -> None:
        """Whatever is broken is mended, whoever is down comes back; senders get everything delivered."""
        self.note("heal")
        self.armed.clear()
        self.market.behave()
        self.broker.up, self.broker.lost_confirms = True, 0
        self.broker.hold_back()
        for disk in self.stage.disks.values():
            disk.fail_in = None
        for name in SERVICES:
            self.start(name)
        if self.zombie is not None:
            self._outlive()

    def _outlive(self) -> None:
        """Its successor deals with all that is due; then the frozen one wakes up, goes on where it was, and ends."""
        for _ in range(3):
            self.settle()
            self.advance_to_due()
        self.settle()
        self.thaw()
        self.loop.run(500)
        if self.zombie is not None:
            self.loop.kill(self.zombie.process)

    def settle(self, rounds: int = 250) -> None:
        """Until nothing is in flight and nothing is due. Raises Stuck."""
        for n in range(rounds):
            while self.loop.run(2000) == 2000:
                if self.loop.turns > 2_000_000:
                    raise Stuck("it never stops running")
            for name in SERVICES:
                self.start(name)
            offering = self.senders.offer_again()
            if self.loop.run(1) or self.market.release():
                continue
            if self.resyncs:
                self._ask_for_resync()
                continue
            left = self.left()
            if not left and not offering:
                return
            if self._end_leases():
                continue
            if n % 2 or not self.loop.jump(30.0):
                self.kick()
        raise Stuck(f"left: {self.left()}")

    def _end_leases(self) -> bool:
        """What a woken notifier claimed and left is found by its lease; one built to be alone looks at its start only."""
        left = self.rows("notifier", "SELECT lease_owner FROM errands WHERE status = 'sending'")
        if not any(row["lease_owner"] in self.outlived for row in left):
            return False
        self.note("leases end")
        self.loop.now += LEASE
        self.do("notifier", lambda service: service.dispatcher.recover())
        return True

    def left(self) -> list[str]:
        now = to_micros(self.clock.now())
        left = [f"{name} is not up" for name in SERVICES if name not in self.running or not self.running[name].ready]
        if self.broker.lying():
            left.append("messages")
        for service, questions in _LEFT.items():
            left += [sql for sql in questions if self.stage.disks[service].one(sql.format(now=now))]
        return left

    def end(self) -> None:
        """Everything is let go, whatever it was at."""
        for process in list(self.loop.processes):
            if process is not self.loop.world:
                self.loop.kill(process)


async def _politely(work: Any) -> None:
    """An answer that says no is an answer."""
    try:
        await work
    except Refusal:
        return
    except Exception as fault:
        if type(fault).__name__ != "Unreadable":
            raise
