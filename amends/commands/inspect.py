"""Commands that look into a running amends and mend what got stuck: parked events, kept deliveries, republishing."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from amends.output import show
from amends.remote import Remote
from shared.clock import format_time, parse_time
from shared.errors import ConfigurationError

parked = typer.Typer(help="What was set aside because it failed alone.", no_args_is_help=True)
deliveries = typer.Typer(help="Deliveries as they came.", no_args_is_help=True)

Url = Annotated[str, typer.Option("--url", envvar="AMENDS_URL", help="Where amends answers.")]
Key = Annotated[str, typer.Option("--key", envvar="AMENDS_KEY", help="A key with the scope admin.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")]
Since = Annotated[str | None, typer.Option("--since", help="Only what is younger (ISO 8601).")]
Id = Annotated[str, typer.Argument(help="Its id, as the list shows it.")]
HERE = "http://127.0.0.1:8000"
_PARKED = ("service", "id", "account", "type", "why", "attempts", "parked_at", "retried_at")
_DELIVERIES = ("id", "account", "marketplace", "outcome", "received_at", "why")


@parked.command("list")
def parked_list(url: Url = HERE, key: Key = "", limit: Limit = 50, as_json: Json = False) -> None:
    """What waits for a person to look at it."""
    show(Remote(url, key).items("/v1/admin/parked", limit), as_json=as_json, columns=_PARKED, empty="nothing is parked")


@parked.command("show")
def parked_show(id_: Id, url: Url = HERE, key: Key = "", as_json: Json = False) -> None:
    """One of them, with its content."""
    show(Remote(url, key).get(f"/v1/admin/parked/{_safe(id_)}"), as_json=as_json)


@parked.command("retry")
def parked_retry(id_: Id, url: Url = HERE, key: Key = "", as_json: Json = False) -> None:
    """Handles it once more, now."""
    _done(Remote(url, key).post(f"/v1/admin/parked/{_safe(id_)}/retry"), as_json, "handed over once more")


@deliveries.command("list")
def deliveries_list(
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only these: failed, unmapped, ...")] = None,
    url: Url = HERE,
    key: Key = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """The newest first."""
    found = Remote(url, key).items("/v1/admin/deliveries", limit, account=account, outcome=outcome)
    show(found, as_json=as_json, columns=_DELIVERIES, empty="no deliveries")


@deliveries.command("replay")
def deliveries_replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Their ids; or choose by --outcome.")] = None,
    outcome: Annotated[str | None, typer.Option(help="All of these: failed, unmapped, ...")] = None,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    since: Since = None,
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Reads kept deliveries again, after the mapping was mended. Facts they already gave are not repeated."""
    if not ids and outcome is None:
        raise ConfigurationError(["say which: ids, or --outcome"])
    choice = {"ids": ids or None, "outcome": outcome, "account": account, "since": _moment(since)}
    chosen = {name: value for name, value in choice.items() if value is not None}
    show(Remote(url, key).post("/v1/admin/deliveries/replay", chosen), as_json=as_json)


def resync(since: Since = None, url: Url = HERE, key: Key = "", as_json: Json = False) -> None:
    """Publishes committed events again, after a broker was lost. Receivers swallow what they know."""
    _done(Remote(url, key).post("/v1/admin/resync", {"since": _moment(since)}), as_json, "published again")


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return format_time(parse_time(text))
    except ValueError:
        raise ConfigurationError(['--since must be ISO 8601 with a zone, like "2026-11-20T09:00:00Z"']) from None


def _safe(id_: str) -> str:
    return quote(id_, safe="")


def _done(answer: Any, as_json: bool, said: str) -> None:
    if as_json or answer:
        show(answer, as_json=as_json)
    else:
        print(said)
