"""Deliveries as the marketplaces really make them: own bytes, own signatures."""

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from shared import standard_webhooks
from shared.clock import format_time, to_micros

GENERIC_SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
APP_KEY, APP_SECRET = "500001", "demo-secret-0001"


def generic(
    now: datetime, type_: str, id_: str, secret: str = GENERIC_SECRET, **data: Any
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one Standard Webhook."""
    body = json.dumps({"type": type_, "timestamp": format_time(now), "data": data}).encode()
    return body, signed(now, id_, body, secret)


def signed(now: datetime, id_: str, body: bytes, secret: str = GENERIC_SECRET) -> dict[str, str]:
    """Headers of one attempt to deliver these bytes."""
    return standard_webhooks.headers(secret, id_, now, body)


def aliexpress(
    now: datetime, order: str, reverse_order: str = "", status: str = "return_requested", secret: str = APP_SECRET
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one AliExpress push (reference B1.2)."""
    seconds = to_micros(now) // 1_000_000
    data: dict[str, Any] = {
        "order_status": status,
        "status_update_time": seconds,
        "trade_order_id": order,
        "trade_order_line_id": f"{order}1",
    }
    if reverse_order:
        data |= {"reverse_order_id": reverse_order, "reverse_order_line_id": f"{reverse_order}1"}
    push = {
        "seller_id": "2000012345",
        "message_type": 0,
        "data": data,
        "timestamp": seconds * 1000,
        "site": "demo_site",
    }
    body = json.dumps(push, separators=(",", ":")).encode()
    return body, {"Authorization": hmac.new(secret.encode(), APP_KEY.encode() + body, hashlib.sha256).hexdigest()}


def accounts(generic_url: str, aliexpress_url: str | None = None) -> str:
    """The accounts file of a test run."""
    text = f"""
accounts:
  - id: shop
    marketplace: generic
    locale: en
    time_zone: Europe/Berlin
    base_url: {generic_url}
    secrets: {{signing_secret: {GENERIC_SECRET}}}
    settings: {{keep_item_refund_below: "15.00 EUR", approve_refund_above: "50.00 EUR"}}
"""
    if aliexpress_url is None:
        return text
    return (
        text
        + f"""  - id: ae-main
    marketplace: aliexpress
    locale: en
    time_zone: Asia/Shanghai
    base_url: {aliexpress_url}
    secrets: {{app_key: "{APP_KEY}", app_secret: {APP_SECRET}, access_token: demo-token}}
    settings: {{keep_item_refund_below: "15.00 USD", approve_refund_above: "50.00 USD", daily_messages_per_buyer: 5}}
"""
    )
