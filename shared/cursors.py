"""Cursors of lists: where to go on, signed, so that a forged, truncated or foreign one is a clear 400."""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from shared.errors import Refusal

_MAC = 12
_MAX = 2048


class BadCursor(Refusal):
    code, status = "bad_cursor", 400


class Cursors:
    """`purpose` names the list and its order, so a cursor of one is refused by another."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, purpose: str, place: Any) -> str:
        """`place`: whatever JSON the list needs to go on."""
        body = msgspec.json.encode(place)
        return _text(self._mac(purpose, body) + body)

    def open(self, purpose: str, text: str) -> Any:
        """Raises BadCursor."""
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadCursor("this cursor is not one of ours") from None
        mac, body = raw[:_MAC], raw[_MAC:]
        if len(text) > _MAX or text != _text(raw) or not hmac.compare_digest(mac, self._mac(purpose, body)):
            raise BadCursor("this cursor is not one of ours, or belongs to another list")
        return msgspec.json.decode(body)

    def _mac(self, purpose: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, purpose.encode() + b"\0" + body, hashlib.sha256)[:_MAC]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
