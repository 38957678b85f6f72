"""The rails for money and acts that no playbook may break: capability, goods, ceiling, approval."""

from typing import Any, get_args

from services.policy.core.axes import goods_back
from services.policy.core.names import APPROVE_ABOVE, KEEP_ITEM, as_json, in_case_currency, terms_minor
from services.policy.core.working import Stop, Working
from shared.domain.errands import MONEY_ACTS, Capability
from shared.domain.money import Money, from_minor, money_in

_CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


def capability(work: Working, act: str) -> Capability:
    """What the marketplace's API can do; an act nobody named it cannot."""
    told = work.terms.capabilities.get(act, "none")
    return next((known for known in _CAPABILITIES if known == told), "none")


def ceiling_minor(work: Working) -> int | None:
    """What may go at most: the order's refundable rest over all its cases, and the marketplace's own maximum.

    The maximum is of the case: what this case has given back or has on its way is taken off it.
    """
    own = money_in(work.facts, "max_refund")
    known = [in_case_currency(work, work.order.refundable_minor)]
    known += [own.minor - _gone_minor(work, own.currency)] if own and own.currency == work.currency else []
    return min((minor for minor in known if minor is not None), default=None)


def _gone_minor(work: Working, currency: str) -> int:
    """Refunds of this case seen, on their way or in doubt. A proposal is no refund yet."""
    back = money_in(work.facts, "refunded")
    under_way = [e.money for e in work.errands.values() if e.name == "refund" and e.status != "awaiting_approval"]
    return sum(money.minor for money in (back, *under_way) if money is not None and money.currency == currency)


def amount(work: Working, act: str, params: dict[str, Any]) -> tuple[Money | None, dict[str, Any]]:
    """The money of a money act and its parameters with the amount written out. A refund without one: all that is asked.

    Raises Stop for an amount that is unsound, nothing, or in a currency that is not the case's.
    """
    if act not in MONEY_ACTS:
        return None, params
    given = params.get("amount")
    money = money_in(params, "amount")
    if money is None and given is None:
        if act == "propose":
            return None, params
        money = _all(work)
    if money is None or (act == "refund" and money.minor == 0):
        raise Stop("bad_amount", 422, "the amount is missing or unsound")
    if work.currency is not None and money.currency != work.currency:
        raise Stop("other_currency", 422, "the amount is in another currency than the case")
    return money, {**params, "amount": as_json(money)}


def _all(work: Working) -> Money | None:
    asked = money_in(work.facts, "amount")
    rest = in_case_currency(work, work.order.refundable_minor)
    if asked is not None or rest is None or rest <= 0 or work.currency is None:
        return asked
    return from_minor(rest, work.currency)


def rails(work: Working, act: str, sum_: Money | None, *, keep_item: bool) -> None:
    """Raises Stop with the rail that an act would break now."""
    if work.terms.closed:
        raise Stop("account_closed", 409, "the account is closed")
    if capability(work, act) == "none":
        raise Stop("no_capability", 409, "this marketplace offers no way to do it")
    if act == "refund" and not keep_item and not goods_back(work):
        raise Stop("goods_not_back", 409, "the goods are not back: say keep_item if the buyer is to keep them")
    if sum_ is None:
        return
    ceiling = ceiling_minor(work)
    if ceiling is not None and sum_.minor > ceiling:
        raise Stop("above_ceiling", 409, "more than may still be refunded on this order")


def needs_approval(work: Working, act: str, sum_: Money | None, *, keep_item: bool) -> bool:
    """Whether a person with `approve` must agree first although the playbook or an operator said so.

    More than is asked where the ceiling is not known, a sum above the account's limit, or a limit in another currency
    only: all wait. Keeping the item on a playbook's word needs the account's permission, on an operator's it does not.
    """
    if sum_ is None or "approve" in work.scopes:
        return False
    if act == "refund" and keep_item and not goods_back(work) and not work.by_operator:
        permitted = terms_minor(work, KEEP_ITEM)
        if permitted is None or sum_.minor > permitted:
            return True
    return above_limit(work, sum_) or (ceiling_minor(work) is None and not _asked_for(work, sum_))


def _asked_for(work: Working, sum_: Money) -> bool:
    asked = money_in(work.facts, "amount")
    return asked is not None and sum_.minor <= asked.minor


def above_limit(work: Working, sum_: Money) -> bool:
    """Above `approve_refund_above`; set in other currencies only, it holds for every sum."""
    limits = work.terms.money.get(APPROVE_ABOVE)
    if not limits:
        return False
    limit = limits.get(sum_.currency)
    return limit is None or sum_.minor > limit
