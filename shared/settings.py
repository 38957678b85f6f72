"""Configuration of a process: its environment (12-factor), the seller's accounts file, the keys of the HTTP API.

Everything is checked whole before anything starts; all faults are named at once, values never.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from shared import crashpoints
from shared.accounts import AccountEntry, Config, load_config
from shared.auth import Keys, load_keys
from shared.errors import ConfigurationError

__all__ = ["AccountEntry", "Config", "Keys", "Process", "load_config", "load_keys"]

SERVICES = ("intake", "policy", "notifier")
_LISTED = """
DATABASE_URL INTAKE_DATABASE_URL POLICY_DATABASE_URL NOTIFIER_DATABASE_URL DATA_DIR BROKER_URL CONFIG LOG_FORMAT
LOG_LEVEL API_KEYS_FILE TEST_CLOCK CRASHPOINT PARTITIONS SANDBOX URL KEY
"""
NAMES = frozenset(_LISTED.split())
_PREFIX = "AMENDS_"
_DATABASES = ("postgresql", "postgresql+asyncpg", "sqlite", "sqlite+aiosqlite")
_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no")


@dataclass(frozen=True, slots=True)
class Process:
    """What one process is told by its environment. `database_urls` by service; `""` stands for the one of all."""

    data_dir: Path = Path("var")
    config: Path | None = None
    broker_url: str = "embedded://"
    database_urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    log_format: Literal["console", "json"] = "console"
    log_level: str = "info"
    api_keys_file: Path | None = None
    sandbox: bool = False
    partitions: int = 8
    test_clock: Path | None = None
    """File of the clock that the processes of a rehearsal share."""
    crashpoint: str | None = None
    """`name:n`: dies there, the n-th time. For crash tests only."""

    @staticmethod
    def from_env(
        environ: Mapping[str, str],
        *,
        data_dir: Path | None = None,
        config: Path | None = None,
        sandbox: bool = False,
    ) -> "Process":
        """Arguments win over the environment. Raises ConfigurationError naming every fault."""
        reading = _Reading(environ)
        process = Process(
            data_dir=data_dir or reading.path("DATA_DIR") or Path("var"),
            config=config or reading.path("CONFIG"),
            broker_url=reading.url("BROKER_URL", ("embedded", "amqp", "amqps")) or "embedded://",
            database_urls=reading.databases(),
            log_format=cast(Any, reading.choice("LOG_FORMAT", ("console", "json"))),
            log_level=reading.choice("LOG_LEVEL", ("info", "debug", "warning", "error")),
            api_keys_file=reading.path("API_KEYS_FILE"),
            sandbox=sandbox or reading.flag("SANDBOX"),
            partitions=reading.number("PARTITIONS", 8, 1, 1024),
            test_clock=reading.path("TEST_CLOCK"),
            crashpoint=reading.crashpoint(),
        )
        if reading.faults:
            raise ConfigurationError(reading.faults)
        return process

    @property
    def embedded(self) -> bool:
        return self.broker_url.startswith("embedded:")

    @property
    def blobs(self) -> Path:
        """Evidence by its SHA-256: one folder that policy writes and notifier reads, shared where they run apart."""
        return self.data_dir / "blobs"

    def database_url(self, service: str) -> str:
        """The service's own URL; else its share of the common one; else a SQLite file in the data directory.

        Of one PostgreSQL database each service takes the schema of its name (query parameter `schema`); of one SQLite
        name each takes a file of its own.
        """
        own = self.database_urls.get(service)
        if own:
            return own
        common = self.database_urls.get("")
        if common is None:
            return f"sqlite:///{self.data_dir / f'{service}.db'}"
        if common.startswith("sqlite"):
            path, dot, suffix = common.rpartition(".")
            return f"{path}-{service}.{suffix}" if dot else f"{common}-{service}"
        return f"{common}{'&' if '?' in common else '?'}schema={service}"


class _Reading:
    """Reads named variables and keeps the faults. An unknown AMENDS_ name is one: it is most likely misspelt."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        ours = {name.removeprefix(_PREFIX) for name in environ if name.startswith(_PREFIX)}
        unknown = sorted(n for n in ours if n not in NAMES and (n == "TEST_" or not n.startswith("TEST_")))
        self.faults = [f"environment {_PREFIX}{name}: unknown variable" for name in unknown]

    def text(self, name: str) -> str | None:
        return self._environ.get(_PREFIX + name, "").strip() or None

    def path(self, name: str) -> Path | None:
        text = self.text(name)
        return Path(text).expanduser() if text else None

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """The first is the default."""
        text = self.text(name) or allowed[0]
        if text not in allowed:
            self._fault(name, f"must be one of {', '.join(sorted(allowed))}")
            return allowed[0]
        return text

    def flag(self, name: str) -> bool:
        text = (self.text(name) or "").lower()
        if text not in _TRUE + _FALSE:
            self._fault(name, "must be true or false")
        return text in _TRUE

    def number(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
            self._fault(name, f"must be a whole number from {least} to {most}")
            return default
        return int(text)

    def url(self, name: str, schemes: tuple[str, ...]) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            parts = urlsplit(text)
            sound = parts.scheme in schemes and "://" in text and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound:
            self._fault(name, f"must be a URL that begins with {' or '.join(f'{s}://' for s in schemes)}")
            return None
        return text

    def crashpoint(self) -> str | None:
        text = self.text("CRASHPOINT")
        try:
            crashpoints.parse(text or "policy.decided")
        except ValueError as fault:
            self._fault("CRASHPOINT", str(fault))
        return text

    def databases(self) -> dict[str, str]:
        names = {"": "DATABASE_URL"} | {service: f"{service.upper()}_DATABASE_URL" for service in SERVICES}
        found = {service: self.url(name, _DATABASES) for service, name in names.items()}
        return {service: url for service, url in found.items() if url}

    def _fault(self, name: str, why: str) -> None:
        self.faults.append(f"environment {_PREFIX}{name}: {why}")
