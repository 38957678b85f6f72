"""`/healthz` (alive), `/readyz` (can do its work), `/metrics`: without a key, the same on every service."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from shared.errors import Unavailable
from shared.metrics import CONTENT_TYPE, Metrics
from shared.problems import problem

Check = Callable[[], Awaitable[str | None]]
"""None: fine. Text, or anything raised: what is missing."""
_PATIENCE = 2.0


def router(checks: Mapping[str, Check], metrics: Metrics, service: str | None = None) -> APIRouter:
    """`checks` by the name of what is needed: `database`, `broker`, `clock`. Never a marketplace.

    `service`: the name under which a scrape tells whether all of them hold (`amends_ready`).
    """
    routes = APIRouter(tags=["health"])
    if service is not None:
        metrics.before_scrape.append(partial(_tell, metrics, service, checks))

    @routes.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get("/readyz", response_model=None)
    async def ready() -> Response:
        missing = await failing(checks)
        if missing:
            return problem(Unavailable("not ready: " + ", ".join(missing), code="not_ready", missing=missing))
        return JSONResponse({"status": "ready", "checks": sorted(checks)})

    @routes.get("/metrics", response_model=None)
    async def exposed() -> Response:
        return Response(await metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    return routes


async def _tell(metrics: Metrics, service: str, checks: Mapping[str, Check]) -> None:
    metrics.ready.labels(service).set(not await failing(checks))


async def failing(checks: Mapping[str, Check]) -> dict[str, str]:
    """Name -> why, of those that fail. All are asked at once, each for at most 2 s."""
    answers = await asyncio.gather(*(_asked(check) for check in checks.values()))
    return {name: why for name, why in zip(checks, answers, strict=True) if why}


async def _asked(check: Check) -> str | None:
    try:
        return await asyncio.wait_for(check(), _PATIENCE)
    except TimeoutError:
        return "no answer in time"
    except Exception as fault:
        return type(fault).__name__
