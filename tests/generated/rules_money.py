"""What must hold of acts and money, whatever a playbook or an operator says."""

from collections.abc import Iterator
from functools import lru_cache

from shared.domain.errands import Errand
from shared.domain.money import money_in
from shared.domain.playbook import Do, Effects, Playbook
from tests.generated.judge import Memory, Seen, rule
from tests.generated.markets import playbooks

_BACK = frozenset(
    {"return.received", "return.inspected", "delivery.returned_to_sender", "delivery.lost", "operator:confirm_receipt",
     "operator:inspect"}
)  # fmt: skip
_NOT_SENT = frozenset({"act.refused", "act.failed", "act.expired", "act.suppressed", "act.withdrawn"})


def _refunds(seen: Seen) -> list[Errand]:
    return [errand for errand in seen.decision.errands if errand.name == "refund" and errand.what == "act"]


def _agreed(seen: Seen) -> bool:
    """Somebody with the scope `approve` did this."""
    return seen.fact.kind == "operator.acted" and "approve" in seen.fact.data.get("scopes", ())


@rule
def no_more_goes_back_than_was_paid(seen: Seen, memory: Memory) -> Iterator[str]:
    """Over all cases of the order, what is on its way counted."""
    ledger = memory.ledger
    vanished = sum(ledger.under_way[id_][1].minor for id_ in ledger.gone(seen.case))
    rest = ledger.rest()
    for errand in seen.decision.errands:
        if errand.money is not None and rest is not None and errand.money.currency == ledger.currency:
            if errand.money.minor > rest + vanished:
                yield f"{errand.name} of {errand.money.minor}, {rest + vanished} is left"
            rest -= errand.money.minor if errand.name == "refund" else 0


@rule
def where_nobody_knows_what_was_paid_no_more_than_is_asked_goes_by_itself(seen: Seen, memory: Memory) -> Iterator[str]:
    asked = money_in(seen.case.facts, "amount")
    for errand in _refunds(seen):
        known = (
            memory.ledger.paid is not None
            and errand.money is not None
            and errand.money.currency == memory.ledger.currency
        )
        by_itself = seen.fact.kind != "operator.acted"
        if errand.money and by_itself and not known and (asked is None or errand.money.minor > asked.minor):
            yield f"{errand.money.minor} of unknown, asked: {asked}"


@rule
def no_more_than_the_marketplaces_own_maximum(seen: Seen, memory: Memory) -> Iterator[str]:
    most = money_in(seen.case.facts, "max_refund")
    for errand in _refunds(seen):
        if most and errand.money and most.currency == errand.money.currency and errand.money.minor > most.minor:
            yield f"{errand.money.minor} above {most.minor}"


@rule
def no_money_before_the_goods_unless_the_item_is_kept(seen: Seen, memory: Memory) -> Iterator[str]:
    for errand in _refunds(seen):
        known = seen.case.errands.get(errand.id)
        kept = errand.params.get("keep_item") is True or (known is not None and known.keep_item)
        back = memory.heard[seen.case.id] & _BACK
        unshipped = seen.case.kind == "cancellation" and seen.order.shipped_at is None
        if not (kept or back or unshipped):
            yield f"{errand.money} while the goods are {seen.case.goods}"
        permitted = seen.terms.money.get("keep_item_refund_below", {}).get(
            errand.money.currency if errand.money else ""
        )
        by_itself = seen.fact.kind != "operator.acted" and not back and not unshipped
        if by_itself and errand.money and (permitted is None or errand.money.minor > permitted):
            yield f"the item kept for {errand.money.minor} where {permitted} is permitted"


@rule
def above_the_limit_somebody_with_the_scope_agreed(seen: Seen, memory: Memory) -> Iterator[str]:
    limits = seen.terms.money.get("approve_refund_above") or {}
    for errand in seen.decision.errands:
        if errand.money is not None and limits and not _agreed(seen):
            limit = limits.get(errand.money.currency)
            if limit is None or errand.money.minor > limit:
                yield f"{errand.name} of {errand.money.minor} above {limit}"


@rule
def no_act_beyond_what_the_marketplace_offers(seen: Seen, memory: Memory) -> Iterator[str]:
    for errand in seen.decision.errands:
        if seen.terms.closed:
            yield f"{errand.name} for a closed account"
        if errand.what == "act" and (can := seen.terms.capabilities.get(errand.name, "none")) != errand.capability:
            yield f"{errand.name} by {errand.capability}, the account has {can}"
        if errand.what == "act" and errand.capability == "none":
            yield f"{errand.name} cannot be done there"


@rule
def no_act_by_itself_that_waits_for_a_person(seen: Seen, memory: Memory) -> Iterator[str]:
    if seen.fact.kind != "operator.acted":
        for errand in seen.decision.errands:
            if errand.what == "act" and errand.name not in _by_itself(seen.book.hash):
                yield f"{errand.name} on {seen.fact.kind}, no row of {seen.book.name} lets it go by itself"


@lru_cache(maxsize=64)
def _by_itself(hash_: str) -> frozenset[str]:
    """Acts that some row does without asking."""
    book = playbooks().of(hash_)
    named = {act for act, how in book.autonomy.items() if how == "auto"}
    named |= {do.act for do in _acts(book) if do.autonomy == "auto"}
    rungs = [rung for ladder in book.ladders.values() for rung in ladder.rungs]
    return frozenset(named | {"propose" for rung in rungs if rung.autonomy == "auto"})


def _acts(book: Playbook) -> Iterator[Do]:
    rows = [*book.opens_on, *book.everywhere, *(row for state in book.states.values() for row in state.rows)]
    effects: list[Effects] = [row.effects for row in rows]
    effects += [state.enter for state in book.states.values()]
    effects += [planned.effects for clock in book.clocks.values() for planned in clock.planned]
    for found in effects:
        yield from found.act


@rule
def money_on_its_way_is_counted_until_it_surely_is_not(seen: Seen, memory: Memory) -> Iterator[str]:
    for id_ in memory.ledger.gone(seen.case):
        if not _is_over(seen, id_):
            yield f"refund {id_} forgotten on {seen.fact.kind}"
    for id_, held in seen.decision.order.reserved.items():
        if held.case_id == seen.case.id and id_ not in seen.case.errands:
            yield f"{held.minor} kept back for {id_}, which is over"


def _is_over(seen: Seen, errand_id: str) -> bool:
    """Seen to have gone, surely not sent, or a person's word."""
    if seen.fact.kind in ("refund.issued", "operator.acted"):
        return True
    was_seen = seen.before.errands[errand_id].confirmed
    return seen.fact.data.get("errand_id") == errand_id and (was_seen or seen.fact.kind in _NOT_SENT)


@rule
def never_two_refunds_of_a_case_at_once(seen: Seen, memory: Memory) -> Iterator[str]:
    live = [errand for errand in seen.case.errands.values() if errand.what == "act" and errand.name == "refund"]
    if len(live) > 1:
        yield f"{len(live)} refunds live"
