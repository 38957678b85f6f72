"""A chat's history into what the buyer has said since the last reading. Pure. Reference 2.5.

The history tells the order's number, which no push does: by it the buyer's words find their order.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.domain.facts import Draft
from shared.marketplaces.ozon.codes import folded, known, moment, part, rows, text

BUYER, SELLER = "customer", "seller"


def facts(record: Mapping[str, Any], previous: Mapping[str, Any] | None) -> Iterator[Draft]:
    """First seen, only what waits for an answer is news: the buyer's words after our last."""
    messages = rows(record.get("messages"))
    if previous is None:
        fresh = _unanswered(messages)
    else:
        before = {said(message) for message in rows(previous.get("messages"))}
        fresh = [message for message in messages if said(message) not in before]
    for message in fresh:
        at = moment(message.get("created_at"))
        if by(message) == BUYER and at is not None:
            yield Draft(
                kind="message.received",
                occurred_at=at,
                refs=_refs(record, message),
                raw_code="chat",
                data=known({"text": words(message), "message_id": text(message.get("message_id")), **_buyer(message)}),
            )


def by(message: Mapping[str, Any]) -> str:
    """Who wrote: customer, seller, crm, courier, support (with look-alike letters and any case)."""
    return folded(text(part(message, "user").get("type")) or "")


def words(message: Mapping[str, Any]) -> str:
    data = message.get("data")
    return "\n".join(piece for piece in data if isinstance(piece, str)) if isinstance(data, list) else ""


def said(message: Mapping[str, Any]) -> tuple[str | None, str]:
    """What makes a message news: an edited one is."""
    return text(message.get("message_id")), words(message)


def _unanswered(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answered = [n for n, message in enumerate(messages) if by(message) == SELLER]
    return messages[answered[-1] + 1 :] if answered else messages


def _refs(record: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, str]:
    told = {"chat_id": text(record.get("chat_id")), "order_number": text(part(message, "context").get("order_number"))}
    return known(told)


def _buyer(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"buyer_id": text(part(message, "user").get("id"))}
