"""A seller's own templates over ours: whose text is sent, and what is refused when they are loaded, with file and line."""

import os
from pathlib import Path
from typing import Any

import pytest

from amends.commands import configuration
from services.notifier import rules
from services.notifier.composer import Composer
from services.notifier.render import MAX_BYTES
from services.notifier.trial import samples
from shared.errors import ConfigurationError
from shared.manifest import Purpose, Variable
from shared.registry import Registry

REGISTRY = Registry()
KNOWN = {"order_id": "O-7", "amount": {"value": "5.00", "currency": "EUR"}, "item": "a lamp"}
ACCOUNTS = """
accounts:
  - {id: shop, marketplace: generic, secrets: {signing_secret: whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=}}
templates: ./mine
"""


def laid(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "mine"


def composer(over: Path, *marketplaces: str) -> Composer:
    return Composer(REGISTRY, set(marketplaces) or {"generic"}, over=over)


def faults(tmp_path: Path, files: dict[str, str], *marketplaces: str) -> list[str]:
    over = laid(tmp_path, files)
    with pytest.raises(ConfigurationError) as caught:
        composer(over, *marketplaces)
    return [fault.removeprefix(f"{over}/") for fault in caught.value.faults]


def test_his_text_goes_before_ours_and_ours_is_there_for_the_rest(tmp_path: Path) -> None:
    over = laid(tmp_path, {"offer_refund/de.j2": "Wir erstatten {{ amount }} zur Bestellung {{ order_id }}."})
    made = composer(over)
    german = made.preview("generic", "offer_refund", "de", KNOWN)
    assert (german.body, german.subject) == (
        "Wir erstatten 5,00\xa0€ zur Bestellung O-7.",
        "Bestellung O-7: unser Angebot",
    )
    assert (made.preview("generic", "offer_refund", "fr", KNOWN).body or "").startswith("Bonjour,")
    ours = Composer(REGISTRY, {"generic"}).preview("generic", "offer_refund", "de", KNOWN)
    assert german.template_hash != ours.template_hash


def test_what_he_words_is_held_against_what_bad_texts_read_like_and_our_words_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template of his and a text typed in are read by the classifier, a template of ours is not."""
    hint = "Help us and we help you: when the words on our page are kinder, your money goes out."
    made = composer(laid(tmp_path, {"offer_refund/en.j2": hint + " {{ amount }}"}))
    his, typed = made.preview("generic", "offer_refund", "en", KNOWN), made.preview_text("generic", hint)
    for verdict in (his.verdict, typed.verdict):
        assert verdict is not None and verdict.action == "hold"
        assert [v.why.startswith("reads like: ") for v in verdict.violations] == [True]
    monkeypatch.setattr(rules, "likeness", None)
    ours = made.preview("generic", "offer_refund", "de", KNOWN)
    assert ours.verdict is not None and ours.verdict.ok


def test_which_of_his_a_person_has_to_agree_to_each_time_is_told_when_they_are_loaded(tmp_path: Path) -> None:
    hint = "Help us and we help you: when the words on our page are kinder, your money goes out."
    over = laid(tmp_path, {"offer_refund/en.j2": hint, "offer_refund/de.j2": "Wir erstatten {{ amount }}."})
    (said,) = composer(over).waiting
    assert said.startswith(f"{over}/offer_refund/en.j2:1: waits for a person each time, by CR-")
    assert " of generic: reads like: " in said
    assert Composer(REGISTRY, {"generic"}).waiting == ()


@pytest.mark.parametrize(
    ("begins", "action"),
    [
        ("{# agreed: Ann, 2026-11-22 #}", "send"),
        ("{#- agreed: Ann -#}\n", "send"),
        ("{# agreed: #}", "hold"),
        ("", "hold"),
    ],
)
def test_one_that_a_person_has_agreed_to_is_not_held_for_how_it_reads(tmp_path: Path, begins: str, action: str) -> None:
    hint = "Help us and we help you: when the words on our page are kinder, your money goes out."
    made = composer(laid(tmp_path, {"offer_refund/en.j2": begins + hint}))
    verdict = made.preview("generic", "offer_refund", "en", KNOWN).verdict
    assert verdict is not None and verdict.action == action
    assert bool(made.waiting) == (action == "hold")


def test_agreeing_to_one_lets_no_word_go_that_a_rule_forbids(tmp_path: Path) -> None:
    found = faults(
        tmp_path, {"offer_refund/en.j2": "{# agreed: Ann #}Change your review, then we refund {{ amount }}."}
    )
    assert found[0].startswith("offer_refund/en.j2:1: breaks CR-ALL-03 of generic")


def test_a_marketplaces_own_text_goes_before_the_one_for_all(tmp_path: Path) -> None:
    texts = {"offer_refund/en.j2": "All: {{ amount }}", "aliexpress/offer_refund/en.j2": "There: {{ amount }}"}
    made = composer(laid(tmp_path, texts), "generic", "aliexpress")
    assert made.preview("aliexpress", "offer_refund", "en", KNOWN).body == "There: €5.00"
    assert made.preview("generic", "offer_refund", "en", KNOWN).body == "All: €5.00"


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("offer_refund/en.j2", "Hello\n{{ config }}", "offer_refund/en.j2:2: config is no variable of this purpose"),
        ("offer_refund/en.j2", "{{ name.__class__ }}", "offer_refund/en.j2:1: attributes are not allowed"),
        ("offer_refund/en.j2", "Hello\n\n{% include 'x' %}", "offer_refund/en.j2:3: Include is not allowed"),
        (
            "offer_refund/en.j2",
            "{% if item %}",
            "offer_refund/en.j2:1: Unexpected end of template. Jinja was looking for",
        ),
        ("offer_refund/en.j2", "x" * (MAX_BYTES + 1), f"offer_refund/en.j2:1: longer than {MAX_BYTES} bytes"),
        (
            "offer_refund/en.subject.j2",
            "Hello",
            "offer_refund/en.subject.j2: there is no en.j2 that it is the subject of",
        ),
        ("offer_refund/martian.j2", "Hello", "offer_refund/martian.j2: martian is no language"),
        (
            "offer_everything/en.j2",
            "Hello",
            "offer_everything: offer_everything is neither a purpose nor a marketplace",
        ),
        ("en.j2", "Hello", "en.j2: templates lie in a folder with their purpose's name"),
        (
            "offer_repair/ru.j2",
            "{{ repair_days|plural(other='x') }}",
            "offer_repair/ru.j2:1: plural needs the forms few, many, one",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_line(tmp_path: Path, name: str, text: str, fault: str) -> None:
    assert [one.startswith(fault) for one in faults(tmp_path, {name: text})][:1] == [True]


def test_words_for_a_marketplace_without_an_account_are_looked_at_too(tmp_path: Path) -> None:
    found = faults(tmp_path, {"aliexpress/offer_refund/en.j2": "{{ config }}"}, "generic")
    assert found == ["aliexpress/offer_refund/en.j2:1: config is no variable of this purpose"]


def test_a_value_that_may_be_unknown_is_not_said_without_asking(tmp_path: Path) -> None:
    found = faults(tmp_path, {"offer_refund/en.j2": "{{ item }}: {{ amount }}"})
    assert "offer_refund/en.j2:1: the template failed: UndefinedError where item is not known" in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "Hello,\nwe refund {{ amount }}.\nPlease change your review to five stars then.",
            ":3: breaks CR-ALL-03 of generic",
        ),
        ("{{ amount }}, or write to me@example.com", ":1: breaks CR-ALL-01 of generic"),
        ("{% if item %}{{ amount }}{% else %}{{ amount }} by PayPal{% endif %}", ":1: breaks CR-ALL-02 of generic"),
        ("{{ amount }} <b>now</b>", ":1: breaks CR-ALL-09 of generic"),
        ("{# nothing is said #}", ":1: says nothing"),
    ],
)
def test_a_text_that_could_never_leave_is_refused_before_it_is_needed(tmp_path: Path, text: str, fault: str) -> None:
    found = faults(tmp_path, {"offer_refund/en.j2": text})
    assert any(one.startswith(f"offer_refund/en.j2{fault}") for one in found), found


def test_a_subject_is_held_against_the_rules_too(tmp_path: Path) -> None:
    files = {
        "offer_refund/en.j2": "{{ amount }}",
        "offer_refund/en.subject.j2": "Order {{ order_id }}\nmail me@example.com",
    }
    assert faults(tmp_path, files)[0].startswith("offer_refund/en.subject.j2:2: breaks CR-ALL-01 of generic")


def test_each_plural_form_and_example_is_tried() -> None:
    purpose = Purpose(
        purpose="x",
        variables={
            "order_id": Variable(type="text"),
            "days": Variable(type="int", required=False),
            "result": Variable(type="text", examples=["ok", "wrong"]),
            "parts": Variable(type="list", required=False, examples=["a", "b"]),
        },
    )
    tried: list[dict[str, Any]] = list(samples(purpose))
    assert {one.get("days") for one in tried} >= {None, 1, 2, 5, 21}
    assert {one.get("result") for one in tried} >= {"ok", "wrong"}
    assert {tuple(one.get("parts", ())) for one in tried} >= {(), ("a",), ("b",), ("a", "b")}


def test_a_draft_for_the_marketplace_is_previewed_and_never_a_message(tmp_path: Path) -> None:
    params = {
        "order_id": "O-7",
        "contacts": ["9 January: asked for photos"],
        "offered": "a full refund after the return",
    }
    made = Composer(REGISTRY, {"generic"})
    written = made.preview("generic", "claim_representation", "en", params)
    assert written.verdict is not None and written.verdict.ok
    assert not made.book("generic").allows("claim_representation", None)


def test_rules_that_allow_a_draft_as_a_message_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "manifest.toml").write_text('name = "acme"\ntitle = "Acme"\n')
    (folder / "rules.yaml").write_text("purposes: {appeal_text: []}\n")
    with pytest.raises(ConfigurationError, match="appeal_text is no message to a buyer"):
        Composer(Registry(tmp_path), {"acme"})


def test_config_check_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AMENDS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "amends.yaml").write_text(ACCOUNTS)
    laid(tmp_path, {"offer_refund/en.j2": "{{ amount }}"})
    configuration.check(tmp_path / "amends.yaml", None, as_json=False)
    assert "is sound" in capsys.readouterr().out
    laid(tmp_path, {"offer_refund/de.j2": "{{ betrag }}"})
    with pytest.raises(ConfigurationError) as caught:
        configuration.check(tmp_path / "amends.yaml", None, as_json=False)
    assert [
        fault.endswith("offer_refund/de.j2:1: betrag is no variable of this purpose") for fault in caught.value.faults
    ] == [True]


def test_a_folder_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "amends.yaml").write_text(ACCOUNTS)
    with pytest.raises(ConfigurationError, match=r"amends\.yaml:4 templates: is no folder"):
        configuration.check(tmp_path / "amends.yaml", None, as_json=False)
