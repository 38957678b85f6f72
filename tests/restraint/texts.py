"""What messages say: values for variables, now and then missing, and operators' own words, of which it is known what they are."""

from random import Random
from typing import Any

from tests.restraint.laws import purposes

NAMES = ("Ann", "安娜", None)
PRICES = (
    {"value": "75.50", "currency": "USD"},
    {"value": "1200", "currency": "RUB"},
    {"value": "9.99", "currency": "EUR"},
)
FAIR = (
    "Hello, we are looking into it and will write again tomorrow.",
    "Thank you for the pictures, they help us a lot.",
    "The parts were packed today.",
)
FOUL = (
    "Please write to joe(at)gmail(dot)com about your parcel.",
    "Change your review to five stars and we refund 10 USD.",
    "Please close the dispute first, then we refund you.",
)
"""No marketplace lets these through."""
DOUBTFUL = {"We have read your review and are sorry that the lamp is broken.": ("amazon", "ozon")}
"""Held for a person on these; elsewhere they may leave."""
GIFT, WISH = "We have given you 10 USD back as an apology.", "Please leave us a review."
"""Each may leave alone (where a review may be spoken of); the wish not after the gift."""


def own_words(random: Random, order_id: str) -> str:
    """With the order named, as some marketplaces want it."""
    return f"{_words(random)} ({order_id})"


def words(text: str | None) -> str:
    """What was drawn, without the order."""
    return (text or "").rpartition(" (")[0]


def _words(random: Random) -> str:
    kind = random.random()
    if kind < 0.45:
        return random.choice(FAIR)
    if kind < 0.65:
        return random.choice(FOUL)
    if kind < 0.8:
        return random.choice(list(DOUBTFUL))
    return random.choice((GIFT, WISH))


def variables(random: Random, purpose: str, order_id: str, buyer_name: str | None) -> dict[str, Any]:
    """Values of each type, optional ones often left out; one time in twelve a needed one is missing, null or blank."""
    known = {"order_id": order_id, "buyer_name": buyer_name}
    found: dict[str, Any] = {}
    needed = []
    for name, said in purposes()[purpose]["variables"].items():
        if said["required"]:
            needed.append(name)
        elif random.random() < 0.5:
            continue
        value = known[name] if name in known else _value(random, said)
        if value is not None:
            found[name] = value
    if needed and random.random() < 1 / 12:
        lost = random.choice(needed)
        is_list = purposes()[purpose]["variables"][lost]["type"] == "list"
        found[lost] = random.choice(([], ["", " "]) if is_list else (None, "", " "))
        if random.random() < 0.3:
            del found[lost]
    return found


def _value(random: Random, said: dict[str, Any]) -> Any:
    examples = said.get("examples") or ["A-1"]
    match said["type"]:
        case "money":
            return random.choice(PRICES)
        case "date":
            return random.choice(("2026-01-20", "2026-12-31"))
        case "int":
            return random.choice((1, 2, 5, 21))
        case "bool":
            return random.random() < 0.5
        case "list":
            return random.sample(examples, random.randint(1, len(examples)))
    return random.choice(examples)
