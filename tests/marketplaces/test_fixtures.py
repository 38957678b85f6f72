"""Every marketplace's fixtures: what is declared is there, and each one parses to exactly what its expectation says.

`fixtures/<event>.json` is the marketplace's own document (a push's body or a record of its read API) and
`fixtures/<event>.expect.json` beside it what comes of it; docs/marketplaces/writing-one.md has the form.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.clock import parse_time
from shared.domain.case import FIELDS
from shared.domain.case import KINDS as CASE_KINDS
from shared.domain.facts import KINDS, Draft, encode
from shared.json_reader import read
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, Unmapped
from shared.registry import Registry

REGISTRY = Registry()
EXPECT = ".expect.json"


class Expectation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    facet: str
    headers: dict[str, str] = {}
    query: str = ""
    previous: str | None = None
    now: str = "2026-01-10T12:00:00Z"
    settings: dict[str, Any] = {}
    parsed: str = "facts"
    why: str | None = None
    code: str | None = None
    ref: str | None = None
    drafts: list[dict[str, Any]] = []


def folder(name: str) -> Path:
    return REGISTRY.folder(name) / "fixtures"


def events(name: str) -> set[str]:
    return {p.name.removesuffix(".json") for p in folder(name).glob("*.json") if not p.name.endswith(EXPECT)}


def expectation(name: str, event: str) -> Expectation:
    return msgspec.json.decode((folder(name) / f"{event}{EXPECT}").read_bytes(), type=Expectation)


CASES = [(name, event) for name in REGISTRY.names() for event in sorted(events(name))]


@pytest.mark.parametrize("name", REGISTRY.names())
def test_declared_events_are_the_fixtures_and_each_has_its_expectation(name: str) -> None:
    expected = {p.name.removesuffix(EXPECT) for p in folder(name).glob(f"*{EXPECT}")}
    assert events(name), "a marketplace without a fixture is not known to work"
    assert set(REGISTRY.manifest(name).events) == events(name) == expected


@pytest.mark.parametrize(("name", "event"), CASES)
def test_a_fixture_means_what_its_expectation_says(name: str, event: str) -> None:
    expected = expectation(name, event)
    account = Account(f"{name}-test", name, settings=expected.settings)
    kind, detail, drafts = outcome(name, event, expected, account)
    assert plain(drafts) == [plain(msgspec.convert(draft, Draft)) for draft in expected.drafts]
    assert kind == expected.parsed
    assert detail == (expected.why or expected.code or expected.ref)
    for draft in drafts:
        check_draft(draft)


def outcome(
    name: str, event: str, expected: Expectation, account: Account
) -> tuple[str, str | None, tuple[Draft, ...]]:
    body = (folder(name) / f"{event}.json").read_bytes()
    if expected.facet == "records":
        facet = REGISTRY.records(name)
        assert facet is not None
        previous = expected.previous and read((folder(name) / f"{expected.previous}.json").read_bytes())
        drafts = facet.facts(read(body), previous or None, account, parse_time(expected.now))
        return "facts", None, tuple(drafts)
    webhook = REGISTRY.webhooks(name)
    assert expected.facet == "webhook" and webhook is not None
    headers = {key.lower(): (value,) for key, value in expected.headers.items()}
    match webhook.parse(Inbound(body, headers, query=expected.query), account):
        case Facts(drafts):
            return "facts", None, drafts
        case Ignored(why):
            return "ignored", why, ()
        case Unmapped(code, drafts):
            return "unmapped", code, drafts
        case NeedsFetch(ref, drafts):
            return "needs_fetch", ref, drafts


def check_draft(draft: Draft) -> None:
    assert draft.kind in KINDS
    assert draft.case_kind is None or draft.case_kind in CASE_KINDS
    assert draft.occurred_at.tzinfo is not None
    assert all(isinstance(ref, str) for ref in (*draft.refs, *draft.refs.values()))
    for field, value in draft.data.items():
        check_field(field, value)


def check_field(field: str, value: Any) -> None:
    match FIELDS.get(field):
        case "money":
            assert set(value) == {"value", "currency"} and isinstance(value["value"], str)
        case "time":
            assert isinstance(value if isinstance(value, datetime) else parse_time(value), datetime)
        case "bool":
            assert isinstance(value, bool)
        case "int":
            assert isinstance(value, int) and not isinstance(value, bool)
        case "text":
            assert isinstance(value, str)


def plain(value: Any) -> Any:
    return json.loads(encode(value))
