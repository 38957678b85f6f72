"""policy's ASGI application: the routers under one roof, nothing else."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from shared import problems
from shared.auth import Keys

_ABOUT = "Cases, decisions, deadlines, tasks: the operators' and other systems' API."


def make(keys: Keys, routers: Sequence[APIRouter]) -> FastAPI:
    app = FastAPI(title="Amends policy", description=_ABOUT, redoc_url=None)
    app.state.keys = keys
    problems.install(app)
    for router in routers:
        app.include_router(router)
    return app
