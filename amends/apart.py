"""One service as a process of its own: `amends intake|policy|notifier`."""

import re
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Any

from amends.collector import release_collector
from amends.embedded import clock_of, read_config
from amends.serve import HttpServer, until_told_to_stop
from shared import sandbox
from shared.bus import open_bus
from shared.bus.port import Topology
from shared.errors import ConfigurationError
from shared.metrics import Metrics
from shared.settings import Process

PORTS = {"intake": 8001, "policy": 8002, "notifier": 8003}
_SANDBOX = re.compile(r"^/sandbox/(clock|drain)")


async def run(process: Process, name: str, *, port: int, host: str = "127.0.0.1", at: datetime | None = None) -> None:
    """Until SIGTERM. Raises ConfigurationError or Unavailable with clear lines when it cannot start."""
    if process.embedded:
        raise ConfigurationError(
            ["AMENDS_BROKER_URL: a service of its own needs a broker (amqp://…); `amends up` does not"]
        )
    clock = clock_of(process, at)
    bus = open_bus(process.broker_url, Topology(process.partitions))
    build = import_module(f"services.{name}.wiring").build
    read = partial(read_config, process, name)
    service = build(process, read(), clock, bus, metrics=Metrics(), reload=read)
    await bus.start()
    try:
        await service.start()
        try:
            await _serve(service, clock, process, port, host)
        finally:
            await service.stop()
    finally:
        await bus.stop()


async def _serve(service: Any, clock: Any, process: Process, port: int, host: str) -> None:
    app = _Rehearsed(service.app, sandbox.application(clock, [service])) if process.sandbox else service.app
    server = HttpServer(app, host=host, port=port)
    await server.start()
    release_collector()
    print(f"amends {service.name} is up at {server.url}", flush=True)
    await until_told_to_stop([service])
    await server.drain()
    await server.stop()


class _Rehearsed:
    """The service, with the sandbox's clock and drain in front."""

    def __init__(self, app: Any, sandboxed: Any) -> None:
        self._app = app
        self._sandboxed = sandboxed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        inside = scope["type"] == "http" and _SANDBOX.match(scope["path"])
        await (self._sandboxed if inside else self._app)(scope, receive, send)
