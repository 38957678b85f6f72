"""The envelope of a notification: two casings, plain or inside an EventBridge event. Reference A1.2, A1.6."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.clock import parse_time
from shared.json_reader import Unreadable
from shared.ports import Account

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    """`payload`: what stands under the one key named after the type. All keys begin with a small letter."""

    id: str
    type: str
    at: datetime | None
    payload: Body
    application: str
    subscription: str

    @property
    def seller(self) -> str:
        return first(self.payload, "sellerId") or first(self._partner, "sellingPartnerId")

    @property
    def marketplace(self) -> str:
        summary = self.payload.get("summary")
        return first(summary if isinstance(summary, Mapping) else self._partner, "marketplaceId")

    @property
    def _partner(self) -> Body:
        found = self.payload.get("sellingPartnerMetadata")
        return found if isinstance(found, Mapping) else {}


def opened(body: Any) -> Envelope:
    """Raises Unreadable for what is no notification."""
    told = folded(body)
    if isinstance(told, dict) and "notificationType" not in told and isinstance(told.get("detail"), dict):
        told = told["detail"]
    if not isinstance(told, dict):
        raise Unreadable("$", "no object")
    if not first(told, "notificationType"):
        raise Unreadable("$.notificationType", "missing")
    metadata = told.get("notificationMetadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return Envelope(
        id=first(metadata, "notificationId"),
        type=first(told, "notificationType"),
        at=moment(told.get("eventTime")) or moment(metadata.get("publishTime")),
        payload=_inner(told.get("payload")),
        application=first(metadata, "applicationId"),
        subscription=first(metadata, "subscriptionId"),
    )


def foreign(envelope: Envelope, account: Account) -> str | None:
    """What does not fit the account's settings, where both are given; None when nothing."""
    for setting, told in (
        ("seller_id", envelope.seller),
        ("marketplace_id", envelope.marketplace),
        ("application_id", envelope.application),
    ):
        wanted = account.settings.get(setting)
        if wanted and told and told != str(wanted):
            return setting.removesuffix("_id")
    known = account.settings.get("subscription_ids")
    if known and envelope.subscription not in map(str, known):
        return "subscription"
    return None


def folded(value: Any) -> Any:
    """Every key with a small first letter. Raises Unreadable where both casings of one key stand side by side."""
    if isinstance(value, list):
        return [folded(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key[:1].lower() + key[1:]: folded(inner) for key, inner in value.items()}
    if len(found) != len(value):
        raise Unreadable("$", "a key stands in both casings")
    return found


def first(body: Body, *names: str) -> str:
    """The first of these that holds text or a whole number, as text; empty when none does."""
    for name in names:
        value = body.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def moment(value: Any) -> datetime | None:
    """A time with its zone; None for anything else."""
    try:
        return parse_time(value) if isinstance(value, str) else None
    except ValueError:
        return None


def items(value: Any) -> list[Body]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _inner(payload: Any) -> Body:
    if not isinstance(payload, dict):
        return {}
    named = [value for key, value in payload.items() if key.endswith("Notification") and isinstance(value, dict)]
    return named[0] if len(named) == 1 else payload
