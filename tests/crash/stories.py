"""What the fake marketplace tells in a chaos run: stories of cases, then made late, doubled and shuffled. From a seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

REPEATED, OUT_OF_ORDER, DELAYED = 0.20, 0.10, 0.05
"""Shares of all webhooks."""
_SHARED_ORDER, _WITHOUT_ORDER = 0.1, 0.1
_STORIES: tuple[tuple[int, str, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    (30, "return", (
        ("return.requested", {}), ("return.shipped", {"tracking_number": "LX1"}), ("return.received", {"condition": "ok"}),
        ("return.inspected", {"result": "ok"}),
    )),
    (10, "return", (("return.requested", {}), ("return.authorised", {}), ("return.shipped", {}), ("return.lost", {}))),
    (15, "return", (("return.requested", {"reason": "defective"}),)),
    (15, "return", (("return.requested", {}), ("case.closed", {"closed_by": "buyer"}))),
    (10, "refund", (("refund.requested", {}), ("message.received", {"text": "Hello?"}))),
    (10, "dispute", (("dispute.opened", {"stage": "inquiry"}), ("dispute.resolved", {"winner": "seller"}))),
    (10, "return", (("return.requested", {}), ("return.shipped", {}), ("dispute.escalated", {}))),
)  # fmt: skip


@dataclass(frozen=True)
class Telling:
    """One webhook. `place`: where in the run it is made, from 0 to 1."""

    key: str
    type: str
    place: float
    data: dict[str, Any] = field(hash=False)


def tellings(seed: int, webhooks: int) -> list[Telling]:
    """All webhooks of a run in the order in which they are made; repeats are equal to what they repeat."""
    dice = random.Random(f"stories {seed}")
    told: list[Telling] = []
    number = 0
    while len(told) < round(webhooks * (1 - REPEATED)):
        told += _story(dice, number, f"O{number - 1 if number and dice.random() < _SHARED_ORDER else number:05}")
        number += 1
    told = told[: round(webhooks * (1 - REPEATED))]
    told = list(_disturbed(dice, told, webhooks))
    repeats = [replace(one, place=_later(dice, one.place)) for one in dice.choices(told, k=webhooks - len(told))]
    return sorted([*told, *repeats], key=lambda one: one.place)


def _story(dice: random.Random, number: int, order: str) -> Iterator[Telling]:
    _, kind, steps = dice.choices(_STORIES, weights=[story[0] for story in _STORIES])[0]
    begin, length = dice.uniform(0, 0.9), dice.uniform(0.001, 0.05)
    money = {"value": f"{dice.randint(500, 9000) / 100:.2f}", "currency": "EUR"}
    for n, (type_, more) in enumerate(steps):
        named = {"kind": kind, "external_id": f"{kind[0].upper()}{number:05}"}
        data = {**named, "revision": n + 1, **more}
        if n == 0:
            buyer = {"id": f"B{number}", "name": "Ada", "locale": dice.choice(("en", "de", "zh"))}
            data |= {"amount": money, "paid": money, "buyer": buyer}
            data.setdefault("reason", "change_of_mind")
        if n == 0 or dice.random() >= _WITHOUT_ORDER:
            data["order_id"] = order
        yield Telling(f"msg_{number:05}_{n}", type_, begin + length * n, data)


def _disturbed(dice: random.Random, told: list[Telling], webhooks: int) -> Iterator[Telling]:
    """Out of order: behind what follows it in its story; delayed: a tenth to a third of the run."""
    ends = {one.key[:-2]: one.place for one in told}
    for one in told:
        draw = dice.random() * len(told) / webhooks
        if draw < OUT_OF_ORDER:
            yield replace(one, place=min(1.0, ends[one.key[:-2]] + dice.uniform(0.001, 0.02)))
        elif draw < OUT_OF_ORDER + DELAYED:
            yield replace(one, place=min(1.0, one.place + dice.uniform(0.1, 0.33)))
        else:
            yield one


def _later(dice: random.Random, place: float) -> float:
    """A repeat comes at once, or some time after."""
    return min(1.0, place + (0.0 if dice.random() < 0.3 else dice.expovariate(30)))


def answer(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """What the marketplace tells once it has done an act; None where it says nothing."""
    data = body["data"]
    types = {"authorise": "return.authorised", "refund": "refund.issued", "close": "case.closed"}
    if body["type"] != "act.perform" or data["act"] not in types:
        return None
    told = {"kind": data["kind"], "external_id": data["refs"].get("external_id"), "order_id": data["order_id"]}
    if data["act"] == "refund":
        told |= {"refunded": data["money"], "refund_id": data["errand_id"]}
    return types[data["act"]], {**told, **({"closed_by": "seller"} if data["act"] == "close" else {})}
