"""Messages by the Messaging API: what Amazon allows for this order first, the buyer's language, then one post. Reference A5.

There is no reply and no inbound API. Where no action is allowed it goes to the buyer's relay address, if the account has a
mail server and the address is known; what goes neither way is prepared for a person (`Contact Buyer`).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shared.attempts import attempt_of
from shared.domain.errands import Errand
from shared.http import HttpFault
from shared.marketplaces.amazon.assisted import by_hand
from shared.marketplaces.amazon.client import Client
from shared.marketplaces.amazon.regions import marketplace_of
from shared.ports import Attempt, Done, Refused

MOST = {"unexpectedProblem": 2000, "confirmDeliveryDetails": 2000, "confirmOrderDetails": 2000}
"""The actions used, with the longest text of each."""
_FITS: Mapping[str, tuple[str, ...]] = {
    "delivery_check": ("confirmDeliveryDetails", "unexpectedProblem"),
    "held_at_customs": ("confirmDeliveryDetails", "unexpectedProblem"),
}
_MOSTLY = ("unexpectedProblem",)
"""The only one whose purpose is an after-sales word of our own."""

ByMail = Callable[[], Awaitable[Attempt]]
"""The same message as a letter to the buyer's relay address."""


async def send(client: Client, errand: Errand, body: str, by_mail: ByMail | None = None) -> Attempt:
    """One message. Only its post can be in doubt; everything before it is a reading."""
    account = client.account
    if errand.attachments:
        return by_hand(account, errand, body, "The Messaging API takes no attachment with this kind of message.")
    try:
        actions = await _allowed(client, errand.order_id)
        action = next((name for name in _FITS.get(errand.name, _MOSTLY) if name in actions), None)
        open_to = f"Amazon's API allows {', '.join(sorted(actions)) or 'nothing'} for this order now."
        if action is None and by_mail is None:
            return by_hand(account, errand, body, open_to)
        wanted = await _locale(client, errand.order_id)
    except HttpFault as fault:
        return attempt(fault, before=True)
    if not _same_language(errand.locale, wanted):
        return by_hand(
            account, errand, body, f"The buyer's language is {wanted}, the text is in {errand.locale}: translate it."
        )
    if action is None and by_mail is not None:
        posted = await by_mail()
        return by_hand(account, errand, body, f"{open_to} {posted.why}.") if isinstance(posted, Refused) else posted
    return await _post(client, errand, body, str(action))


async def _post(client: Client, errand: Errand, body: str, action: str) -> Attempt:
    account = client.account
    if len(body.encode("utf-16-le")) // 2 > MOST[action]:
        return by_hand(account, errand, body, f"The text is longer than the {MOST[action]} characters of the API.")
    try:
        await client.call(
            "POST",
            f"{_path(errand.order_id)}/messages/{action}",
            action,
            params=_here(client),
            body={"text": body},
        )
    except HttpFault as fault:
        return attempt(fault)
    return Done()


async def _allowed(client: Client, order_id: str) -> set[str]:
    told = await client.call("GET", _path(order_id), "getMessagingActionsForOrder", params=_here(client))
    links = told.get("_links")
    actions = links.get("actions") if isinstance(links, Mapping) else None
    if not isinstance(actions, list):
        return set()
    return {str(action.get("name")) for action in actions if isinstance(action, Mapping)}


async def _locale(client: Client, order_id: str) -> str | None:
    told = await client.call("GET", f"{_path(order_id)}/attributes", "GetAttributes", params=_here(client))
    buyer: Any = told.get("buyer")
    locale = buyer.get("locale") if isinstance(buyer, Mapping) else None
    return locale if isinstance(locale, str) and locale else None


def _path(order_id: str) -> str:
    return f"/messaging/v1/orders/{order_id}"


def _here(client: Client) -> dict[str, str]:
    return {"marketplaceIds": marketplace_of(client.account)}


def _same_language(ours: str | None, buyers: str | None) -> bool:
    """AMZ-M04. Where Amazon tells no language the text goes as it is."""
    if not ours or not buyers:
        return True
    return ours.replace("_", "-").split("-")[0].lower() == buyers.replace("_", "-").split("-")[0].lower()


def attempt(fault: HttpFault, *, before: bool = False) -> Attempt:
    """Amazon answers 403 to a token that is not taken."""
    return attempt_of(fault, before=before, account_wide=(401, 403))
