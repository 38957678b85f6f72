"""Identities. An id names its account (base 32 number), so any id leads to its account and hence to its shard.

A case's id is a new UUIDv7. What a decision brings forth (errands, tasks) takes a UUIDv7 whose random part is a hash of
where it comes from: the same decision gives the same ids, so a repeat is recognised everywhere.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from shared.clock import EPOCH

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MILLISECOND = 1000
_PARTS = 3
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def digest(*parts: str) -> str:
    """32 hex digits over the parts, which cannot run into each other."""
    joined = "\x1f".join(parts).encode()
    return hashlib.sha256(joined).hexdigest()[:32]


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=1024)
def account_number(account: str) -> str:
    """The account's number in base 32. Two accounts with one number are refused by the configuration check."""
    value, text = zlib.crc32(account.encode()), ""
    while value or not text:
        value, rest = divmod(value, 32)
        text = _ALPHABET[rest] + text
    return text


def partition_of(account: str, order_id: str, partitions: int) -> int:
    """Stable over processes and releases: facts of one order go to one partition."""
    return zlib.crc32(f"{account}\x1f{order_id}".encode()) % partitions


def uuid7(now: datetime, random: bytes | None = None) -> str:
    random = random or secrets.token_bytes(10)
    millis = int((now - EPOCH).total_seconds() * _MILLISECOND)
    value = (millis & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (int.from_bytes(random[:2], "big") & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(random[2:10], "big") >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_id(prefix: str, account: str, now: datetime) -> str:
    return f"{prefix}_{account_number(account)}_{uuid7(now)}"


def derived_id(prefix: str, account: str, now: datetime, *origin: str) -> str:
    """The id of what `origin` (case id, sequence number, ordinal …) brought forth: the same every time."""
    return f"{prefix}_{account_number(account)}_{uuid7(now, hashlib.sha256(chr(31).join(origin).encode()).digest())}"


def leads_to(id_: str, accounts: Iterable[str] | None) -> bool:
    """Whether this may be an id of one of these accounts (None: of any)."""
    parts = id_.split("_")
    if len(parts) != _PARTS or not _UUID.fullmatch(parts[-1]):
        return False
    return accounts is None or parts[1] in {account_number(account) for account in accounts}


def fact_id(account: str, dedupe_key: str, ordinal: int, kind: str) -> str:
    return digest(account, dedupe_key, str(ordinal), kind)
