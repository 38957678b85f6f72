"""The product, built once and put on again for every schedule: real services, real databases, simulated surroundings.

What is slow and never changes (playbooks, templates, HTTP routers, migrations) is made once; what a process remembers is
made anew at each start. The replaced names stand in `_surroundings`; nothing in the product asks whether it is simulated.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

import structlog

import services.intake.wiring as intake
import services.notifier.wiring as notifier
import services.policy.wiring as policy
from services.intake.settings import Settings as IntakeSettings
from services.notifier import lines
from services.notifier.settings import Settings as NotifierSettings
from services.policy import playbooks, rehearse
from services.policy.settings import Settings as PolicySettings
from shared import clock as clocks
from shared import crashpoints, ids
from shared.accounts import Config, load_config
from shared.metrics import Metrics
from shared.settings import Process as Environment
from shared.store import migrate, session, sqlite
from tests.simulation import folders
from tests.simulation.disk import Disk, SimHand, aside
from tests.support.pushes import GENERIC_SECRET

SERVICES = ("intake", "policy", "notifier")
ACCOUNTS = ("keyed", "readable", "blind")
_MEMORY = Path("/dev/shm")  # noqa: S108
_MARKETPLACES = ("generic", "readable", "blind")
_WIRING = {"intake": intake, "policy": policy, "notifier": notifier}
_ROUTERS = {"intake": ("app", "admin", "parked", "health"), "policy": ("app", "api", "admin", "health"),
            "notifier": ("app", "api", "health")}  # fmt: skip
"""Modules of which the wirings only take HTTP routers: the simulation calls what lies behind them."""


def _accounts(folder: Path, keep_below: str) -> str:
    text = f"marketplaces: {folder}\naccounts:\n"
    for account in ACCOUNTS:
        text += f"""  - id: {account}
    marketplace: {"generic" if account == "keyed" else account}
    locale: en
    time_zone: Europe/Berlin
    base_url: http://market.test/{account}
    secrets: {{signing_secret: {GENERIC_SECRET}}}
    settings: {{keep_item_refund_below: "{keep_below} EUR", approve_refund_above: "50.00 EUR"}}
"""
    return text


class _Nothing:
    """Stands for modules whose work is not wanted: any name is a function, any call gives another of these."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


class Stage:
    """One per process. `with stage.set()`: the surroundings are in place."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="simulation-", dir=_MEMORY if _MEMORY.is_dir() else None)
        root = Path(self._folder.name)
        marketplaces = folders.make(root / "marketplaces")
        self.configs = [self._config(root, marketplaces, below) for below in ("15.00", "30.00")]
        self.environment = Environment(
            data_dir=root, sandbox=True, partitions=2,
            database_urls={name: f"sqlite:///{root / name}.db" for name in SERVICES},
        )  # fmt: skip
        with _quiet():
            for name in SERVICES:
                asyncio.run(self._migrated(name))
        self.disks = {name: Disk(name, root / f"{name}.db") for name in SERVICES}
        self.metrics = Metrics()
        shipped = policy.shipped.read_all(self.configs[0].registry, None)
        self._charts = {chart: playbook for chart, playbook in shipped.items() if chart[0] in _MARKETPLACES}
        self._terms = {id(config): policy.TermsBook(config, config.registry) for config in self.configs}

    def close(self) -> None:
        for disk in self.disks.values():
            disk.close()
        self._folder.cleanup()

    def _config(self, root: Path, marketplaces: Path, below: str) -> Config:
        path = root / f"accounts-{below}.yaml"
        path.write_text(_accounts(marketplaces, below))
        return load_config(path, {}, sandbox=True)

    async def _migrated(self, name: str) -> None:
        database = session.Database(self.environment.database_url(name))
        await migrate.upgrade(database, _WIRING[name].MIGRATIONS)
        await database.close()

    def build(self, name: str, clock: Any, bus: Any, reload: Callable[[], Config]) -> Any:
        """A service as its own composition root makes it. Needs the surroundings."""
        settings: dict[str, Any] = {
            "intake": IntakeSettings(keep_raw=timedelta(days=3650)),
            "policy": PolicySettings(),
            "notifier": NotifierSettings(per_second=10_000, stop_within=1.0),
        }
        self.metrics.before_scrape.clear()
        return _WIRING[name].build(
            self.environment, self.configs[0], clock, bus, metrics=self.metrics, settings=settings[name], reload=reload
        )

    @contextmanager
    def set(self, loop: Callable[[], Any], http: Callable[..., Any], hit: Callable[[str], None]) -> Iterator[None]:
        """`loop()`: the loop of the schedule under way."""
        with ExitStack() as stack:
            for target, name, value in self._surroundings(loop, http, hit):
                stack.enter_context(mock.patch.object(target, name, value))
            stack.enter_context(_quiet())
            yield

    def _surroundings(
        self, loop: Callable[[], Any], http: Callable[..., Any], hit: Callable[[str], None]
    ) -> Iterator[tuple[Any, str, Any]]:
        """What is replaced around the product: threads, sockets, real time, chance, HTTP routers, what is slow."""
        disks = {disk.path: disk for disk in self.disks.values()}
        composer = notifier._composer(self.configs[0])
        documents = {playbook.hash: playbooks.text(playbook) for playbook in self._charts.values()}

        def hand(path: Path, *, read_only: bool) -> SimHand:
            return SimHand(disks[path], read_only=read_only)

        async def at_head(*_: Any, **__: Any) -> None:
            return None

        class Terms(policy.TermsBook):
            def __init__(book, config: Config, registry: Any) -> None:  # noqa: N805
                made = self._terms[id(config)]
                book._past, book._stored = {}, set()
                book._current, book._marketplaces = dict(made._current), dict(made._marketplaces)

        yield sqlite, "_Hand", hand
        yield sqlite.SqliteTx, "_do", aside
        yield clocks, "time", SimpleNamespace(monotonic=lambda: loop().now, thread_time=lambda: 0.0)
        yield ids, "secrets", SimpleNamespace(token_bytes=lambda n: loop().dice.randbytes(n))  # noqa: PLW0108
        yield crashpoints, "hit", hit
        yield lines, "Http", http
        yield notifier, "_composer", lambda config: composer
        yield policy, "TermsBook", Terms
        yield playbooks, "text", lambda playbook: documents[playbook.hash]
        yield rehearse, "Playbooks", lambda current: playbooks.Playbooks(self._charts)
        yield policy, "shipped", SimpleNamespace(read_all=lambda registry, over: self._charts)
        for name, wiring in _WIRING.items():
            yield wiring, "open_at_head", at_head
            yield wiring, "load_keys", lambda *_, **__: None
            for module in _ROUTERS[name]:
                yield wiring, module, _Nothing()


@contextmanager
def _quiet() -> Iterator[None]:
    """What goes wrong on purpose is not to be read in a log."""
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        yield
    finally:
        structlog.configure(**kept)
