"""What every marketplace's folder must answer for, whoever wrote it. It walks the folders; nothing is registered here."""

import ast
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifier import rulebook
from services.policy import shipped
from shared.domain.errands import ACTS
from shared.json_reader import Unreadable
from shared.ports import Account, Inbound, NotGenuine
from shared.registry import Registry

REGISTRY = Registry()
NAMES = REGISTRY.names()
BRONZE = ("signature_refused", "unknown_event_kept", "fixture_per_event", "readme_with_sources")
SCALE = {
    *BRONZE, "replay_window", "duplicates_and_disorder", "states_reachable_and_leavable", "clocks_with_sources",
    "channel_limits", "backfill", "rate_limit_honoured", "sandbox_run",
}  # fmt: skip
FACETS = ("webhook", "records", "source", "channel")
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
HEADERS = st.sampled_from(
    ["authorization", "x-api-key", "webhook-id", "webhook-timestamp", "webhook-signature", "x-signature", "sign"]
)


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_is_answered_and_what_everybody_needs_is_done(name: str) -> None:
    scale = REGISTRY.manifest(name).scale
    assert set(scale) == SCALE
    assert [key for key in BRONZE if scale[key] == "todo"] == []
    reasons = [answer.exempt for answer in scale.values() if not isinstance(answer, str)]
    assert all(len(reason) > 20 for reason in reasons), "an exemption has its reason in words"


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_links_and_the_dates_they_were_read(name: str) -> None:
    text = (REGISTRY.folder(name) / "README.md").read_text("utf-8")
    assert re.search(r"https?://", text) and re.search(r"\b20\d\d-\d\d-\d\d\b", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_act_of_the_api_and_every_message_says_how_a_doubt_is_resolved(name: str) -> None:
    manifest = REGISTRY.manifest(name)
    if REGISTRY.channels(name) is None:
        return
    through_api = {act for act in ACTS if manifest.capability(act) == "api"}
    assert through_api | {"message"} <= set(manifest.abilities)


@pytest.mark.parametrize("name", NAMES)
def test_a_facet_imports_no_other_service_and_reads_no_clock(name: str) -> None:
    for path in sorted(REGISTRY.folder(name).rglob("*.py")):
        for module in imported(path):
            assert not module.startswith(("services", "amends", "tests", "shared.settings", "shared.accounts")), path
            own = module.removeprefix(f"shared.marketplaces.{name}.")
            if path.stem in FACETS:
                assert own == module or own not in set(FACETS) - {path.stem}, f"{path}: {module}"


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_rules_allow_known_purposes_only_and_each_rule_has_its_source(name: str) -> None:
    path = REGISTRY.rules_file(name)
    assert path is not None
    book = rulebook.load(path, name)
    assert set(book.purposes) - {"free_text"} <= set(REGISTRY.purposes())
    assert all(rule.source and rule.about for rule in book.rules)


def test_every_shipped_playbook_passes_the_checker() -> None:
    books = shipped.read_all(REGISTRY, None)
    assert {name for name, _ in books} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_simulator_may_remember_over_a_restart(name: str) -> None:
    simulator = REGISTRY.simulators(name)
    assert simulator is not None, "without one nothing can be rehearsed"
    assert list(inspect.signature(simulator.create).parameters) == ["account", "secrets", "clock", "keep"]


def secrets_of(name: str) -> dict[str, str]:
    names = REGISTRY.manifest(name).secret_names("webhook")
    return dict.fromkeys(names, "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=")


@pytest.mark.parametrize("name", [name for name in NAMES if REGISTRY.webhooks(name)])
@settings(max_examples=80, deadline=None)
@given(headers=st.dictionaries(HEADERS, st.lists(st.text(max_size=80), max_size=2)), body=st.binary(max_size=200))
def test_nothing_unsigned_is_genuine_and_garbage_never_raises_anything_else(
    name: str, headers: dict[str, Any], body: bytes
) -> None:
    webhook = REGISTRY.webhooks(name)
    assert webhook is not None
    with pytest.raises(NotGenuine):
        webhook.verify(Inbound(body, headers), Account("a", name), secrets_of(name), NOW)


@pytest.mark.parametrize("name", [name for name in NAMES if REGISTRY.webhooks(name)])
@settings(max_examples=80, deadline=None)
@given(body=st.binary(max_size=200) | st.sampled_from([b"null", b"[]", b"7", b'"x"', b"{}", b"[" * 90, b'{"data":7}']))
def test_genuine_garbage_is_unreadable_or_kept_as_unknown_and_still_has_a_key(name: str, body: bytes) -> None:
    webhook = REGISTRY.webhooks(name)
    assert webhook is not None
    inbound = Inbound(body, {})
    assert isinstance(webhook.dedupe_key(inbound), str)
    try:
        webhook.parse(inbound, Account("a", name))
    except Unreadable as fault:
        assert fault.path and fault.why


@pytest.mark.parametrize("name", [name for name in NAMES if REGISTRY.webhooks(name)])
def test_a_webhook_has_an_answer_for_everything(name: str) -> None:
    webhook = REGISTRY.webhooks(name)
    assert webhook is not None
    for answer in ("accepted", "unreadable", "refused", "too_large", "unavailable", "unknown_account"):
        reply = webhook.reply(answer)  # type: ignore[arg-type]
        kept = ("accepted", "unreadable") if signs(name) else ("accepted",)
        assert (200 <= reply.status < 300) == (answer in kept), answer


def signs(name: str) -> bool:
    """What nobody signed and nobody can read is not known to be the marketplace's: it may be refused."""
    return bool(REGISTRY.manifest(name).secret_names("webhook"))
