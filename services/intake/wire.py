"""What a request must look like before its body is read. Pure; the HTTP parsers are lax, each in its own way."""

import re
from collections.abc import Iterable, Mapping, Sequence

from shared.errors import Refusal, TooLarge
from shared.ports import NotGenuine

Header = tuple[bytes, bytes]
_SINGLE = ("host", "content-length", "transfer-encoding", "content-type", "content-encoding")
_PROOFS = ("authorization", "sign", "webhook-", "api-key", "token", "hmac")
_PLAIN_TEXT = ("text/", "multipart/", "image/", "audio/", "video/")
_LENGTH_DIGITS = 12
_BREAK = re.compile(r"[\n\r\0]")


class Malformed(Refusal):
    code, status = "malformed_request", 400


def collect(headers: Iterable[Header]) -> dict[str, tuple[str, ...]]:
    """Lower-case name -> all its values."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        key, told = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = (*found[key], told) if key in found else (told,)
    return found


def check_size(headers: Sequence[Header], most: int, most_bytes: int) -> None:
    """Before anything looks at them. Raises 431."""
    if len(headers) > most or sum(len(name) + len(value) for name, value in headers) > most_bytes:
        raise Malformed("too many or too large headers", code="headers_too_large", status=431)


def check(headers: Mapping[str, Sequence[str]], body_limit: int) -> int:
    """How many bytes the body has at most. Raises Malformed (400, 415) or TooLarge."""
    for name in _SINGLE:
        if len(headers.get(name, ())) > 1:
            raise Malformed(f"header {name} was sent more than once")
    if not headers.get("host", ("",))[0].strip():
        raise Malformed("header host is missing")
    if _BREAK.search("\x1f".join(value for values in headers.values() for value in values)):
        raise Malformed("a header holds a line break")
    _check_content(headers)
    return _length(headers, body_limit)


def check_proofs(headers: Mapping[str, Sequence[str]]) -> None:
    """A signature or key sent twice proves nothing: which of them is meant cannot be told."""
    for name, values in headers.items():
        if len(values) > 1 and any(part in name for part in _PROOFS):
            raise NotGenuine("a signature header was sent more than once")


def _length(headers: Mapping[str, Sequence[str]], body_limit: int) -> int:
    if "content-length" not in headers:
        return body_limit
    length = headers["content-length"][0]
    if "transfer-encoding" in headers:
        raise Malformed("content-length together with transfer-encoding")
    if not (length.isascii() and length.isdigit() and len(length) <= _LENGTH_DIGITS):
        raise Malformed("content-length is no number")
    if int(length) > body_limit:
        raise TooLarge("the body is too large")
    return int(length)


def _check_content(headers: Mapping[str, Sequence[str]]) -> None:
    encoding = headers.get("content-encoding", ("identity",))[0].strip().lower()
    if encoding not in ("", "identity"):
        raise Malformed("compressed bodies are not taken", code="unsupported_media_type", status=415)
    type_, _, parameters = headers.get("content-type", ("",))[0].lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if type_.strip().startswith(_PLAIN_TEXT) or charset not in ("", "utf-8", "utf8"):
        raise Malformed("this content type is not taken", code="unsupported_media_type", status=415)
