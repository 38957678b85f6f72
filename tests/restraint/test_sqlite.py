"""The same lives through the notifier as it is started, on SQLite and a bus, judged by the same oracle."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.accounts import AccountEntry, Config
from shared.domain.errands import Errand, Resolution
from shared.ports import Account, Done, Found, InDoubt, NotSent, Refused
from shared.registry import Registry
from tests.restraint import laws, lives, oracle
from tests.restraint.lives import ACCOUNT, Life
from tests.restraint.memory import Begun, Heard, History
from tests.services.notifier.harness import Marketplace, World

pytestmark = pytest.mark.asyncio
SEEDS = (5, 12, 34)
TRIGGERS = 20


class _Market:
    """A channel in this process: what a life's fate says becomes of each attempt."""

    def __init__(self, life: Life, history: History) -> None:
        self._life, self._history = life, history
        self.taken: set[str] = set()
        self._attempts: Counter[str] = Counter()

    def __call__(self, _account: Any, _secrets: Any, _http: Any, clock: Any) -> "_Market":
        self._clock = clock
        return self

    def ability(self, _errand: Errand) -> str:
        return self._life.ability

    async def send(self, errand: Errand, _subject: str | None, body: str) -> Any:
        self._attempts[errand.id] += 1
        fate, _ = self._life.fate(errand.id, self._attempts[errand.id])
        taken, again = fate in ("done", "lost"), errand.id in self.taken and self._life.ability == "keyed"
        self._history.events.append(Begun(self._clock.now(), errand.id, body, taken, again))
        if taken:
            self.taken.add(errand.id)
        ends = {"done": Done("there"), "not_sent": NotSent("come again", 30.0), "refused": Refused("no")}
        return ends.get(fate, InDoubt("no answer"))

    async def look_up(self, errand: Errand, _body: str, _since: Any) -> Found:
        return Found(errand.id in self.taken)


class _OneMarket(Registry):
    def __init__(self, market: _Market) -> None:
        super().__init__()
        self._market = market

    def channels(self, _name: str) -> Any:
        return self._market


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_what_leaves_from_tables_is_right_too(seed: int, tmp_path: Path) -> None:
    life, history = lives.drawn(seed, TRIGGERS), History()
    market = _Market(life, history)
    account = Account(ACCOUNT, life.law.marketplace, "en", life.zone, settings=life.law.settings, sandbox=True)
    config = Config({ACCOUNT: AccountEntry(account, {}, {})}, _OneMarket(market), None, None)
    world = World(f"sqlite:///{tmp_path / 'notifier.db'}", Marketplace(), {}, tmp_path)
    try:
        await _lived(world, config, life, history, market)
    finally:
        await world.stop()
    assert oracle.faults(life, history) == []
    assert any(isinstance(event, Begun) for event in history.events)
    assert len(history.rows) > TRIGGERS / 2


async def _lived(world: World, config: Config, life: Life, history: History, market: _Market) -> None:
    world.clock.set(life.script[0].at)
    await _started(world, config, life)
    for step in life.script:
        await world.advance(step.at - world.clock.now())
        for thing in step.things:
            told = thing
            if isinstance(thing, Resolution) and thing.errand_id in market.taken:
                told = Resolution(**{**_fields(thing), "answer": "sent"})
            history.events.append(Heard(world.clock.now(), told))
            await world.publish(told)
            await world.settled()
        if step.dies:
            await world.notifiers.pop().stop()
            await _started(world, config, life)
    await world.advance(life.end - world.clock.now())
    async with world.notifiers[0].database.reading() as tx:
        history.rows = {row["id"]: dict(row) for row in await tx.rows("SELECT * FROM errands")}
    history.told = [f"{fact.kind} {fact.data['errand_id']}" for fact in world.facts]


async def _started(world: World, config: Config, life: Life) -> None:
    notifier = await world.start(config=config)
    notifier._composer = laws.composer(life.law)


def _fields(thing: Resolution) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in thing.__struct_fields__}
