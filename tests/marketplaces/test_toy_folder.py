"""The made-up marketplace outside the tree: its fixtures, playbook and rules hold like those of a shipped one."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.notifier import rulebook
from services.policy.core.check import check
from services.policy.core.load import load
from services.policy.shipped import known
from shared.clock import parse_time
from shared.domain.facts import Draft, encode
from shared.json_reader import read
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, Unmapped
from shared.registry import Registry

REGISTRY = Registry(Path(__file__).parents[1] / "data" / "marketplaces")
FOLDER = REGISTRY.folder("toy")
ACCOUNT = Account("toy-a", "toy")


@pytest.mark.parametrize("event", REGISTRY.manifest("toy").events)
def test_fixture(event: str) -> None:
    expected = json.loads((FOLDER / "fixtures" / f"{event}.expect.json").read_bytes())
    drafts, told = parsed(event, expected)
    wanted = [msgspec.convert(draft, Draft) for draft in expected.get("drafts", [])]
    assert [json.loads(encode(d)) for d in drafts] == [json.loads(encode(d)) for d in wanted]
    assert told == (expected.get("why") or expected.get("code") or expected.get("ref"))


def parsed(event: str, expected: dict[str, Any]) -> tuple[Any, str | None]:
    body = (FOLDER / "fixtures" / f"{event}.json").read_bytes()
    if expected["facet"] == "records":
        previous = expected.get("previous")
        before = read((FOLDER / "fixtures" / f"{previous}.json").read_bytes()) if previous else None
        records = REGISTRY.records("toy")
        assert records is not None
        return records.facts(read(body), before, ACCOUNT, parse_time("2026-01-10T12:00:00Z")), None
    webhook = REGISTRY.webhooks("toy")
    assert webhook is not None
    match webhook.parse(Inbound(body, {}), ACCOUNT):
        case Facts(drafts):
            return drafts, None
        case Ignored(why):
            return (), why
        case Unmapped(code, drafts):
            return drafts, code
        case NeedsFetch(ref, drafts):
            return drafts, ref


def test_the_playbook_passes_the_checker() -> None:
    for path in REGISTRY.playbook_files("toy"):
        playbook = load(path.read_text(), str(path))
        assert check(playbook, known(REGISTRY, "toy", playbook.kind)) == []


def test_the_rules_load_and_allow_what_the_playbook_says() -> None:
    path = REGISTRY.rules_file("toy")
    assert path is not None
    assert rulebook.load(path, "toy").allows("acknowledge_request", "awaiting_seller")


def test_every_facet_is_found() -> None:
    assert REGISTRY.sources("toy") and REGISTRY.channels("toy") and REGISTRY.simulators("toy").create
