"""Templates: what is refused when loaded, what fails closed when rendered, which language is taken."""

from decimal import Decimal
from pathlib import Path

import pytest
from babel import localedata
from babel.numbers import format_currency

from services.notifier.render import NotRendered, Templates, canonical, chain
from services.notifier.template_syntax import MAX_BYTES, faults_of, kinds_of, language
from shared.errors import ConfigurationError
from shared.manifest import Purpose, Variable
from shared.registry import Registry

PURPOSE = Purpose(
    purpose="offer",
    variables={
        "order_id": Variable(type="text", required=False),
        "name": Variable(type="text"),
        "amount": Variable(type="money", required=False),
        "items": Variable(type="list", required=False),
        "urgent": Variable(type="bool", required=False),
        "day": Variable(type="date", required=False),
        "count": Variable(type="int", required=False),
    },
)


@pytest.mark.parametrize(
    "text",
    [
        "Hello {{ name }}{% if amount %}, {{ amount }}{% endif %}",
        "{% for one in items %}- {{ one }}{% if not loop.last %}\n{% endif %}{% endfor %}",
        "{{ items|join(', ') }} {{ name|upper|trim }} {{ 'a' if urgent else 'b' }}",
        "{{ items|listed }} {% if items|length > 1 and count >= 2 %}{{ count|plural(one='a', other='b') }}{% endif %}",
        "{% if name is defined and name == 'x' or not urgent %}y{% endif %}",
    ],
)
def test_plain_templates_are_taken(text: str) -> None:
    assert faults_of(text, kinds_of(PURPOSE)) == ()


def templates(tmp_path: Path, **files: str) -> Templates:
    folder = tmp_path / "offer"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.replace('_', '.')}.j2").write_text(text)
    return Templates([tmp_path], {"offer": PURPOSE})


def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        templates(tmp_path, en="Hello\n{{ nobody }}", zh="{% include 'x' %}")
    assert [fault.split("/offer/")[1] for fault in caught.value.faults] == [
        "en.j2:2: nobody is no variable of this purpose",
        "zh.j2:1: Include is not allowed",
    ]


def test_values_are_text_and_never_templates(tmp_path: Path) -> None:
    made = templates(tmp_path, en="{{ name }}", en_subject="About {{ order_id }}")
    hostile = "{{ 7*7 }}\r\nBcc: all@example.com\u202e\x00"
    rendered = made.render("offer", ["en"], {"name": hostile, "order_id": hostile})
    assert rendered.body == "{{ 7*7 }}\nBcc: all@example.com"
    assert rendered.subject == "About {{ 7*7 }} Bcc: all@example.com"


@pytest.mark.parametrize("said", ["name", "items|join"])
def test_a_subject_says_nobody_elses_words(tmp_path: Path, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        templates(tmp_path, en="x", en_subject=f"About {{{{ {said} }}}}")
    assert "is no variable of this purpose" in caught.value.faults[0]


def test_a_text_takes_the_subject_of_a_later_folder_when_it_has_none(tmp_path: Path) -> None:
    own, common = tmp_path / "own", tmp_path / "common"
    own.mkdir()
    common.mkdir()
    templates(own, en="own")
    templates(common, en="common", en_subject="Order {{ order_id }}")
    rendered = Templates([own, common], {"offer": PURPOSE}).render("offer", ["en"], {"name": "x", "order_id": "O-1"})
    assert (rendered.subject, rendered.body) == ("Order O-1", "own")


def test_a_file_that_would_never_be_used_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        templates(tmp_path, xx="x", de_subject="y")
    assert [fault.rpartition("/")[2] for fault in caught.value.faults] == [
        "de.subject.j2: there is no de.j2 that it is the subject of",
        "xx.j2: xx is no language",
    ]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({}, "not known: name"),
        ({"name": None}, "not known: name"),
        ({"name": ""}, "not known: name"),
        ({"name": "\u200b\u202e \x00"}, "not known: name"),
        ({"name": ["x"]}, "name is no text"),
        ({"name": "x" * 5000}, "name is no text"),
        ({"name": "x", "amount": "12.50 USD"}, "amount is no money"),
        ({"name": "x", "amount": {"value": "much", "currency": "USD"}}, "amount is no money"),
        ({"name": "x", "day": "tomorrow"}, "day is no date"),
        ({"name": "x", "items": "abc"}, "items is no list"),
        ({"name": "x", "items": ["a"] * 51}, "items is no list"),
        ({"name": "x", "urgent": "yes"}, "urgent is no bool"),
        ({"name": "x", "items": ["y" * 4000] * 50}, f"the text is longer than {MAX_BYTES} bytes"),
    ],
)
def test_what_cannot_be_said_fails_closed(tmp_path: Path, params: dict, why: str) -> None:
    made = templates(tmp_path, en="{{ name }}{% for one in items %}{{ one }}{% endfor %}")
    params = {"items": [], **params}
    with pytest.raises(NotRendered) as caught:
        made.render("offer", ["en"], params)
    assert caught.value.why == why


def test_a_template_that_says_nothing_of_a_missing_list_fails_closed(tmp_path: Path) -> None:
    made = templates(tmp_path, en="{% for one in items %}{{ one }}{% endfor %}")
    with pytest.raises(NotRendered):
        made.render("offer", ["en"], {"name": "x"})


def test_money_and_dates_are_written_in_the_language_and_the_buyers_zone(tmp_path: Path) -> None:
    text = "{{ amount }} | {{ day }}"
    made = templates(tmp_path, en=text, de=text, **{"zh-Hans": text})
    params = {"name": "x", "amount": {"value": "1234.50", "currency": "EUR"}, "day": "2026-11-30T23:30:00+00:00"}
    assert made.render("offer", ["en"], params).body == "€1,234.50 | November 30, 2026"
    assert made.render("offer", ["de"], params, "Europe/Berlin").body == "1.234,50\xa0€ | 1. Dezember 2026"
    assert made.render("offer", ["zh-Hans"], params).body == "€1,234.50 | 2026年11月30日"


def test_the_language_goes_by_the_chain(tmp_path: Path) -> None:
    made = templates(tmp_path, en="english", **{"zh-Hans": "chinese", "pt-BR": "brazil", "pt": "portugal"})
    said = {
        locales: made.render("offer", chain(*locales), {"name": "x"}).body
        for locales in [
            ("zh-CN", "en"),
            ("zh", None),
            ("zh-TW", "pt"),
            ("pt-BR",),
            ("pt-AO",),
            ("ru", "zh"),
            (None, None),
        ]
    }
    assert list(said.values()) == ["chinese", "chinese", "portugal", "brazil", "portugal", "chinese", "english"]
    assert canonical("zh_hans_cn") == "zh-Hans"
    with pytest.raises(NotRendered):
        made.render("offer", ["fr"], {"name": "x"})


def test_a_marketplaces_own_template_goes_before_the_common_one(tmp_path: Path) -> None:
    for root, text in (("own", "own"), ("common", "common")):
        (tmp_path / root / "offer").mkdir(parents=True)
        (tmp_path / root / "offer" / "en.j2").write_text(text)
    made = Templates([tmp_path / "own", tmp_path / "common"], {"offer": PURPOSE})
    assert made.render("offer", ["en"], {"name": "x"}).body == "own"


def test_every_shipped_template_loads() -> None:
    registry = Registry()
    common = Path(__file__).parents[3] / "services/notifier/templates"
    made = Templates([common], registry.purposes())
    shared_purposes = [name for name, purpose in registry.purposes().items() if purpose.marketplace is None]
    assert [name for name in shared_purposes if not {"en", "zh-Hans"} <= set(made.locales(name))] == []


@pytest.mark.parametrize(
    ("locale", "forms", "said"),
    [
        ("en", "one='day', other='days'", {1: "1 day", 2: "2 days", 0: "0 days", 1200: "1,200 days"}),
        (
            "ru",
            "one='день', few='дня', many='дней'",
            {1: "1 день", 3: "3 дня", 5: "5 дней", 11: "11 дней", 21: "21 день"},
        ),
        (
            "fr",
            "one='jour', other='jours'",
            {0: "0 jour", 1: "1 jour", 2: "2 jours", 1000000: "1\u202f000\u202f000 jours"},
        ),
        ("ja", "other='日'", {1: "1 日", 7: "7 日"}),
        ("pt-BR", "one='dia', other='dias'", {1: "1 dia", 2: "2 dias"}),
    ],
)
def test_the_form_goes_with_the_number_as_the_language_has_it(
    tmp_path: Path, locale: str, forms: str, said: dict[int, str]
) -> None:
    made = templates(tmp_path, **{locale: f"{{{{ count }}}} {{{{ count|plural({forms}) }}}}"})
    assert {n: made.render("offer", [locale], {"name": "x", "count": n}).body for n in said} == said


@pytest.mark.parametrize(
    ("locale", "given", "needed"),
    [
        ("ru", "one='a', other='b'", "few, many, one"),
        ("de", "one='a'", "one, other"),
        ("en", "other='b'", "one, other"),
    ],
)
def test_a_form_the_language_needs_is_not_left_out(locale: str, given: str, needed: str) -> None:
    faults = faults_of(f"\n{{{{ count|plural({given}) }}}}", kinds_of(PURPOSE), locale)
    assert faults == ((2, f"plural needs the forms {needed}"),)


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ("en", "a, b, and c"),
        ("de", "a, b und c"),
        ("ja", "a、b、c"),
        ("zh-Hans", "a、b和c"),
        ("ru", "a, b и c"),
        ("es", "a, b y c"),
    ],
)
def test_a_list_is_said_as_the_language_does(tmp_path: Path, locale: str, said: str) -> None:
    made = templates(tmp_path, **{locale: "{{ items|listed }}"})
    assert made.render("offer", [locale], {"name": "x", "items": ["a", "b", "c"]}).body == said


def test_what_may_be_unknown_can_be_asked_about_and_never_said(tmp_path: Path) -> None:
    asks = "{% if amount or amount is defined or amount == 'x' %}y{% else %}n{% endif %}{{ 'none' if day is none else 'some' }}"
    assert templates(tmp_path, en=asks).render("offer", ["en"], {"name": "x"}).body == "nnone"
    for says in (
        "{{ amount }}",
        "{{ count }}",
        "{{ items|listed }}",
        "{{ amount if urgent else day }}",
        "{{ day|upper }}",
    ):
        with pytest.raises(NotRendered):
            templates(tmp_path, en=says).render("offer", ["en"], {"name": "x"})


def test_a_reader_gets_his_countrys_figures_in_his_languages_words(tmp_path: Path) -> None:
    made = templates(tmp_path, es="{{ amount }} {{ day }}", en="{{ day }}", **{"pt-BR": "{{ day }}"})
    params = {"name": "x", "amount": {"value": "1234.50", "currency": "MXN"}, "day": "2026-01-20"}
    assert made.render("offer", chain("es-MX"), params).body == "$1,234.50 20 de enero de 2026"
    assert made.render("offer", chain("es"), params).body == "1.234,50\xa0MXN 20 de enero de 2026"
    assert made.render("offer", chain("en-GB"), params).body == "20 January 2026"
    assert made.render("offer", chain("pt-PT"), params).locale == "pt-BR"


@pytest.mark.parametrize(
    ("wanted", "tried"),
    [
        (("pt-PT", "de"), ("pt-PT", "pt", "pt-BR", "de", "en")),
        (("pt-BR",), ("pt-BR", "pt", "en")),
        (("zh-TW", "ja"), ("zh-Hant", "ja", "en")),
        (("zh-HK", "zh"), ("zh-Hant", "zh-Hans", "en")),
        (("DE_at", None), ("de-AT", "de", "en")),
        (("es-419",), ("es-419", "es", "en")),
    ],
)
def test_what_is_tried_in_which_order(wanted: tuple[str | None, ...], tried: tuple[str, ...]) -> None:
    assert chain(*wanted) == tried


def test_of_a_language_only_what_is_said_is_kept_in_memory() -> None:
    """A megabyte each otherwise; what figures, dates, lists and plurals need is there."""
    kept = localedata.load(str(language("de")))
    assert not kept["territories"] and not kept["unit_patterns"]
    assert format_currency(Decimal("1234.5"), "USD", locale=language("de")) == "1.234,50\xa0$"
    assert language("de").plural_form(1) == "one"
