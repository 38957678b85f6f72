"""One schedule from one seed: steps drawn by the dice, then rest, then the verdict."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from shared.bus.port import FACTS, OUTBOUND
from shared.crashpoints import NAMES
from tests.crash.picture import Violation
from tests.simulation.judge import violations_of
from tests.simulation.market import LAG, MANNERS
from tests.simulation.stage import ACCOUNTS, SERVICES, Stage
from tests.simulation.world import Stuck, World

Step = Callable[[World], None]
_POINTS = sorted(NAMES)
_JUMPS = (timedelta(seconds=61), timedelta(minutes=20), timedelta(hours=7), timedelta(days=2), timedelta(days=8))


def _mischief_at_market(world: World) -> None:
    account = world.dice.choice(ACCOUNTS)
    manners = world.dice.choices(MANNERS, k=world.dice.randrange(1, 4))
    world.market.lag = world.dice.choice((timedelta(0), LAG))
    world.note(f"{account} will answer {manners}, lag {world.market.lag}")
    world.market.next_manners(account, manners)


def _doubt(world: World) -> None:
    """Something is done and nobody hears of it; who asks again under its key may be told no."""
    account = world.dice.choice(("readable", *ACCOUNTS))
    manners = [world.dice.choice(("timeout", "reset", "500_done"))]
    if account == "keyed":
        manners.append(world.dice.choice(("ok", "400", "401", "429")))
    world.market.lag = world.dice.choice((LAG, timedelta(0)))
    world.note(f"{account} will answer {manners}, lag {world.market.lag}")
    world.market.next_manners(account, manners)
    if len(world.senders.matters) < 4:
        world.senders.new_matter(account)
        world.loop.run(500)


def _crash(world: World) -> None:
    world.crash(world.dice.choice(SERVICES))


def _start(world: World) -> None:
    for name in SERVICES:
        world.start(name)


def _arm(world: World) -> None:
    world.arm(world.dice.choice(_POINTS), world.dice.choice((1, 1, 2, 3)))


def _outage(world: World) -> None:
    world.note("broker goes" if world.broker.up else "broker comes back")
    if world.broker.up:
        world.broker.go_away()
    else:
        world.broker.come_back()


def _cut(world: World) -> None:
    world.note("connections cut")
    world.broker.cut_all()


def _hold_back(world: World) -> None:
    held = () if world.broker.held_back else (world.dice.choice((FACTS, OUTBOUND, OUTBOUND)),)
    world.note(f"held back: {held}")
    world.broker.hold_back(*held)


def _lose_confirms(world: World) -> None:
    world.note("confirmations will be lost")
    world.broker.lost_confirms += world.dice.randrange(1, 3)


def _duplicate(world: World) -> None:
    world.note("messages doubled")
    world.broker.duplicate(2)


def _reorder(world: World) -> None:
    world.note("messages reordered")
    world.broker.reorder()


def _jump(world: World) -> None:
    world.advance(world.dice.choice(_JUMPS))


def _due(world: World) -> None:
    world.advance_to_due()


STEPS: dict[str, tuple[int, Step]] = {
    "new matter": (8, lambda world: world.senders.new_matter() if len(world.senders.matters) < 3 else None),
    "news": (14, lambda world: world.senders.next_news()),
    "repeat": (6, lambda world: world.senders.repeat()),
    "clash": (1, lambda world: world.senders.clash()),
    "unreadable": (1, lambda world: world.senders.unreadable()),
    "outcome": (6, lambda world: world.senders.outcome_of_act()),
    "action": (6, lambda world: world.people.act()),
    "task": (4, lambda world: world.people.answer_task()),
    "market": (8, _mischief_at_market),
    "doubt": (4, _doubt),
    "crash": (6, _crash),
    "arm": (6, _arm),
    "start": (8, _start),
    "freeze": (3, lambda world: world.freeze_notifier()),
    "thaw": (3, lambda world: world.thaw()),
    "outage": (3, _outage),
    "hold back": (5, _hold_back),
    "cut": (2, _cut),
    "confirms": (3, _lose_confirms),
    "duplicate": (4, _duplicate),
    "reorder": (4, _reorder),
    "overtake": (2, lambda world: world.overtake()),
    "disk": (2, lambda world: world.fill_disk(world.dice.choice(SERVICES))),
    "poison": (1, lambda world: world.put_poison()),
    "retry": (1, lambda world: world.retry_parked()),
    "reload": (1, lambda world: world.reload()),
    "resync": (1, lambda world: world.resync()),
    "clock": (4, _jump),
    "due": (12, _due),
    "real time": (5, lambda world: world.let_time_pass(world.dice.choice((0.05, 1.1)))),
    "rest": (3, lambda world: world.loop.run(3000) and None),
}
"""Weight and what is done. Each is followed by a stretch of running, as long as the dice say."""
_NAMES = list(STEPS)
_WEIGHTS = [weight for weight, _ in STEPS.values()]


@dataclass
class Outcome:
    seed: int
    violations: list[Violation]
    steps: int
    turns: int
    deaths: int
    history: list[str] = field(default_factory=list, repr=False)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()


class Simulation:
    """Keeps the stage set over many seeds."""

    def __init__(self, stage: Stage | None = None) -> None:
        self.stage = stage or Stage()
        self.world: World | None = None
        self._set = self.stage.set(lambda: self._now().loop, self._http, lambda name: self._now().hit(name))
        self._set.__enter__()

    def close(self) -> None:
        self._set.__exit__(None, None, None)
        self.stage.close()

    def _now(self) -> World:
        assert self.world is not None
        return self.world

    def _http(self, **kwargs: object) -> object:
        from tests.simulation.market import http_of

        return http_of(self._now().market)(**kwargs)

    def begin(self, seed: int) -> World:
        self.world = World(self.stage, seed)
        for name in SERVICES:
            self.world.start(name)
        return self.world

    def run(self, seed: int) -> Outcome:
        world = self.begin(seed)
        steps = world.dice.randrange(12, 40)
        for name in world.dice.choices(_NAMES, _WEIGHTS, k=steps):
            STEPS[name][1](world)
            world.loop.run(world.dice.choice((0, 3, 20, 80, 300)))
        return self.end(steps)

    def end(self, steps: int) -> Outcome:
        """To rest, and the verdict."""
        world = self._now()
        counts: dict[str, int] = {}
        try:
            self._rest(world)
            found, counts = violations_of(world)
        except Stuck as stuck:
            found = [Violation("I11", f"it does not come to rest: {stuck}"), *violations_of(world)[0]]
        finally:
            world.end()
        return Outcome(world.seed, found, steps, world.loop.turns, world.deaths, world.history, counts)

    def _rest(self, world: World) -> None:
        world.heal()
        world.settle()
        for _ in range(world.dice.choice((0, 1, 3))):
            if not world.advance_to_due():
                break
            world.settle()
        while world.past_breakers():
            world.settle()
