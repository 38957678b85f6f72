"""A seller's own templates in the running notifier: taken up by a reload, and a faulty folder changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.domain.order import Buyer
from tests.services.notifier.harness import Opened, World, config_of, message
from tests.services.notifier.test_api import ask

pytestmark = pytest.mark.asyncio
PARAMS = {"order_id": "8000000001", "amount": {"value": "12.50", "currency": "EUR"}}


def lay(world: World, tmp_path: Path, locale: str, text: str) -> None:
    folder = tmp_path / "mine" / "offer_refund"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{locale}.j2").write_text(text, "utf-8")
    world.reloaded = replace(config_of(world.marketplace.url, {}), templates=tmp_path / "mine")


async def told(world: World, n: int, locale: str) -> str:
    order = {"order_id": f"80000000{n:02}"}
    await world.publish(
        message(n, None, name="offer_refund", params={**PARAMS, **order}, buyer=Buyer(id="b", locale=locale))
    )
    await world.settled()
    sent = (await ask(world, "GET", f"/v1/messages/msg_toy_{n:04}")).json()
    assert sent["status"] == "sent"
    return str(sent["body"])


async def test_a_reload_brings_the_sellers_words_and_a_faulty_folder_none(open_world: Opened, tmp_path: Path) -> None:
    world = await open_world()
    assert (await told(world, 1, "de-AT")).startswith("Guten Tag,")
    lay(world, tmp_path, "de", "Wir erstatten {{ amount }} zu {{ order_id }}.")
    assert (await ask(world, "POST", "/v1/admin/reload", json={})).status == 200
    assert await told(world, 2, "de-AT") == "Wir erstatten €\xa012,50 zu 8000000002."
    for broken in ("{{ betrag }}", "{{ amount }}, wenn Sie uns fünf Sterne geben: me@example.com"):
        lay(world, tmp_path, "de", broken)
        refused = await ask(world, "POST", "/v1/admin/reload", json={})
        assert (refused.status, refused.json()["code"]) == (422, "bad_configuration")
        assert "offer_refund/de.j2:1: " in refused.text
    assert await told(world, 3, "de") == "Wir erstatten 12,50\xa0€ zu 8000000003."
    assert (await told(world, 4, "fr")).startswith("Bonjour,")


async def test_the_words_are_the_buyers_language_in_all_ten(open_world: Opened) -> None:
    world = await open_world()
    begins = {
        "en-GB": "Hello,", "zh-CN": "您好：", "zh-TW": "您好：", "ru-RU": "Здравствуйте!", "es-MX": "Hola:",
        "de-CH": "Guten Tag,", "fr-CA": "Bonjour,", "pt-PT": "Olá!", "it-IT": "Buongiorno,", "ja-JP": "お客様", "nl-NL": "Hello,",
    }  # fmt: skip
    for n, (locale, begin) in enumerate(begins.items(), 1):
        assert (await told(world, n, locale)).startswith(begin), locale
