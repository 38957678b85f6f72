"""The webhooks of a run as whole HTTP requests, signed beforehand: sending one costs a `write`."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
_PREFIX = "O-bench-"
_NOTE = (
    "The jacket is very nice but a size too small for me, and the colour is a little darker than on the picture. "
    "I have tried it on once at home, all labels are still on it and it is in its bag. Please tell me how to send it back."
)


def order_of(number: int) -> str:
    return f"{_PREFIX}{number}"


def number_of(order_id: str) -> int | None:
    """None: no order of ours."""
    tail = order_id.removeprefix(_PREFIX)
    return int(tail) if tail != order_id and tail.isdigit() else None


def body(number: int, now: datetime) -> bytes:
    """About 1 kB: a return is requested, of an order of its own by a buyer of its own."""
    price = {"value": "39.90", "currency": "EUR"}
    item = {"sku": f"JKT-{number % 97:03}-M", "title": "Rain jacket, men, dark blue", "quantity": 1, "price": price}
    data = {
        "kind": "return",
        "external_id": f"R-bench-{number}",
        "order_id": order_of(number),
        "reason": "change_of_mind",
        "return_required": True,
        "amount": price,
        "buyer": {"id": f"buyer-{number}", "name": "Anna Schmidt", "locale": "en", "time_zone": "Europe/Berlin"},
        "buyer_note": _NOTE,
        "items": [item, {**item, "sku": f"HAT-{number % 89:03}", "title": "Woollen hat", "quantity": 2}],
        "shop": {"site": "EU", "warehouse": "Berlin 2", "channel": "web", "campaign": "autumn"},
        "paid_at": "2026-11-02T09:13:44Z",
        "delivered_at": "2026-11-09T16:20:05Z",
    }
    moment = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({"type": "return.requested", "timestamp": moment, "data": data}).encode()


def signed(number: int, now: datetime, secret: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one Standard Webhook."""
    id_, stamp, said = f"msg-bench-{number}", str(int(now.timestamp())), body(number, now)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{id_}.{stamp}.".encode() + said, hashlib.sha256)
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return said, {"webhook-id": id_, "webhook-timestamp": stamp, "webhook-signature": signature}


def request(url: str, number: int, now: datetime, secret: str = SECRET) -> bytes:
    """One whole HTTP/1.1 request."""
    parts = urlsplit(url)
    said, headers = signed(number, now, secret)
    lines = [
        f"POST {parts.path or '/'} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(said)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + said


def requests(urls: Sequence[str], first: int, count: int, now: datetime, secret: str = SECRET) -> list[bytes]:
    """For orders `first` … `first + count - 1`, over the addresses in turn."""
    return [request(urls[n % len(urls)], n, now, secret) for n in range(first, first + count)]
