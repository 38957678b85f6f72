"""Records into facts, by the call they were read with. Pure. Reference 4.1, 4.3."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.facts import Draft
from shared.marketplaces.dhgate import disputes, mail, orders
from shared.marketplaces.dhgate.reading import DISPUTE_CLOSED, DISPUTE_OPEN, ORDER_DETAIL, ORDER_ROW, THREAD
from shared.ports import Account

Reading = Callable[[Mapping[str, Any], Mapping[str, Any] | None, Account, datetime], Iterator[Draft]]
_READ: dict[str, Reading] = {
    DISPUTE_OPEN: disputes.facts,
    DISPUTE_CLOSED: disputes.facts,
    ORDER_ROW: orders.row_facts,
    ORDER_DETAIL: orders.detail_facts,
    THREAD: mail.facts,
}


def facts(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Sequence[Draft]:
    return tuple(_READ[str(record["_from"])](record, previous, account, now))
