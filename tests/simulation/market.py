"""The marketplace outside: it takes messages and acts, forgets nothing, and its own log is the oracle.

Three accounts, one per ability of a channel: `keyed` remembers a key and answers a repeat as the first time; `readable`
does whatever it is asked, as often as it is asked, and can be read, with a lag; `blind` does the same and tells nothing.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared.clock import TestClock, to_micros
from shared.domain.errands import MONEY_ACTS
from shared.http import Answer, Call, Http, InDoubtFault, NotSentFault
from tests.crash.picture import Call as Logged
from tests.simulation.loop import OWNER, SimLoop

MANNERS = (
    "ok", "refused", "429", "503", "500_done", "500_not", "lost", "timeout", "reset", "400", "401",
)  # fmt: skip
"""What the next call meets. `lost` never arrives; `timeout`, `reset` and `500_done` are cut off after it was done."""
SLOW = ("slow", "slow_429")
"""Done, or not taken, and answered only when the simulation lets it."""
LAG = timedelta(seconds=50)
"""For at most so long a listing does not show what was done; the protocol's two readings are 60 s apart."""


@dataclass
class Effect:
    """Something that really happened to a buyer or to money."""

    account: str
    errand_id: str
    case_id: str
    order_id: str
    what: str
    name: str
    shown_from: datetime
    told: bool = False
    """The marketplace has told of it by a delivery of its own."""


class Market:
    def __init__(self, loop: SimLoop, clock: TestClock) -> None:
        self.loop, self.clock = loop, clock
        self.log: list[Logged] = []
        self.effects: list[Effect] = []
        self.begun = 0
        """Requests that have left a process so far."""
        self.manners: dict[str, deque[str]] = {}
        self.lag = timedelta(0)
        self.on_the_way = 0
        """Requests that have left and not arrived."""
        self._withheld: list[tuple[Any, Answer | None]] = []

    def next_manners(self, account: str, manners: list[str]) -> None:
        self.manners.setdefault(account, deque()).extend(manners)

    @property
    def withholding(self) -> bool:
        return any(not answered.done() for answered, _ in self._withheld)

    def behave(self) -> None:
        self.manners.clear()

    async def request(self, call: Call, on_sent: Any) -> Answer:
        account = call.url.rpartition("/")[2]
        manner = self._manner(account, call)
        if manner == "refused":
            raise NotSentFault("cannot connect: refused")
        self.begun += 1
        n = self.begun
        answered = self.loop.create_future()
        at = to_micros(self.clock.now())
        if manner != "lost":
            self.on_the_way += 1
            self.loop.travel(lambda: self._arrives(n, at, account, call, manner, answered))
        else:
            self.loop.travel(lambda: answered.done() or answered.set_result(None), OWNER.get(self.loop.world))
        if on_sent is not None:
            on_sent()
        answer: Answer | None = await answered
        if answer is None:
            raise InDoubtFault(f"no whole answer: {manner}")
        return answer

    def _manner(self, account: str, call: Call) -> str:
        if call.reads:
            return "ok"
        line = self.manners.get(account)
        return line.popleft() if line else "ok"

    def _arrives(self, n: int, at: int, account: str, call: Call, manner: str, answered: Any) -> None:
        """At the marketplace, whether or not the process that asked is still there."""
        self.on_the_way -= 1
        answer = self._looked_up(n, at, account, call) if call.reads else self._taken(n, at, account, call, manner)
        if manner in SLOW:
            self._withheld.append((answered, answer))
        else:
            self._answer(answered, answer)

    def _answer(self, answered: Any, answer: Answer | None) -> None:
        self.loop.travel(lambda: answered.done() or answered.set_result(answer))

    def release(self) -> bool:
        """What was withheld is answered. False: nothing was."""
        withheld, self._withheld = self._withheld, []
        for answered, answer in withheld:
            self._answer(answered, answer)
        return bool(withheld)

    def _taken(self, n: int, at: int, account: str, call: Call, manner: str) -> Answer | None:
        body = msgspec.json.decode(call.body or b"")
        data = body["data"]
        declined = {"429": (429, "not_taken"), "503": (503, "not_taken"), "400": (422, "refused"), "401": (401, "refused"),
                    "500_not": (500, "cut"), "slow_429": (429, "not_taken")}.get(manner)  # fmt: skip
        happens = declined is None and not (account == "keyed" and self._known(data["errand_id"]))
        answer = declined[1] if declined else ("cut" if manner in ("timeout", "reset", "500_done") else "done")
        said = body["type"] == "message.send"
        money = bool(data.get("money")) or data.get("act") in MONEY_ACTS
        logged = Logged(
            n=n, errand_id=data["errand_id"], what="message" if said else "act",
            name=data["purpose"] if said else data["act"], case_id=data["case_id"],
            says=data["text"] if said else _asked(data, money), effect=happens, answer=answer, money=money, at=at,
        )  # fmt: skip
        self.log.append(logged)
        if happens:
            self._happens(account, logged, data["order_id"])
        if declined:
            return Answer(declined[0], {"retry-after": "30"} if declined[0] in (429, 503) else {}, b"{}")
        if manner in ("timeout", "reset"):
            return None
        if manner == "500_done":
            return Answer(502, {}, b"")
        return Answer(200, {}, msgspec.json.encode({"id": f"p-{data['errand_id'][-12:]}"}))

    def _happens(self, account: str, logged: Logged, order_id: str) -> None:
        shown = self.clock.now() + self.lag
        self.effects.append(
            Effect(account, logged.errand_id, logged.case_id, order_id, logged.what, logged.name, shown)
        )

    def _known(self, errand_id: str) -> bool:
        return any(effect.errand_id == errand_id for effect in self.effects)

    def _looked_up(self, n: int, at: int, account: str, call: Call) -> Answer:
        key = call.params["key"]
        now = self.clock.now()
        there = any(effect.errand_id == key and effect.shown_from <= now for effect in self.effects)
        self.log.append(Logged(n=n, errand_id=key, what="look", name="", effect=False, at=at))
        return Answer(200, {}, msgspec.json.encode({"there": there}))


def _asked(data: dict[str, Any], money: bool) -> str:
    """What makes two acts of one case the same. An act that moves no money may be asked again in a later step."""
    return repr((data.get("params"), data.get("money"))) if money else str(data["errand_id"])


def http_of(market: Market) -> type[Http]:
    """The product's own client, with the simulated network for a socket."""

    class SimHttp(Http):
        async def _go(self, call: Call) -> Answer:
            return await market.request(call, self._on_sent)

    return SimHttp
