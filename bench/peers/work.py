"""The work of one case as every peer does it: what is proven, read, decided and written. No framework, no I/O.

A peer adds its framework's own way to store, to queue and to call; what is here is the same for all, so that they differ
in nothing else.
"""

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

TOLERANCE = 300
"""Seconds a webhook may be early or late (Standard Webhooks)."""
ACCOUNT, LOCALE = "shop", "en"
_TEMPLATES = Path(__file__).parents[2] / "services" / "notifier" / "templates"


class NotGenuine(Exception):
    """The signature is missing, wrong or out of its time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the harness tells a process, by its environment."""

    database: str
    amqp: str
    sink: str
    secret: bytes
    folder: Path

    @staticmethod
    def from_environ() -> "Settings":
        given = os.environ
        key = base64.b64decode(given["SIGNING_SECRET"].removeprefix("whsec_"))
        return Settings(given["DATABASE_URL"], given["AMQP_URL"], given["SINK_URL"], key, Path(given["READY_FOLDER"]))

    def sqlalchemy(self, driver: str) -> str:
        return self.database.replace("postgresql://", f"postgresql+{driver}://", 1)

    def announce(self, process: str) -> None:
        """This process takes work from now on."""
        (self.folder / f"ready-{process}").touch()


def verify(secret: bytes, headers: Mapping[str, str], body: bytes) -> str:
    """Standard Webhooks, symmetric, over the raw bytes. The delivery's id, which is its dedupe key."""
    try:
        id_, sent_at, signatures = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError:
        raise NotGenuine from None
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > TOLERANCE:
        raise NotGenuine
    digest = hmac.digest(secret, f"{id_}.{sent_at}.".encode() + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    if not any(hmac.compare_digest(expected, one) for one in signatures.split(" ")):
        raise NotGenuine
    return id_


@dataclass(frozen=True, slots=True)
class Move:
    """To which state, what to tell the buyer, and in how many hours the next step is due."""

    state: str
    purpose: str | None
    hours: int | None

    def due(self, now: datetime) -> datetime | None:
        return now + timedelta(hours=self.hours) if self.hours else None


MOVES: Mapping[tuple[str, str], Move] = {
    ("", "return.requested"): Move("seller_decides", "acknowledge_request", 48),
    ("seller_decides", "return.authorised"): Move("to_be_sent", "return_instructions", 14 * 24),
    ("seller_decides", "return.declined"): Move("rejected", None, None),
    ("seller_decides", "return.shipped"): Move("on_its_way", "return_in_transit", 21 * 24),
    ("to_be_sent", "return.shipped"): Move("on_its_way", "return_in_transit", 21 * 24),
    ("on_its_way", "return.received"): Move("inspection", "goods_received", 72),
    ("inspection", "refund.issued"): Move("refunded", "refund_issued", None),
}


def decide(state: str, kind: str) -> Move | None:
    """None: recorded, and nothing changes."""
    return MOVES.get((state, kind))


def now() -> datetime:
    return datetime.now(UTC)


def variables(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the letter may say of the case."""
    items, buyer = data.get("items") or [{}], data.get("buyer") or {}
    return {
        "order_id": data["order_id"],
        "buyer_name": buyer.get("name"),
        "item": items[0].get("title"),
        "shop": data.get("shop_name"),
    }


def render(purpose: str, values: Mapping[str, Any]) -> str:
    return _template(purpose).render(values)


@cache
def _template(purpose: str) -> Template:
    """Compiled once: the product's own text, plain, so not escaped."""
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)
    return environment.get_template(f"{purpose}/{LOCALE}.j2")


def letter(message_id: str, order_id: str, purpose: str, text: str) -> dict[str, Any]:
    """What the sink is told."""
    return {"id": message_id, "order_id": order_id, "purpose": purpose, "locale": LOCALE, "text": text}
