"""What decides: playbooks pinned by version, terms from the configuration, both swapped only as a whole."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from services.policy import shipped
from services.policy.core.load import load
from services.policy.rehearse import rehearse
from services.policy.terms import TermsBook, terms_of
from shared.accounts import AccountEntry, Config
from shared.clock import TestClock
from shared.domain.playbook import Playbook
from shared.errors import ConfigurationError
from shared.ports import Account
from shared.registry import Registry
from tests.services.policy.policy_rig import DATA, Rig, build, charts, config

RETURN = ("generic", "return")


def changed(version: str) -> dict[tuple[str, str], Playbook]:
    """The test's return playbook where an authorised return is waited for in a state of another name."""
    text = (DATA / "return.yaml").read_text().replace("test-1", version).replace("returning", "on_its_way")
    return {**charts(), RETURN: load(text, "changed.yaml")}


@pytest.mark.asyncio
async def test_the_same_version_with_other_content_is_refused_and_nothing_is_swapped(rig: Rig) -> None:
    with pytest.raises(ConfigurationError, match=r"changed.yaml:1 .*version test-1 of generic/return"):
        await rig.policy.world.playbooks.adopt(rig.database, changed("test-1"), rig.clock.now())
    assert rig.policy.world.playbooks.current[RETURN] == charts()[RETURN]
    rows = await rig.rows("SELECT version FROM playbooks WHERE kind = 'return'")
    assert [row["version"] for row in rows] == ["test-1"]


@pytest.mark.asyncio
async def test_an_open_case_keeps_its_version_over_a_change_and_a_restart(rig: Rig, clock: TestClock) -> None:
    await rig.take(rig.fact("return.requested"))
    await rig.policy.world.playbooks.adopt(rig.database, changed("test-2"), clock.now())
    restarted = build(rig.database, clock)
    restarted.policy.world.playbooks.__init__(changed("test-2"))  # type: ignore[misc]
    await restarted.take(rig.fact("return.requested", external_id="R-2"))
    await restarted.take(rig.fact("return.authorised"), rig.fact("return.authorised", external_id="R-2"))
    found = {case.external_id: (case.playbook_version, case.state) for case in await rig.cases()}
    assert found == {"R-1": ("test-1", "returning"), "R-2": ("test-2", "on_its_way")}
    assert (await rehearse(rig.database)).ok


@pytest.mark.asyncio
async def test_a_removed_account_is_closed_and_its_clocks_become_tasks(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    registry = Registry()
    rig.policy.world.terms.take_over(TermsBook(config(registry, "other"), registry))
    before = len(await rig.rows("SELECT id FROM outbound WHERE type = 'amends.errand.planned.v1'"))
    rig.clock.advance(timedelta(days=5))
    await rig.settle()
    assert len(await rig.rows("SELECT id FROM outbound WHERE type = 'amends.errand.planned.v1'")) == before
    kinds = {row["kind"] for row in await rig.rows("SELECT kind FROM tasks WHERE status = 'open'")}
    assert "deadline_at_risk" in kinds
    assert (await rehearse(rig.database)).ok


def test_terms_hold_what_the_account_and_its_marketplace_allow() -> None:
    registry = Registry()
    manifest = registry.manifest("generic")
    account = Account(
        id="shop",
        marketplace="generic",
        locale="de",
        time_zone="Europe/Berlin",
        settings={"approve_refund_above": ["50.00 USD", "5000 JPY"], "shop": "Desk & Co", "capabilities": ["refund"]},
    )
    terms = terms_of(AccountEntry(account, {}, {}), manifest, {"free_text": ()}, {})
    assert terms.money == {"approve_refund_above": {"USD": 5000, "JPY": 5000}}
    assert (terms.shop, terms.locale, terms.time_zone) == ("Desk & Co", "de", "Europe/Berlin")
    assert manifest.capability("refund") == "api"
    assert terms.capabilities["refund"] == "assisted"
    assert terms.capabilities["authorise"] == str(manifest.capability("authorise"))
    assert terms.settings == {}


def test_shipped_playbooks_are_sound_and_an_overlay_replaces_one_of_them(tmp_path: Path) -> None:
    plain = shipped.read_all(Registry(), None)
    assert {("generic", "return"), ("aliexpress", "dispute")} <= plain.keys()
    own = tmp_path / "generic"
    own.mkdir()
    text = Path(plain[RETURN].path).read_text()
    (own / "return.yaml").write_text(text.replace(f'"{plain[RETURN].version}"', '"mine-1"'))
    laid = shipped.read_all(Registry(), tmp_path)
    assert laid[RETURN].version == "mine-1"
    assert laid.keys() == plain.keys()


def test_faults_of_all_playbooks_are_named_at_once(tmp_path: Path) -> None:
    own = tmp_path / "generic"
    own.mkdir()
    (own / "return.yaml").write_text("playbook: return\nmarketplace: generic\nversion: '1'\nstates: 5\n")
    (own / "refund.yaml").write_text((DATA / "claim.yaml").read_text().replace("to: decided", "to: nowhere"))
    with pytest.raises(ConfigurationError) as told:
        shipped.read_all(Registry(), tmp_path)
    text = "\n".join(told.value.faults)
    assert "return.yaml" in text
    assert "refund.yaml" in text
    assert "nowhere" in text


def test_a_rules_file_that_is_none_is_named(tmp_path: Path) -> None:
    import shutil

    shop = tmp_path / "shop"
    shutil.copytree(Registry().folder("generic"), shop)
    manifest = (shop / "manifest.toml").read_text().replace('name = "generic"', 'name = "shop"')
    (shop / "manifest.toml").write_text(manifest)
    (shop / "rules.yaml").write_text("purposes: [1, 2]\n")
    registry = Registry(tmp_path)
    with pytest.raises(ConfigurationError, match=r"rules\.yaml"):
        TermsBook(Config({}, registry), registry)


def test_hashes_tell_terms_apart() -> None:
    registry = Registry()
    book = TermsBook(config(registry, "shop", "other"), registry)
    first, again, other = book.of("shop"), book.of("shop"), book.of("other")
    assert first.hash == again.hash != other.hash
    assert msgspec.structs.replace(first.terms, account="other") == other.terms
    assert book.of("gone").terms.closed
