"""The read methods that source and channel share."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.clock import to_micros
from shared.marketplaces.pinduoduo.after_sale import text
from shared.marketplaces.pinduoduo.client import Client

DETAIL = "pdd.refund.information.get"
LIST = "pdd.refund.list.increment.get"
WINDOW = timedelta(minutes=30)
PAGE_SIZE = 100
ALL_TYPES, ALL_STATUSES = 1, 1
"""Of the list's filters, whose numbers mean other things than the same names in details and messages."""


async def body(client: Client, order: str, id_: str) -> dict[str, Any] | None:
    """Detail and row of one after-sale; None where it cannot be read yet. Raises HttpFault kinds."""
    detail = await client.read(DETAIL, after_sales_id=id_, order_sn=order)
    if text(detail.get("after_sales_status")) is None:
        return None
    now = client.clock.now()
    rows, _ = await page(client, now - WINDOW, now, 1, order_sn=order)
    row = next((row for row in rows if text(row.get("id")) == id_), {})
    return {"detail": {**detail, "id": id_, "order_sn": order}, "row": row}


async def page(
    client: Client, begin: datetime, end: datetime, number: int, status: int = ALL_STATUSES, **more: str
) -> tuple[list[Mapping[str, Any]], bool]:
    """Rows changed between two moments at most 30 minutes apart, and whether there are more pages.

    An `order_sn` passes over all filters.
    """
    reply = await client.read(
        LIST,
        after_sales_status=status,
        after_sales_type=ALL_TYPES,
        start_updated_at=to_micros(begin) // 1_000_000,
        end_updated_at=to_micros(end) // 1_000_000,
        page=number,
        page_size=PAGE_SIZE,
        **more,
    )
    told = reply.get("refund_list")
    rows = [row for row in told if isinstance(row, Mapping)] if isinstance(told, list) else []
    return rows, bool(rows) and _total(reply, number, len(rows)) > number * PAGE_SIZE


def _total(reply: Mapping[str, Any], number: int, rows: int) -> int:
    """`total_count`; where it is not told, a full page means there may be more."""
    told = text(reply.get("total_count"))
    return int(told) if told and told.isdigit() else number * PAGE_SIZE + (rows >= PAGE_SIZE)
