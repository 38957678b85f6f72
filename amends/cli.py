"""The command line. Errors are one clear line on stderr: exit 2 for usage and configuration, 1 for what failed."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError

from amends.collector import hold_collector
from amends.commands import configuration, db, inspect, messages, playbooks, rehearsal
from shared import crashpoints, logs
from shared.clock import parse_time
from shared.errors import ConfigurationError, Refusal

app = typer.Typer(
    help="After-sales cases for marketplace sellers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(playbooks.app, name="playbook")
app.add_typer(messages.app, name="message")
app.add_typer(inspect.parked, name="parked")
app.add_typer(inspect.deliveries, name="deliveries")
app.add_typer(db.app, name="db")
app.add_typer(configuration.app, name="config")
app.command("resync")(inspect.resync)
app.command("rehearse")(rehearsal.rehearse)

Data = Annotated[Path | None, typer.Option("--data", help="Folder of the SQLite files (default: ./var).")]
Accounts = Annotated[Path | None, typer.Option("--config", help="The accounts file (default: $AMENDS_CONFIG).")]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Test clock, simulators, the key `sandbox`.")]
At = Annotated[str | None, typer.Option("--at", help="With --sandbox: the time its clock starts at (ISO 8601).")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]


@app.command()
def up(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    host: Host = "127.0.0.1",
    data: Data = None,
    config: Accounts = None,
    sandbox: Sandbox = False,
    at: At = None,
) -> None:
    """All three services in one process: SQLite, in-process bus, one port."""
    hold_collector()
    from amends import embedded

    process = _process(data, config, sandbox)
    _run(embedded.run(process, port=port, host=host, at=_moment(at, process.sandbox)))


def _service(name: str, default_port: int) -> None:
    def command(
        port: Annotated[int, typer.Option(help="0 takes a free one.")] = default_port,
        host: Host = "127.0.0.1",
        data: Data = None,
        config: Accounts = None,
        sandbox: Sandbox = False,
        at: At = None,
    ) -> None:
        hold_collector()
        from amends import apart

        process = _process(data, config, sandbox)
        _run(apart.run(process, name, port=port, host=host, at=_moment(at, process.sandbox)))

    app.command(name, help=f"The service {name} as a process of its own; needs a broker.")(command)


for _name, _port in (("intake", 8001), ("policy", 8002), ("notifier", 8003)):
    _service(_name, _port)


@app.command()
def demo() -> None:
    """Plays signed webhooks of every marketplace through the whole product on a test clock, and ends."""
    from importlib import import_module

    raise typer.Exit(int(import_module("amends.demo").run() or 0))


@app.command()
def version() -> None:
    """The version of this amends."""
    from importlib.metadata import version as installed

    print(installed("amends"))


def _process(data: Path | None, config: Path | None, sandbox: bool) -> Any:
    from shared.settings import Process

    process = Process.from_env(os.environ, data_dir=data, config=config, sandbox=sandbox)
    crashpoints.arm(process.crashpoint)
    logs.configure(process.log_format, process.log_level)
    return process


def _moment(text: str | None, sandbox: bool) -> datetime | None:
    if text is None:
        return None
    if not sandbox:
        raise ConfigurationError(["--at is for --sandbox only"])
    try:
        return parse_time(text)
    except ValueError:
        raise ConfigurationError(['--at must be ISO 8601 with a zone, like "2026-11-20T09:00:00Z"']) from None


def _run(work: Coroutine[Any, Any, None]) -> None:
    from amends import loop

    loop.run(work)


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """What was expected to go wrong is told in one line each; anything else is a bug and shows its trace."""
    logs.configure("console", "warning")
    try:
        return int(app(args, prog_name="amends", standalone_mode=False) or 0)
    except NoArgsIsHelpError as fault:
        print(fault.format_message(), file=sys.stderr)
        return 2
    except ClickException as fault:
        return _told([fault.format_message()], 2)
    except ConfigurationError as fault:
        return _told(fault.faults, 2)
    except Refusal as fault:
        return _told([fault.detail or fault.code], 2 if fault.code == "usage" else 1)
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as fault:
        from amends.outages import outage

        line = outage(fault)
        if line is None:
            raise
        return _told([line], 1)


def _told(lines: list[str], code: int) -> int:
    for line in lines:
        print(f"amends: {line}", file=sys.stderr)
    return code
