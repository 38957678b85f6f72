"""All three services in one process on the embedded default: SQLite files, in-process bus, one port."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from amends.collector import release_collector
from amends.data_lock import DataLock
from amends.joined import Joined
from amends.serve import HttpServer, until_told_to_stop
from services.intake.wiring import build as build_intake
from services.notifier.wiring import build as build_notifier
from services.policy.shipped import read_all
from services.policy.wiring import build as build_policy
from shared import sandbox
from shared.accounts import Config, load_config
from shared.bus import open_bus
from shared.bus.port import Bus, Topology
from shared.clock import Clock, SystemClock, TestClock
from shared.metrics import Metrics
from shared.registry import Registry
from shared.service import Service
from shared.settings import Process

SANDBOX_ACCOUNTS = Path(__file__).with_name("sandbox_accounts.yaml")
_HINT = "no accounts yet: begin with `amends up --sandbox`, or name yours with --config FILE and keys in AMENDS_API_KEYS_FILE"


@dataclass
class Embedded:
    """The running product. `app` is the one origin; `services` in the order in which facts travel."""

    clock: Clock
    services: tuple[Service, ...]
    app: Any
    simulators: Mapping[str, str]
    """URL of the running simulator by account."""


@asynccontextmanager
async def running(process: Process, *, at: datetime | None = None) -> AsyncIterator[Embedded]:
    """Starts everything, stops everything. Raises ConfigurationError or Unavailable with clear lines."""
    config = read_config(process)
    clock = clock_of(process, at)
    with DataLock(process.data_dir):
        async with _simulators(config, process, clock) as urls:
            bus = open_bus(process.broker_url, Topology(process.partitions))
            product = _built(process, config, clock, bus, urls)
            await bus.start()
            started: list[Service] = []
            try:
                for service in reversed(product.services):
                    await service.start()
                    started.append(service)
                yield product
            finally:
                for service in reversed(started):
                    await service.stop()
                await bus.stop()


def read_config(process: Process, service: str | None = None) -> Config:
    """Secrets of one service's own facets only where `service` is named."""
    path = process.config or (SANDBOX_ACCOUNTS if process.sandbox else None)
    if path is None:
        return Config(accounts={}, registry=Registry(None))
    return load_config(path, os.environ, service=service, sandbox=process.sandbox)


def _reread(process: Process) -> Config:
    """For a reload: whatever one of the three would refuse is refused for all of them."""
    config = read_config(process)
    read_all(config.registry, config.playbooks)
    return config


def clock_of(process: Process, at: datetime | None) -> Clock:
    """The sandbox's clock is kept in the data directory, so a restart goes on where it stood; `at` wins over it."""
    if not process.sandbox:
        return SystemClock()
    return TestClock(at, process.test_clock or process.data_dir / "sandbox-clock")


def _built(process: Process, config: Config, clock: Clock, bus: Bus, simulators: Mapping[str, str]) -> Embedded:
    metrics = Metrics()
    rebuilt = partial(_redirected, simulators)
    given, reload = rebuilt(config), lambda: rebuilt(_reread(process))
    intake = build_intake(process, given, clock, bus, metrics=metrics, reload=reload)
    policy = build_policy(process, given, clock, bus, metrics=metrics, reload=reload)
    notifier = build_notifier(process, given, clock, bus, metrics=metrics, reload=reload)
    services = (intake, policy, notifier)
    apps = {service.name: service.app for service in services}
    if process.sandbox:
        apps["sandbox"] = sandbox.application(clock, services, intake.poll_all)
    return Embedded(clock, services, Joined(apps), simulators)


def _redirected(simulators: Mapping[str, str], config: Config) -> Config:
    """The accounts of running simulators call them."""
    accounts = dict(config.accounts)
    for id_, url in simulators.items():
        if id_ in accounts:
            account = replace(accounts[id_].account, base_url=accounts[id_].account.base_url or url)
            accounts[id_] = replace(accounts[id_], account=account)
    return replace(config, accounts=accounts)


@asynccontextmanager
async def _simulators(config: Config, process: Process, clock: Clock) -> AsyncIterator[Mapping[str, str]]:
    """In the sandbox an account without `base_url` talks to its marketplace's simulator, over real HTTP."""
    servers: dict[str, HttpServer] = {}
    for id_, entry in config.accounts.items():
        module = config.registry.simulators(entry.account.marketplace)
        if process.sandbox and entry.account.base_url is None and module is not None:
            keep = process.data_dir / f"simulator-{id_}.json"
            servers[id_] = HttpServer(module.create(entry.account, entry.secrets, clock, keep))
            await servers[id_].start()
    try:
        yield {id_: server.url for id_, server in servers.items()}
    finally:
        for server in servers.values():
            await server.stop()


async def run(process: Process, *, port: int, host: str = "127.0.0.1", at: datetime | None = None) -> None:
    """`amends up`: until SIGTERM."""
    async with running(process, at=at) as product:
        server = HttpServer(product.app, host=host, port=port)
        await server.start()
        release_collector()
        print(f"amends is up at {server.url}{' (sandbox, key: sandbox)' if process.sandbox else ''}", flush=True)
        if not process.sandbox and process.config is None:
            print(_HINT, file=sys.stderr, flush=True)
        await until_told_to_stop(product.services)
        await server.drain()
        await server.stop()
