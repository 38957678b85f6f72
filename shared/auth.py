"""Keys of the HTTP API: bearer tokens kept as SHA-256, each with scopes and, where wanted, the accounts it may see."""

import hashlib
import hmac
import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from fastapi import Request

from shared.errors import ConfigurationError, Forbidden, Unauthorised
from shared.yaml_lines import YamlFault, load

Scope = Literal["read", "act", "approve", "represent", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "act", "approve", "represent", "admin")
_MAX_HEADER = 512
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `accounts` None: all of them."""

    name: str
    scopes: frozenset[Scope]
    accounts: frozenset[str] | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def sees(self, account: str) -> bool:
        return self.accounts is None or account in self.accounts


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    sha256: str
    scopes: list[Scope]
    accounts: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """By SHA-256 of the key, as hex."""

    principals: tuple[tuple[str, Principal], ...] = field(default=(), repr=False)

    @property
    def seal(self) -> bytes:
        """The secret that signs cursors: the same on every replica that reads the same keys file."""
        return hashlib.sha256(b"cursors\0" + "".join(sorted(kept for kept, _ in self.principals)).encode()).digest()

    def find(self, key: str) -> Principal | None:
        """Compares with every key, so the time tells nothing."""
        digest = key_digest(key)
        found: Principal | None = None
        for kept, principal in self.principals:
            if hmac.compare_digest(kept, digest):
                found = principal
        return found

    def principal(self, authorization: Iterable[str]) -> Principal:
        """From the values of the Authorization header. Raises Unauthorised."""
        values = list(authorization)
        scheme, _, key = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not key.strip() or len(key) > _MAX_HEADER:
            raise Unauthorised("a key is needed: Authorization: Bearer ...")
        found = self.find(key.strip())
        if found is None:
            raise Unauthorised("this key is not known")
        return found


def key_digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def sandbox_keys() -> Keys:
    """Well-known keys that exist only with `--sandbox`."""
    scopes: dict[str, tuple[Scope, ...]] = {
        "sandbox": SCOPES,
        "sandbox-act": ("read", "act"),
        "sandbox-read": ("read",),
    }
    return Keys(tuple((key_digest(name), Principal(name, frozenset(given))) for name, given in scopes.items()))


def load_keys(path: Path | None, *, sandbox: bool = False) -> Keys:
    """The keys file, a YAML list of `{name, sha256, scopes, accounts}`, and the sandbox's keys where asked for.

    Raises ConfigurationError naming every fault.
    """
    kept = sandbox_keys().principals if sandbox else ()
    if path is None:
        return Keys(kept)
    try:
        data, lines = load(path.read_text("utf-8"), str(path))
    except YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError([f"{path}: cannot be read ({type(fault).__name__})"]) from None
    if not isinstance(data, list):
        raise ConfigurationError([f"{path}:1 must be a list of keys"])
    found: dict[str, Principal] = {}
    faults: list[str] = []
    for index, raw in enumerate(data):
        entry, why = _entry(raw, found)
        if entry is None:
            faults.append(f"{path}:{lines.get(str(index), 1)} {index}: {why}")
        else:
            accounts = None if entry.accounts is None else frozenset(entry.accounts)
            found[entry.sha256] = Principal(entry.name, frozenset(entry.scopes), accounts)
    if faults:
        raise ConfigurationError(faults)
    return Keys(kept + tuple(found.items()))


def _entry(raw: Any, found: dict[str, Principal]) -> tuple[_Entry | None, str]:
    try:
        entry = msgspec.convert(raw, _Entry)
    except msgspec.ValidationError as fault:
        return None, str(fault)
    if not _SHA256.fullmatch(entry.sha256):
        return None, "sha256 must be 64 lower case hex digits: printf %s KEY | sha256sum"
    if not entry.name or entry.name in {principal.name for principal in found.values()} or entry.sha256 in found:
        return None, "name and sha256 must each stand once"
    return entry, ""


def require(scope: Scope) -> Callable[[Request], Coroutine[Any, Any, Principal]]:
    """FastAPI dependency. The application keeps its Keys in `app.state.keys`. Raises Unauthorised, Forbidden."""

    async def principal(request: Request) -> Principal:
        keys: Keys = request.app.state.keys
        found = keys.principal(request.headers.getlist("authorization"))
        if not found.may(scope):
            raise Forbidden(f"this key lacks the scope {scope}")
        return found

    return principal
