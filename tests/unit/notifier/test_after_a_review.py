"""What we say ourselves may follow a talk about a review: "we will put it right" does not mean the review."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pytest

from services.notifier import rules, trial
from services.notifier.composer import Composer
from services.notifier.render import NotRendered
from shared.registry import Registry

SPOKEN_OF = {
    "en": "Please leave us a review.",
    "zh-Hans": "请给我们写个评价。",
    "zh-Hant": "請給我們寫個評價。",
    "ru": "Пожалуйста, оставьте нам отзыв.",
    "es": "Por favor, déjenos una reseña.",
    "de": "Bitte schreiben Sie uns eine Bewertung.",
    "fr": "Merci de nous laisser un avis.",
    "pt-BR": "Por favor, deixe uma avaliação.",
    "it": "Lasciaci una recensione, per favore.",
    "ja": "レビューを書いてください。",
}
REGISTRY = Registry(None)
COMPOSER = Composer(REGISTRY, set(REGISTRY.names()))


def renders(marketplace: str, locale: str) -> Iterator[tuple[str, str]]:
    """(purpose, text) of every message to a buyer in this language."""
    for purpose in COMPOSER._purposes.values():
        if purpose.audience == "buyer" and locale in COMPOSER.locales(marketplace, purpose.purpose):
            for sample in islice(trial.samples(purpose), 2):
                with suppress(NotRendered):
                    rendered = COMPOSER._templates[marketplace].render(purpose.purpose, [locale], sample)
                    yield purpose.purpose, rendered.body


@pytest.mark.parametrize("locale", sorted(SPOKEN_OF))
def test_no_text_of_ours_is_stopped_for_what_came_before(locale: str) -> None:
    for marketplace in ("generic", "aliexpress"):
        book = COMPOSER.book(marketplace)
        texts = list(renders(marketplace, locale))
        assert len(texts) > 20
        for purpose, text in texts:
            before = rules.judge(text, book, purpose=purpose)
            after = rules.judge(text, book, purpose=purpose, earlier=[SPOKEN_OF[locale]])
            assert after == before, (marketplace, purpose, text)


def test_who_is_to_put_it_right_makes_the_difference() -> None:
    book = COMPOSER.book("generic")
    for text, sent in (("We would like to put it right.", True), ("Could you put it right, please?", False)):
        verdict = rules.judge(text, book, purpose="free_text", earlier=[SPOKEN_OF["en"]])
        assert verdict.ok is sent, text
