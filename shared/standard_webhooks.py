"""Standard Webhooks (standardwebhooks.com), symmetric `v1` signatures, over raw bytes: `id.timestamp.body`, HMAC-SHA256.

Narrower than the reference library, which takes fractions in the timestamp, any id and any number of signatures, and
raises five kinds of exception on bad headers: here everything that is not proven raises NotGenuine and nothing else.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from shared.clock import EPOCH
from shared.errors import ConfigurationError
from shared.ports import NotGenuine

TOLERANCE = 300
"""Seconds, into the past and into the future."""
MAX_CANDIDATES = 8
_MAX_HEADER = 4096
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_PREFIX = "whsec_"
_LEAST_BYTES = 24


@lru_cache(maxsize=1024)
def key_of(secret: str) -> bytes:
    """The HMAC key of a `whsec_…` secret. Raises ConfigurationError, which never shows it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _LEAST_BYTES:
        raise ConfigurationError(["signing_secret: must be whsec_ and the base64 of at least 24 bytes"])
    return key


def sign(secret: str, message_id: str, moment: datetime, body: bytes) -> str:
    """One entry of the signature header, `v1,<base64>`."""
    return _signature(key_of(secret), message_id, _seconds(moment), body)


def headers(secrets: str | Sequence[str], message_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """The three headers; one signature per secret while two are given. The id stays over retries, the moment does not."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": _seconds(moment),
        "webhook-signature": " ".join(sign(secret, message_id, moment, body) for secret in _listed(secrets)),
    }


def verify(
    secrets: str | Sequence[str],
    *,
    message_id: str | None,
    timestamp: str | None,
    signature: str | None,
    body: bytes,
    now: datetime,
) -> None:
    """Header values as they came, None where a header is missing or came twice. Raises NotGenuine, which says no more."""
    if message_id is None or timestamp is None or signature is None:
        raise NotGenuine
    if not _ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp) or len(signature) > _MAX_HEADER:
        raise NotGenuine
    if abs((now - EPOCH).total_seconds() - int(timestamp)) > TOLERANCE:
        raise NotGenuine
    candidates = list(_candidates(signature))
    for secret in _listed(secrets):
        expected = _signature(key_of(secret), message_id, timestamp, body).encode()
        matches = [hmac.compare_digest(expected, candidate) for candidate in candidates]
        if any(matches):
            return
    raise NotGenuine


def _candidates(signature: str) -> Iterator[bytes]:
    for entry in signature.split(" ", MAX_CANDIDATES)[:MAX_CANDIDATES]:
        yield entry.encode("utf-8", "surrogatepass")


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _seconds(moment: datetime) -> str:
    return str(int((moment - EPOCH).total_seconds()))


def _listed(secrets: str | Sequence[str]) -> Sequence[str]:
    return [secrets] if isinstance(secrets, str) else secrets
