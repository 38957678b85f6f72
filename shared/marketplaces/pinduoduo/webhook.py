"""The HTTP relay's form, and what the message service's frames mean once `listener.py` has brought them in. Reference 3.1, 3.2.

A frame never comes in by the door: `verify` takes the relay's signed form only.
"""

import hmac
from datetime import datetime
from hashlib import md5, sha256
from urllib.parse import parse_qs

from shared.durations import parse_duration
from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.marketplaces.pinduoduo import messages
from shared.marketplaces.pinduoduo.after_sale import moment, text
from shared.ports import Account, Answer, Inbound, NotGenuine, Parsed, Reply, Secrets, each_secret

_STATUS = {"refused": 401, "too_large": 413, "unavailable": 503, "unknown_account": 404}
_MOST_FIELDS = 20


def relay_signature(secret: str, json_text: str, timestamp: str) -> str:
    """Lower-case hex MD5 over secret, the one form field with its name, the timestamp with its name, secret."""
    said = f"{secret}json{json_text}timestamp{timestamp}{secret}"
    return md5(said.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def verify(inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
    form, query = _form(inbound), _fields(inbound.query)
    raw, timestamp, given = _one(form, "json"), _one(query, "timestamp"), _one(query, "sign")
    if raw is None or timestamp is None or given is None:
        raise NotGenuine("json, timestamp and sign are needed, each once")
    expected = [relay_signature(secret, raw, timestamp) for secret in each_secret(secrets, "relay_secret")]
    said = given.lower().encode(errors="replace")
    if not any(hmac.compare_digest(said, one.encode()) for one in expected):
        raise NotGenuine("the signature does not match")
    _check_age(timestamp, account, now)
    _check_mall(raw, account)


def _check_age(timestamp: str, account: Account, now: datetime) -> None:
    """How long the relay repeats a message is not established: the window is the seller's to set."""
    window = account.settings.get("relay_max_age")
    if not window:
        return
    sent = moment(timestamp)
    if sent is None or abs(now - sent) > parse_duration(str(window)):
        raise NotGenuine("the timestamp is too old or ahead", code="stale")


def _check_mall(raw: str, account: Account) -> None:
    wanted = account.settings.get("mall_id")
    if not wanted:
        return
    try:
        told = read(raw.encode("utf-8", "surrogatepass"))
    except Unreadable:
        return
    mall = text(told.get("mall_id")) if isinstance(told, dict) else None
    if mall is not None and mall != str(wanted):
        raise NotGenuine("the message is for another shop", code="wrong_seller", status=403)


def dedupe_key(inbound: Inbound) -> str:
    """Shop, after-sale, operation and time of change: an order number alone is too coarse (reference 3.1)."""
    try:
        topic, content = _read(inbound)
    except Unreadable:
        content = None
    if content is None:
        return sha256(inbound.body + b"\x1f" + inbound.query.encode()).hexdigest()
    sent = _one(_fields(inbound.query), "timestamp")
    return f"relay:{content.identity}:{sent}" if sent else f"{topic}:{content.identity}"


def parse(inbound: Inbound, account: Account) -> Parsed:
    return messages.meaning(*_read(inbound))


def _read(inbound: Inbound) -> tuple[str, messages.Content | None]:
    """A message of the service (a JSON object) or the relay's form."""
    if inbound.body[:1] != b"{":
        raw = _one(_form(inbound), "json")
        if raw is None:
            raise Unreadable("json", "missing or given twice")
        return "", messages.read_content(raw)
    message = read(inbound.body)
    topic, raw = text(message.get("type")), message.get("content")
    if topic is None or not isinstance(raw, str):
        raise Unreadable("type" if topic is None else "content", "missing")
    return topic, messages.read_content(raw)


def reply(answer: Answer, refusal: Refusal | None = None) -> Reply:
    """What the relay wants to read is not established: a plain 200, quickly."""
    if answer in ("accepted", "unreadable"):
        return Reply(200, b"ok")
    status, code = (refusal.status, refusal.code) if refusal else (_STATUS[answer], answer)
    return Reply(status, b'{"code":"%s","status":%d}' % (code.encode(), status), "application/problem+json")


def _form(inbound: Inbound) -> dict[str, list[str]]:
    try:
        return _fields(inbound.body.decode("utf-8"))
    except UnicodeDecodeError:
        return {}


def _fields(encoded: str) -> dict[str, list[str]]:
    try:
        return parse_qs(encoded, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        return {}


def _one(fields: dict[str, list[str]], name: str) -> str | None:
    values = fields.get(name, ())
    return values[0] if len(values) == 1 else None
