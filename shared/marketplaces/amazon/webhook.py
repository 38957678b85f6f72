"""Notifications that a forwarder posts to us: Amazon itself knows no address, only queues. Reference A1, A2.

The proof is the forwarder's static key; notifications carry no signature and no time that is signed.
"""

import hmac
from datetime import datetime
from hashlib import sha256

import msgspec

from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.marketplaces.amazon.envelope import foreign, opened
from shared.marketplaces.amazon.notifications import meaning
from shared.ports import Account, Answer, Inbound, NotGenuine, Parsed, Reply, Secrets

KEY_HEADER = "x-api-key"
_STATUS = {"unreadable": 200, "refused": 401, "too_large": 413, "unavailable": 503, "unknown_account": 404}


def verify(inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
    given = (inbound.header(KEY_HEADER) or "").encode(errors="replace")
    keys = secrets["notification_key"]
    known = [hmac.compare_digest(given, key.encode()) for key in ((keys,) if isinstance(keys, str) else keys)]
    if not any(known):
        raise NotGenuine("the key does not match")
    try:
        envelope = opened(read(inbound.body))
    except Unreadable:
        return
    wrong = foreign(envelope, account)
    if wrong is not None:
        raise NotGenuine(f"the notification is for another {wrong}", code=f"wrong_{wrong}", status=403)


def dedupe_key(inbound: Inbound) -> str:
    """The notification's own id; where none can be read, the content."""
    try:
        return opened(read(inbound.body)).id or sha256(inbound.body).hexdigest()
    except Unreadable:
        return sha256(inbound.body).hexdigest()


def parse(inbound: Inbound, account: Account) -> Parsed:
    return meaning(opened(read(inbound.body)), account)


def reply(answer: Answer, refusal: Refusal | None = None) -> Reply:
    """Any 2xx ends the forwarder's retries."""
    if answer == "accepted":
        return Reply(200)
    status = refusal.status if refusal and answer == "refused" else _STATUS[answer]
    body = msgspec.json.encode({"error": refusal.code if refusal else answer})
    return Reply(status, body, "application/json")
