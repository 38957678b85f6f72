"""AWS Signature Version 4 for one POST: all that the queue needs, so that no AWS library has to be there."""

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


def signed(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, service: str, region: str, key_id: str,
    secret: str, now: datetime,
) -> dict[str, str]:  # fmt: skip
    """The headers with `host`, `x-amz-date` and `authorization` added. `url` may have a query in any order."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    named = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    named |= {"host": urlsplit(url).netloc, "x-amz-date": stamp}
    names = ";".join(sorted(named))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    request = "\n".join([*_request(method, url, named), names, sha256(body).hexdigest()])
    to_sign = "\n".join([ALGORITHM, stamp, scope, sha256(request.encode()).hexdigest()])
    signature = _hmac(_key(secret, stamp[:8], region, service), to_sign).hex()
    authorization = f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**named, "authorization": authorization}


def _request(method: str, url: str, headers: Mapping[str, str]) -> list[str]:
    parts = urlsplit(url)
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    query = "&".join(f"{name}={value}" for name, _, value in sorted(pairs))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    return [method, quote(parts.path or "/", safe="/-_.~"), query, lines]


def _key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), sha256).digest()
