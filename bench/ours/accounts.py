"""The seller of the bench: a few stores on the `generic` marketplace, their messages going to the sink."""

from collections.abc import Sequence
from pathlib import Path

from bench.contestant import Env

STORES = 8
_PER_SECOND = 1_000_000
"""The pace of one account must not be what is measured."""


def ids() -> list[str]:
    return [f"bench-{n}" for n in range(1, STORES + 1)]


def write(env: Env) -> Path:
    """The accounts file."""
    path = env.folder / "accounts.yaml"
    path.write_text("accounts:\n" + "".join(_account(id_, env) for id_ in ids()))
    return path


def urls(port: int) -> Sequence[str]:
    return [f"http://127.0.0.1:{port}/webhooks/generic/{id_}" for id_ in ids()]


def _account(id_: str, env: Env) -> str:
    return f"""\
  - id: {id_}
    marketplace: generic
    locale: en
    time_zone: Europe/Berlin
    base_url: {env.sink}
    secrets: {{signing_secret: {env.secret}}}
    settings: {{messages_per_second: {_PER_SECOND}}}
"""
