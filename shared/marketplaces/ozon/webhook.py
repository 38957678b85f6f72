"""Ozon's pushes: what can be checked of them, what they mean, and Ozon's exact replies. Reference 2.1, 2.2.

Ozon signs nothing. What can be proven is where a push comes from (three published networks) and for which seller it
is; what it says of an order is a fact, what it says of a return does not exist: returns are polled.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec

from shared.clock import EPOCH, format_time, to_micros
from shared.domain.facts import Draft
from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.marketplaces.ozon.codes import (
    ARBITRATION,
    BUYER_CHATS,
    CANCELLED,
    CHAT_WINDOW,
    DELIVERED,
    SHIPPED,
    STATES,
    WAITING,
    folded,
    known,
    moment,
    part,
    reason_of,
    spelled,
    stamp,
    text,
)
from shared.ports import (
    Account,
    Answer,
    Facts,
    Ignored,
    Inbound,
    NeedsFetch,
    NotGenuine,
    Parsed,
    Reply,
    Secrets,
    Unmapped,
)

NETWORKS = ("195.34.21.0/24", "185.73.192.0/22", "91.223.93.0/24")
"""Ozon's published source networks (reference 2.1)."""
VERSION, NAME = "1.0", "amends"
"""How the check of the address is answered."""
OTHER_CHATS = (
    "Seller_Support", "Seller_Notification", "Seller_API_Updates", "Seller_API_Notifications",
    "Seller_Notification_Logistics",
)  # fmt: skip
BUYER = "Customer"
OF_NO_CONCERN = (
    "TYPE_CREATE_ITEM", "TYPE_UPDATE_ITEM", "TYPE_CREATE_OR_UPDATE_ITEM", "TYPE_STOCKS_CHANGED",
    "TYPE_PRICE_INDEX_CHANGED", "TYPE_FBO_STOCKS_CHANGED", "TYPE_CUTOFF_DATE_CHANGED",
)  # fmt: skip
WITHOUT_FIELDS = (
    "TYPE_FBO_POSTING_NEW", "TYPE_FBO_POSTING_CANCELLED", "TYPE_FBO_POSTING_STATE_CHANGED",
    "TYPE_FBO_POSTING_DELIVERY_DATE_CHANGED", "TYPE_ORDER_NEW", "TYPE_ORDER_CANCELLED", "TYPE_ORDER_STATE_CHANGED",
)  # fmt: skip
"""Named in newer lists of types; what they carry is not established. Kept word for word, so they can be replayed."""
_KEPT_DATE, _CLOSED_CHAT = "TYPE_DELIVERY_DATE_CHANGED", "TYPE_CHAT_CLOSED"
_STATUS = {"unreadable": 400, "refused": 401, "too_large": 413, "unavailable": 503, "unknown_account": 404}
_ORDER_NUMBER = re.compile(r"(\d+-\d+)-\d+")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Body = Mapping[str, Any]


# proof
def verify(inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
    """`verify_source: false` leaves the address unguessed as the only proof; the sandbox begins with it."""
    if account.settings.get("verify_source", not account.sandbox) is not False:
        _check_source(inbound, account.settings.get("trusted_proxies") or ())
    try:
        body = read(inbound.body)
    except Unreadable:
        return
    wanted = account.settings.get("seller_id")
    told = text(body.get("seller_id")) if isinstance(body, dict) else None
    if wanted and told is not None and told != str(wanted):
        raise NotGenuine("the push is for another seller", code="wrong_seller", status=403)


def _check_source(inbound: Inbound, proxies: Iterable[Any]) -> None:
    if not _inside(_source(inbound, _networks(tuple(map(str, proxies)))), _networks(NETWORKS)):
        raise NotGenuine("the push does not come from Ozon's networks")


def _source(inbound: Inbound, proxies: tuple[_Network, ...]) -> str:
    """The peer; behind proxies of ours what the last of them saw, never what a stranger wrote into the header."""
    passed = [part.strip() for value in inbound.headers.get("x-forwarded-for", ()) for part in value.split(",")]
    source = inbound.peer
    while passed and _inside(source, proxies):
        source = passed.pop()
    return source


@lru_cache(maxsize=64)
def _networks(given: tuple[str, ...]) -> tuple[_Network, ...]:
    """Raises NotGenuine for a setting that is no network: nothing is proven by it."""
    try:
        return tuple(ipaddress.ip_network(one.strip(), strict=False) for one in given)
    except ValueError:
        raise NotGenuine("trusted_proxies names what is no network") from None


def _inside(address: str, networks: tuple[_Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(mapped in network for network in networks)


# identity
def dedupe_key(inbound: Inbound) -> str:
    """A chat message has an id of its own; of the rest the bytes are the identity (Ozon gives no event id)."""
    try:
        body = read(inbound.body)
    except Unreadable:
        body = None
    parts = [text(body.get(name)) for name in ("chat_id", "message_id")] if isinstance(body, dict) else [None]
    if not isinstance(body, dict) or None in parts:
        return sha256(inbound.body).hexdigest()
    version = text(body.get("updated_at")) or text(body.get("last_read_message_id")) or ""
    told = (text(body.get("message_type")) or "", *map(str, parts), version)
    return "chat:" + sha256("\x1f".join(told).encode("utf-8", "surrogatepass")).hexdigest()


# meaning
def parse(inbound: Inbound, account: Account) -> Parsed:
    body = read(inbound.body)
    if not isinstance(body, dict):
        raise Unreadable("$", "not an object")
    if not isinstance(body.get("message_type"), str):
        raise Unreadable("$.message_type", "missing")
    kind = spelled(body["message_type"], (*_MEANINGS, *OF_NO_CONCERN, *WITHOUT_FIELDS))
    if kind in _MEANINGS:
        return _MEANINGS[kind](body, account)
    if kind in OF_NO_CONCERN:
        return Ignored(f"{kind} concerns no order's after-sales")
    if kind in WITHOUT_FIELDS:
        return Ignored(f"{kind}: what it carries is not established")
    return Unmapped(f"message_type:{kind[:60]}")


def _ping(body: Body, account: Account) -> Parsed:
    return Ignored("a check of the address")


def _new_posting(body: Body, account: Account) -> Parsed:
    """The order's number is the posting's without its last part, as in every sample; a chat's history names only that."""
    placed = _order(body, "order.placed", "in_process_at", raw_code="TYPE_NEW_POSTING")
    number = placed.order_id and _ORDER_NUMBER.fullmatch(placed.order_id)
    refs = {"order_number": number.group(1)} if number else {}
    return Facts((msgspec.structs.replace(placed, refs=refs),))


def _posting_cancelled(body: Body, account: Account) -> Parsed:
    """Cancelled on its way the parcel is a matter of its own: it has to be stopped or comes back (R003-05)."""
    posting, before = _posting(body), spelled(body.get("old_state"), STATES)
    cancelled = _order(body, "order.cancelled", "changed_state_date", raw_code=CANCELLED)
    if before in SHIPPED:
        own = {"case_kind": "cancellation", "external_id": posting}
        told = msgspec.structs.replace(cancelled, kind="case.updated", data=_reason(body), **own)
        return Facts((msgspec.structs.replace(cancelled, **own), told))
    if before in ARBITRATION:
        ended = _arbitration(body, "dispute.resolved", CANCELLED, {"winner": "none"})
        return Facts((_of_the_order(cancelled), ended))
    return Facts((_of_the_order(cancelled),))


def _reason(body: Body) -> dict[str, Any]:
    """Of the parcel's own case: news of the order carries no fields, its other cases would take them for theirs."""
    told = part(body, "reason")
    words = text(told.get("message"))
    return known({"reason": reason_of(words), "reason_code": text(told.get("id")), "reason_text": words})


def _of_the_order(draft: Draft) -> Draft:
    """News of the order for the cases there are: it opens none."""
    return msgspec.structs.replace(draft, case_kind="order_care")


def _state_changed(body: Body, account: Account) -> Parsed:
    posting, state = _posting(body), spelled(body.get("new_state"), STATES)
    if state in SHIPPED:
        return Facts((_order(body, "order.shipped", "changed_state_date", raw_code=state),))
    if state in DELIVERED:
        until = stamp(_at(body, "changed_state_date") + CHAT_WINDOW)
        data = {"window_until": until}
        return Facts((_order(body, "delivery.delivered", "changed_state_date", raw_code=state, data=data),))
    if state in ARBITRATION:
        return Facts((_arbitration(body, "dispute.opened", state, {"stage": "arbitration"}),))
    if state == CANCELLED:
        return Facts((_of_the_order(_order(body, "order.cancelled", "changed_state_date", raw_code=state)),))
    if state in WAITING:
        return Facts((_order(body, "delivery.updated", "changed_state_date", raw_code=state),))
    if not state:
        raise Unreadable("$.new_state", "missing")
    unknown = Draft(
        kind="case.updated", occurred_at=_at(body, "changed_state_date"), order_id=posting, raw_code=state[:80]
    )
    return Unmapped(f"new_state:{state[:60]}", (unknown,))


def _delivery_date(body: Body, account: Account) -> Parsed:
    """When the date was changed is not told."""
    promised = moment(body.get("new_delivery_date_end")) or moment(body.get("new_delivery_date_begin"))
    data = known({"promised_until": stamp(promised)})
    draft = Draft(kind="delivery.updated", occurred_at=EPOCH, order_id=_posting(body), raw_code=_KEPT_DATE, data=data)
    return Facts((draft,))


def _order(body: Body, kind: str, time: str, *, raw_code: str, data: dict[str, Any] | None = None) -> Draft:
    at, posting = _at(body, time), _posting(body)
    return Draft(kind=kind, occurred_at=at, order_id=posting, raw_code=raw_code, data=data or {})


def _arbitration(body: Body, kind: str, state: str, data: dict[str, Any]) -> Draft:
    at, posting = _at(body, "changed_state_date"), _posting(body)
    return Draft(
        kind=kind, occurred_at=at, order_id=posting, case_kind="dispute", external_id=posting, raw_code=state,
        revision=to_micros(at) // 1000, data=data,
    )  # fmt: skip


def _posting(body: Body) -> str:
    posting = text(body.get("posting_number"))
    if posting is None:
        raise Unreadable("$.posting_number", "missing")
    return posting


def _at(body: Body, name: str) -> datetime:
    at = moment(body.get(name))
    if at is None:
        raise Unreadable(f"$.{name}", "missing")
    return at


# chats
def _message(body: Body, account: Account) -> Parsed:
    """With the subscription the chat is read: its history tells the order, which a push does not."""
    skipped = _not_a_buyers(body)
    if skipped is not None:
        return skipped
    chat = _chat(body)
    if account.settings.get("premium_plus") is True:
        return NeedsFetch(f"chat:{chat}")
    return Facts((_said(body, chat, "message.received", {"text": _words(body)}),))


def _read(body: Body, account: Account) -> Parsed:
    """The buyer has seen what we wrote."""
    skipped = _not_a_buyers(body)
    if skipped is not None:
        return skipped
    seen = text(body.get("last_read_message_id")) or text(body.get("message_id"))
    return Facts((_said(body, _chat(body), "message.read", known({"read_up_to": seen})),))


def _closed(body: Body, account: Account) -> Parsed:
    """No more may be written there (docs/house.md, `closed_chat`). When it was closed is not told."""
    skipped = _not_a_buyers(body, anybody=True)
    if skipped is not None:
        return skipped
    chat = _chat(body)
    refs, data = {"chat_id": chat}, {"closed_chat": chat}
    return Facts((Draft(kind="delivery.updated", occurred_at=EPOCH, refs=refs, raw_code=_CLOSED_CHAT, data=data),))


def _not_a_buyers(body: Body, *, anybody: bool = False) -> Parsed | None:
    """None for a chat with a buyer in which the buyer did it (`anybody`: whoever did it)."""
    chat = spelled(body.get("chat_type"), (*BUYER_CHATS, *OTHER_CHATS))
    if chat in OTHER_CHATS:
        return Ignored(f"a {chat} chat")
    if chat not in BUYER_CHATS:
        return Unmapped(f"chat_type:{chat[:60]}")
    who = text(part(body, "user").get("type"))
    return None if anybody or folded(who or "") == folded(BUYER) else Ignored("not a buyer's own word")


def _said(body: Body, chat: str, kind: str, data: dict[str, Any]) -> Draft:
    """Moments are of the first writing: an edited message opens no new window."""
    message = text(body.get("message_id"))
    refs = {"chat_id": chat}
    told = {**data, "message_id": message, "buyer_id": text(part(body, "user").get("id"))}
    edited = stamp(moment(body.get("updated_at")))
    return Draft(
        kind=kind, occurred_at=_at(body, "created_at"), refs=refs,
        raw_code=spelled(body.get("message_type"), _MEANINGS), data=known({**told, "edited_at": edited}),
    )  # fmt: skip


def _chat(body: Body) -> str:
    chat = text(body.get("chat_id"))
    if chat is None:
        raise Unreadable("$.chat_id", "missing")
    return chat


def _words(body: Body) -> str:
    data = body.get("data")
    return "\n".join(part for part in data if isinstance(part, str)) if isinstance(data, list) else ""


_MEANINGS: dict[str, Callable[[Body, Account], Parsed]] = {
    "TYPE_PING": _ping,
    "TYPE_NEW_POSTING": _new_posting,
    "TYPE_POSTING_CANCELLED": _posting_cancelled,
    "TYPE_STATE_CHANGED": _state_changed,
    _KEPT_DATE: _delivery_date,
    "TYPE_NEW_MESSAGE": _message,
    "TYPE_UPDATE_MESSAGE": _message,
    "TYPE_MESSAGE_READ": _read,
    _CLOSED_CHAT: _closed,
}


# replies
def reply(answer: Answer, refusal: Refusal | None = None) -> Reply:
    """Ozon's own shapes: `{"result": true}`, and its error for everything else."""
    if answer == "accepted":
        return _json(200, {"result": True})
    status = refusal.status if refusal else _STATUS[answer]
    return _error(status, "ERROR_UNKNOWN", refusal.detail or refusal.code if refusal else answer)


def reply_to(answer: Answer, inbound: Inbound, account: Account, began: datetime) -> Reply:
    """A check of the address is answered with its own shape, what cannot be read with the place that is wrong."""
    if answer == "unreadable":
        try:
            parse(inbound, account)
        except Unreadable as fault:
            code = "ERROR_PARAMETER_VALUE_MISSED" if fault.why == "missing" else "ERROR_UNKNOWN"
            return _error(_STATUS["unreadable"], code, str(fault))
    if answer == "accepted" and _is_ping(inbound):
        return _json(200, {"version": VERSION, "name": NAME, "time": format_time(began)})
    return reply(answer)


def _is_ping(inbound: Inbound) -> bool:
    try:
        body = read(inbound.body)
    except Unreadable:
        return False
    return isinstance(body, dict) and spelled(body.get("message_type"), ("TYPE_PING",)) == "TYPE_PING"


def _error(status: int, code: str, message: str) -> Reply:
    return _json(status, {"error": {"code": code, "message": message, "details": None}})


def _json(status: int, body: Mapping[str, Any]) -> Reply:
    return Reply(status, msgspec.json.encode(body), "application/json")
