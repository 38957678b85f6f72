"""notifier's ASGI application."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from shared import problems
from shared.auth import Keys


def make(keys: Keys, routers: Sequence[APIRouter]) -> FastAPI:
    api = FastAPI(title="Amends notifier", docs_url="/docs", redoc_url=None)
    api.state.keys = keys
    problems.install(api)
    for router in routers:
        api.include_router(router)
    return api
