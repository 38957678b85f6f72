"""Those who push deliveries, as marketplaces do: signed bytes, the same again until they are accepted, late, twice, out
of order, sometimes other content under the same key, sometimes unreadable."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared import standard_webhooks
from shared.clock import format_time
from tests.crash.picture import Offered
from tests.simulation.stage import ACCOUNTS
from tests.support.pushes import GENERIC_SECRET

if TYPE_CHECKING:
    from tests.simulation.world import World

_FIRST = {
    "return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened",
    "cancellation": "order.cancel_requested",
}  # fmt: skip
_REASONS = ("change_of_mind", "defective", "damaged", "not_received")
_NEXT: dict[str, tuple[str, ...]] = {
    "return": (
        "return.authorised", "return.shipped", "return.shipped", "return.received", "return.received", "return.inspected",
        "evidence.submitted", "refund.issued", "return.cancelled", "case.closed", "refund.offer_accepted", "return.declined",
        "refund.promised",
    ),
    "refund": ("evidence.submitted", "refund.issued", "refund.offer_accepted", "refund.offer_declined", "case.closed"),
    "dispute": ("dispute.evidence_requested", "dispute.escalated", "dispute.resolved", "dispute.withdrawn", "refund.issued"),
    "cancellation": ("order.cancel_withdrawn", "order.cancelled", "order.shipped", "refund.issued"),
}  # fmt: skip
_LAST = {
    "return": "return.cancelled", "refund": "refund.issued", "dispute": "dispute.withdrawn",
    "cancellation": "order.cancel_withdrawn",
}  # fmt: skip
_ONCE = ("order.cancelled",)
"""What a marketplace says of a matter only once (in as many deliveries as it likes)."""
_OF_THE_ORDER = ("message.received", "order.shipped", "delivery.delivered", "order.placed")


@dataclass(eq=False)
class Delivery:
    """`clash`: other content under the key of another delivery; never to be applied."""

    account: str
    key: str
    told: dict[str, Any]
    body: bytes
    clash: bool = False
    sent: int = 0
    accepted: int = 0
    wanted: int = 1
    under_way: int = 0


@dataclass(eq=False)
class Matter:
    """What may become a case, as the marketplace knows it."""

    account: str
    order_id: str
    kind: str
    external_id: str
    amount: str
    reason: str
    revision: int = 0
    told: set[str] = field(default_factory=set)


@dataclass
class Senders:
    world: "World"
    matters: list[Matter] = field(default_factory=list)
    made: list[Delivery] = field(default_factory=list)

    # what is told

    def new_matter(self, account: str | None = None) -> None:
        dice = self.world.dice
        account, n = account or dice.choice(ACCOUNTS), len(self.matters)
        kind = dice.choice(("return", "return", "return", "refund", "dispute", "cancellation"))
        order_id = f"O{n}"
        if self.matters and dice.random() < 0.3:
            other = dice.choice(self.matters)
            account, order_id = other.account, other.order_id
        amount = dice.choice(("10.00", "20.00", "80.00"))
        matter = Matter(account, order_id, kind, f"{kind[:2].upper()}{n}", amount, dice.choice(_REASONS))
        self.matters.append(matter)
        self.tell(matter, _FIRST[kind])

    def last_word(self) -> None:
        """On the newest matter."""
        self.tell(self.matters[-1], _LAST[self.matters[-1].kind])

    def next_news(self) -> None:
        """The story of one matter goes on: now and then stale, or about the order as a whole."""
        if not self.matters:
            self.new_matter()
            return
        dice = self.world.dice
        matter = dice.choice(self.matters)
        if dice.random() < 0.25:
            self._tell_of_order(matter, dice.choice(_OF_THE_ORDER))
        else:
            stale = dice.random() < 0.15 and matter.revision > 1
            revision = dice.randrange(1, matter.revision) if stale else None
            self.tell(matter, dice.choice(_NEXT[matter.kind]), revision)

    def tell(self, matter: Matter, type_: str, revision: int | None = None, **more: Any) -> None:
        if type_ in _ONCE and type_ in matter.told:
            return
        matter.told.add(type_)
        if revision is None:
            matter.revision += 1
            revision = matter.revision
        money = {"value": matter.amount, "currency": "EUR"}
        data = {
            "kind": matter.kind, "external_id": matter.external_id, "order_id": matter.order_id, "revision": revision,
            **self._details(type_, matter, money), **more,
        }  # fmt: skip
        if type_.startswith("order."):
            del data["revision"]  # news of the order is no version of the case
        self._make(matter.account, type_, data)

    def _details(self, type_: str, matter: Matter, money: dict[str, str]) -> dict[str, Any]:
        dice = self.world.dice
        if type_ in _FIRST.values():
            buyer = {"id": f"B{matter.order_id}", "name": "Ada", "locale": dice.choice(("en", "de"))}
            return {"reason": matter.reason, "amount": money, "paid": money, "buyer": buyer}
        if type_ == "refund.issued":
            return {"refunded": money}
        return {
            "return.inspected": {"result": dice.choice(("ok", "faulty"))},
            "evidence.submitted": {"what": dice.choice(("photo_fault", "photo_item"))},
            "case.closed": {"closed_by": dice.choice(("buyer", "seller"))},
            "dispute.resolved": {"winner": dice.choice(("buyer", "seller"))},
        }.get(type_, {})

    def _tell_of_order(self, matter: Matter, type_: str) -> None:
        text = {"text": "Where is my parcel?"} if type_ == "message.received" else {}
        self._make(matter.account, type_, {"order_id": matter.order_id, **text})

    def _make(self, account: str, type_: str, data: dict[str, Any]) -> None:
        told = {"type": type_, "timestamp": format_time(self.world.clock.now()), "data": data}
        delivery = Delivery(account, f"msg_{len(self.made)}", told, json.dumps(told).encode())
        delivery.wanted = 2 if self.world.dice.random() < 0.2 else 1
        self.made.append(delivery)
        self.world.note(f"news {type_} {delivery.key} for {account}")
        if self.world.dice.random() < 0.9:
            self.push(delivery)

    def clash(self) -> None:
        """Other content under the key of something that was accepted."""
        known = [d for d in self.made if d.accepted and d.told and not d.clash]
        if known:
            before = self.world.dice.choice(known)
            told = {**before.told, "data": {**before.told["data"], "comment": "something else"}}
            self.made.append(Delivery(before.account, before.key, told, json.dumps(told).encode(), clash=True))
            self.world.note(f"clash {before.key}")
            self.push(self.made[-1])

    def unreadable(self) -> None:
        delivery = Delivery(self.world.dice.choice(ACCOUNTS), f"msg_{len(self.made)}", {}, b'{"type": 7}')
        self.made.append(delivery)
        self.world.note(f"unreadable {delivery.key}")
        self.push(delivery)

    def repeat(self) -> None:
        """Something is sent once more though it was accepted, or at last though it was late."""
        if self.made:
            delivery = self.world.dice.choice(self.made)
            self.world.note(f"again {delivery.key}")
            self.push(delivery)

    def outcome_of_act(self) -> None:
        """The marketplace tells of an act it has carried out."""
        for effect in self.world.market.effects:
            if effect.what == "act" and not effect.told:
                effect.told = True
                self._confirm(effect)
                return

    def _confirm(self, effect: Any) -> None:
        type_ = {
            "authorise": "return.authorised", "refund": "refund.issued", "decline": "return.declined",
            "propose": "refund.offered", "close": "case.closed", "cancel": "order.cancelled",
        }.get(effect.name)  # fmt: skip
        sql = "SELECT kind, external_id FROM cases WHERE id = ?"
        case = next(iter(self.world.rows("policy", sql, effect.case_id)), None)
        for matter in self.matters if type_ and case else ():
            if case and (matter.account, matter.kind, matter.external_id) == (
                effect.account, case["kind"], case["external_id"],
            ):  # fmt: skip
                self.tell(matter, str(type_), closed_by="seller")

    # how it is sent

    def push(self, delivery: Delivery) -> None:
        if self.world.do("intake", lambda service: self._push(service.door, delivery)) is not None:
            delivery.sent += 1

    async def _push(self, door: Any, delivery: Delivery) -> None:
        process = self.world.running["intake"].process
        told = standard_webhooks.headers(GENERIC_SECRET, delivery.key, self.world.clock.now(), delivery.body)
        named = [("host", "amends.test"), ("content-type", "application/json"), *told.items()]
        marketplace = "generic" if delivery.account == "keyed" else delivery.account
        scope = {
            "type": "http", "method": "POST", "path": f"/webhooks/{marketplace}/{delivery.account}", "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in named], "client": ("192.0.2.1", 1),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await self.world.loop.hop()
            return {"type": "http.request", "body": delivery.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and process.alive:
                self._answered(delivery, message["status"])

        await door(scope, receive, send)

    def _answered(self, delivery: Delivery, status: int) -> None:
        if status == 202:
            delivery.accepted += 1
        elif status not in (
            503,
            401,
            408,
        ):  # 401, 408: the clock went on while it was on its way, and its signature grew old
            raise AssertionError(f"{delivery.key} was answered {status}")

    def offer_again(self) -> bool:
        """As marketplaces do: what was not accepted comes again. True while there is such a thing."""
        late = [d for d in self.made if d.accepted < d.wanted and d.sent < 40]
        for delivery in late:
            self.push(delivery)
        return bool(late)

    def offered(self) -> list[Offered]:
        """For the verdict. Where contents clash, which of them was first is not the sender's to say."""
        made = []
        for d in self.made:
            if not d.clash:
                made.append(Offered(d.account, d.key, d.body, sent=d.sent, accepted=d.accepted))
        return made
