"""Which of the actions that an rFBS request offers now carries out an act, and with what. Pure. Reference 2.4.

Three ids are published: -1 and -10 refuse, 1020 gives a part of the price back. All others are named by the request
itself in the seller's language: the account's settings or the operator say which is which, nothing is guessed.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.domain.errands import Errand
from shared.domain.money import Money, money_in
from shared.marketplaces.ozon.codes import number, rows, text
from shared.marketplaces.ozon.returning import Return, signed
from shared.ports import Account

REFUSALS = (-1, -10)
COMPENSATION = 1020
SETTINGS = {"authorise": "action_authorise", "confirm_receipt": "action_confirm_receipt", "refund": "action_refund"}


class No(Exception):
    """It must not be asked of Ozon as it is."""


class Unknown(Exception):
    """Nobody has said which of the offered actions it is."""


def request(errand: Errand, found: Return, account: Account) -> dict[str, Any]:
    """The parameters of /v1/returns/rfbs/action/set. Raises No and Unknown, each with words for a person."""
    amount = errand.money or money_in(dict(errand.params), "amount")
    action = _action(errand, found, account, amount)
    if action not in found.actions:
        raise No(f"Ozon does not offer action {action} on this return now; it offers: {offered(found)}")
    wanted: dict[str, Any] = {"return_id": number(errand.refs.get("return_id")), "id": action}
    if comment := text(errand.params.get("comment")):
        wanted["comment"] = comment
    if action in REFUSALS:
        wanted |= _refusal(errand, found)
    elif action == COMPENSATION:
        wanted["compensation_amount"] = _compensation(amount, found)
    elif errand.name == "refund":
        wanted["return_for_back_way"] = _way_back(errand)
    return wanted


def _action(errand: Errand, found: Return, account: Account, amount: Money | None) -> int:
    own = signed(errand.params.get("action_id"))
    if own is not None:
        return own
    if errand.name == "decline":
        return _one_refusal(found)
    if errand.name == "propose" or (errand.name == "refund" and _is_part(amount, found)):
        return COMPENSATION
    told = signed(account.settings.get(SETTINGS.get(errand.name, "")))
    if told is None:
        setting = SETTINGS.get(errand.name, "action_id")
        raise Unknown(f"Which action this is has not been set up ({setting}). Offered now: {offered(found)}")
    return told


def _one_refusal(found: Return) -> int:
    there = [action for action in REFUSALS if action in found.actions]
    if len(there) > 1:
        raise Unknown(f"Two ways to refuse are offered, say which (action_id): {offered(found)}")
    return there[0] if there else REFUSALS[0]


def _is_part(amount: Money | None, found: Return) -> bool:
    price = _price(found)
    return amount is not None and price is not None and amount.currency == price.currency and amount.minor < price.minor


def _price(found: Return) -> Money | None:
    return money_in({"price": found.price}, "price")


def _refusal(errand: Errand, found: Return) -> dict[str, Any]:
    """A refusal has a ground of Ozon's own list and a comment (R003-08)."""
    reasons = {number(row.get("id")): text(row.get("name")) for row in rows(found.body.get("rejection_reason"))}
    reason = number(errand.params.get("rejection_reason_id"))
    if reason is None or reason not in reasons:
        raise No("a refusal needs rejection_reason_id, one of: " + _named(reasons))
    comment = text(errand.params.get("comment"))
    if comment is None:
        raise No("a refusal needs a comment")
    return {"rejection_reason_id": reason, "comment": comment}


def _compensation(amount: Money | None, found: Return) -> Decimal:
    price = _price(found)
    if amount is None or not amount.minor:
        raise No("a part of the price needs its amount")
    if price is None or amount.currency != price.currency or amount.minor > price.minor:
        shown = f"{price.value} {price.currency}" if price else "not known"
        raise No(f"the price of the goods is {shown}: the amount must lie within it")
    return Decimal(amount.value)


def _way_back(errand: Errand) -> Decimal | None:
    """What the buyer gets for sending the goods back (reference 2.3: the seller pays for goods of bad quality)."""
    given = money_in(dict(errand.params), "return_for_back_way")
    return Decimal(given.value) if given else None


def offered(found: Return) -> str:
    return _named({signed(row.get("id")): text(row.get("name")) for row in rows(found.body.get("available_actions"))})


def _named(listed: Mapping[int | None, str | None]) -> str:
    return ", ".join(f"{id_} ({name or '-'})" for id_, name in listed.items() if id_ is not None) or "nothing"
