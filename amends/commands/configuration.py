"""`amends config`: what a start would refuse, told before anything starts."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amends.output import show
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from services.notifier.composer import Composer
    from shared.settings import Config

app = typer.Typer(help="The accounts file and the environment.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The accounts file (default: $AMENDS_CONFIG).")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", help="The same, as `amends up` takes it.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Every mistake of the environment, the accounts, keys, playbooks and marketplaces, with line and path."""
    from shared.settings import Process, load_config, load_keys

    process = Process.from_env(os.environ, config=file or config_file)
    if process.config is None:
        raise ConfigurationError(["no accounts file: give one, or set AMENDS_CONFIG"])
    faults: list[str] = []
    config = _kept(faults, load_config, process.config, os.environ)
    _kept(faults, load_keys, process.api_keys_file)
    composer: Composer | None = _kept(faults, _composer, config) if config is not None else None
    for look in _looks(config) if config is not None else ():
        _kept(faults, look)
    if faults or config is None or composer is None:
        raise ConfigurationError(list(dict.fromkeys(faults)))
    accounts = [{"account": id_, "marketplace": e.account.marketplace} for id_, e in config.accounts.items()]
    if as_json:
        show(accounts, as_json=True)
    else:
        print(f"{process.config} is sound: {len(accounts)} account{'' if len(accounts) == 1 else 's'}")
        for said in composer.waiting:
            print(said)


def _kept(faults: list[str], work: Callable[..., Any], *args: Any) -> Any:
    try:
        return work(*args)
    except ConfigurationError as fault:
        faults += fault.faults
        return None


def _composer(config: "Config") -> "Composer":
    """Templates with the seller's own laid over them, and rules."""
    from services.notifier.composer import Composer

    names = {entry.account.marketplace for entry in config.accounts.values()}
    return Composer(config.registry, names, over=config.templates)


def _looks(config: "Config") -> Iterator[Callable[[], object]]:
    """Playbooks with the seller's own laid over them, and every facet of the marketplaces with an account."""
    from functools import partial

    from services.policy.shipped import read_all

    registry = config.registry
    yield partial(read_all, registry, config.playbooks)
    names = {entry.account.marketplace for entry in config.accounts.values()}
    for name in sorted(names):
        for facet in (registry.webhooks, registry.records, registry.sources, registry.channels):
            yield partial(facet, name)
    for account in config.accounts:
        yield partial(_channel, config, account)


def _channel(config: "Config", account: str) -> None:
    """Raises ConfigurationError: settings that do not go together are the channel's own to find."""
    from shared.clock import SystemClock
    from shared.http import Http

    entry = config.accounts[account]
    make = config.registry.channels(entry.account.marketplace)
    if make is not None:
        make(entry.account, config.secrets_for(account, "channel"), Http(), SystemClock())
