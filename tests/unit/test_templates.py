"""Every message we ship: there in ten languages, made with anything a buyer may be called, allowed by the rules."""

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import meta, nodes

from services.notifier.render import NotRendered, Templates
from services.notifier.template_syntax import environment
from services.policy.core.load import load
from shared.manifest import Purpose
from shared.registry import Registry

COMMON = Path(__file__).parents[2] / "services" / "notifier" / "templates"
LOCALES = ("en", "zh-Hans", "zh-Hant", "ru", "es", "de", "fr", "pt-BR", "it", "ja")
REGISTRY = Registry()
PURPOSES = REGISTRY.purposes()
SHARED = sorted(name for name, purpose in PURPOSES.items() if purpose.marketplace is None)
MARKETPLACES = REGISTRY.names()
WRITER = Templates([COMMON], {name: PURPOSES[name] for name in SHARED})
SAMPLE: dict[str, Any] = {
    "order_id": "O-2001", "buyer_name": "Anna Nordin", "shop": "Nordlys", "item": "Desk lamp, blue",
    "amount": {"value": "39.90", "currency": "EUR"}, "items": ["photo_fault", "photo_outer_packaging"],
    "explanation": "The lamp was used outdoors, which its manual rules out.", "tracking_number": "RR000000002SE",
    "carrier": "PostNord", "ship_by": "2026-01-20T10:00:00Z", "seller_pays_freight": True,
    "substitute": "a green desk lamp", "days": "10–15", "shipped_on": "2026-01-02T08:00:00Z",
    "return_address": "Nordlys, Lagerweg 4, 10115 Berlin, Germany", "result": "ok", "parts": ["the shade", "two screws"],
    "placed_on": "2026-01-01", "repair_days": 7, "delivered_on": "2026-01-09",
    "contacts": ["9 January: asked for photos", "11 January: offered a refund"],
    "offered": "a refund of half the price", "missing": ["a photo of the fault"], "answer": "The carrier recorded the delivery.",
    "cause": "A packing error.", "handling_plan": "A new lamp was sent.", "prevention_plan": "Each parcel is weighed.",
}  # fmt: skip


@cache
def writer_of(marketplace: str) -> Templates:
    return Templates([*REGISTRY.template_dirs(marketplace), COMMON], PURPOSES)


def required(purpose: Purpose) -> set[str]:
    return {name for name, variable in purpose.variables.items() if variable.required}


def written(name: str, locale: str, params: dict[str, Any]) -> str:
    made = WRITER.render(name, [locale], params)
    return f"{made.subject}\n\n{made.body}"


@pytest.mark.parametrize("name", SHARED)
def test_every_shared_purpose_is_worded_in_all_languages_with_a_subject(name: str) -> None:
    assert WRITER.locales(name) == sorted(LOCALES)
    for locale in LOCALES:
        made = WRITER.render(name, [locale], SAMPLE)
        assert made.subject and "O-2001" in made.subject
        assert "O-2001" in made.body and made.body.endswith("Nordlys")


@pytest.mark.parametrize("marketplace", MARKETPLACES)
def test_a_marketplaces_own_purposes_are_worded_in_all_languages(marketplace: str) -> None:
    own = [name for name, purpose in PURPOSES.items() if purpose.marketplace == marketplace]
    assert {name: writer_of(marketplace).locales(name) for name in own} == dict.fromkeys(own, sorted(LOCALES))


ALL_FOLDERS = [COMMON, *(folder for name in MARKETPLACES for folder in REGISTRY.template_dirs(name))]


@pytest.mark.parametrize(
    "folder", [f for root in ALL_FOLDERS for f in sorted(root.iterdir())], ids=lambda f: f"{f.parts[-3]}-{f.name}"
)
def test_each_language_says_the_same_things(folder: Path) -> None:
    """The same variables and the same choices between texts (a result, an evidence name) as in English."""
    variables, choices = said(folder / "en.j2")
    assert required(PURPOSES[folder.name]) <= variables, "what is not said need not be known"
    for locale in LOCALES:
        assert said(folder / f"{locale}.j2") == (variables, choices), locale


def said(path: Path) -> tuple[set[str], set[str]]:
    tree = environment("en").parse(path.read_text("utf-8"))
    compared = (operand.expr for compare in tree.find_all(nodes.Compare) for operand in compare.ops)
    return meta.find_undeclared_variables(tree), {one.value for one in compared if isinstance(one, nodes.Const)}


def test_no_template_lies_about_without_a_purpose() -> None:
    assert {path.name for path in COMMON.iterdir() if path.is_dir()} == set(SHARED)


FLAWS = (
    "None", "True", "  ", "\n\n\n", " .", " ,", "()", "（）", "( ", "{", "..", "，，", "。。", "） ", " （", ": .", " ，", " 。",
    "， ", "。 ", " ;\n", ",,", "、、",
)  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_every_choice_of_what_is_known_reads_well(name: str) -> None:
    """All subsets of the optional variables: nothing doubled, nothing dangling, no `None`."""
    optional = sorted(set(PURPOSES[name].variables) - required(PURPOSES[name]))
    for locale, known in itertools.product(LOCALES, itertools.product((True, False), repeat=len(optional))):
        absent = {variable for variable, there in zip(optional, known, strict=True) if not there}
        text = written(name, locale, {k: v for k, v in SAMPLE.items() if k not in absent})
        for flaw in FLAWS:
            assert flaw not in text, f"{flaw!r} in {locale}:\n{text}"


@pytest.mark.parametrize("name", SHARED)
def test_what_is_needed_and_not_known_fails_closed(name: str) -> None:
    for locale, missing in itertools.product(LOCALES, required(PURPOSES[name])):
        for nothing in ({}, {missing: None}, {missing: ""}):
            with pytest.raises(NotRendered) as caught:
                WRITER.render(name, [locale], {k: v for k, v in SAMPLE.items() if k != missing} | nothing)
            assert missing in caught.value.missing


def test_amounts_and_dates_are_written_in_the_language_of_the_message() -> None:
    assert "€39.90" in written("offer_partial_refund", "en", SAMPLE)
    assert "€39.90" in written("offer_partial_refund", "zh-Hans", SAMPLE)
    assert "January 20, 2026" in written("return_instructions", "en", SAMPLE)
    assert "2026年1月20日" in written("return_instructions", "zh-Hans", SAMPLE)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(SHARED),
    locale=st.sampled_from(LOCALES),
    hostile=st.text(max_size=200)
    | st.sampled_from(
        ["{{ 7*7 }}", "{% for x in y %}", "</p><script>", "%s%n", "\u202e\u0000\x1b[2J", "名字" * 50, "'; DROP"]
    ),
)
def test_a_value_is_only_ever_a_value(name: str, locale: str, hostile: str) -> None:
    values = {**SAMPLE, "buyer_name": hostile, "item": hostile, "carrier": hostile, "shop": hostile}
    hidden = not any(c.isprintable() and not c.isspace() for c in hostile)
    if hidden and required(PURPOSES[name]) & {"buyer_name", "item", "carrier", "shop"}:
        with pytest.raises(NotRendered):
            written(name, locale, values)
        return
    text = written(name, locale, values)
    assert "49" not in text.replace("O-2001", "") or "49" in hostile
    assert not any(c in text for c in "\u0000\x1b\u202e")
    assert "O-2001" in text


def evidence_of_buyers() -> list[tuple[str, str]]:
    found = set()
    for marketplace in MARKETPLACES:
        for path in REGISTRY.playbook_files(marketplace):
            items = itertools.chain(*load(path.read_text(), str(path)).evidence.values())
            found |= {(marketplace, item.what) for item in items if item.supplied_by == "buyer"}
    return sorted(found)


@pytest.mark.parametrize(("marketplace", "what"), evidence_of_buyers())
def test_evidence_is_asked_for_in_words_a_buyer_understands(marketplace: str, what: str) -> None:
    templates = writer_of(marketplace)
    for locale in LOCALES:
        body = templates.render("ask_for_evidence", [locale], {**SAMPLE, "items": [what]}).body
        assert what not in body, f"{what} has no words in {locale}: add them to ask_for_evidence/{locale}.j2"
