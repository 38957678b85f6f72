"""Acts on after-sales by API where there is one, prepared work for a person where there is none. Reference 3.4, 3.5.

Each act reads the after-sale first, so nothing is agreed to that has changed. Messages have no API at all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from shared.attempts import Stop, attempt_of, tried
from shared.clock import Clock, to_micros
from shared.domain.errands import Errand
from shared.domain.money import Money, money_in
from shared.http import Http, HttpFault, NotSentFault
from shared.marketplaces.pinduoduo import reading
from shared.marketplaces.pinduoduo.after_sale import AfterSale, text
from shared.marketplaces.pinduoduo.assisted import message, prepared
from shared.marketplaces.pinduoduo.client import Client
from shared.ports import Account, Attempt, Done, Found, NotSent, Refused, Secrets

_RESEND_TRACK = 2
_RETURN_REFUND, _RESEND = 2, 4
_ASKED = ("2", "3")
_REFUNDING = ("4", "10")
_READABLE = ("refund", "authorise")


@dataclass(frozen=True, slots=True)
class Channel:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        return "readable" if errand.what == "act" and errand.name in _READABLE else "blind"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        return message(body)

    async def perform(self, errand: Errand) -> Attempt:
        acts: Mapping[str, Callable[[Errand, AfterSale], Awaitable[None]]] = {
            "refund": self._refund,
            "authorise": self._authorise,
            "confirm_receipt": self._confirm_receipt,
            "ship_replacement": self._ship,
            "cancel": self._cancel,
        }
        if errand.name not in acts or (errand.name == "authorise" and errand.case_kind == "refund"):
            return prepared(errand)
        try:
            sale = await self._read(errand)
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        return await tried(acts[errand.name](errand, sale))

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        try:
            sale = await self._read(errand)
        except HttpFault:
            return Found(None)
        if errand.name == "refund":
            return _refunded(sale)
        if sale.status == "7" or (sale.return_no and sale.status in _ASKED):
            return Found(True)
        return Found(False if sale.status == "3" else None)

    # acts
    async def _refund(self, errand: Errand, sale: AfterSale) -> None:
        """Agreeing to what the buyer asks is the only refund there is; another sum is a proposal."""
        _still_asked(sale, _ASKED)
        wanted = errand.money or money_in(dict(errand.params), "amount")
        if sale.amount is None:
            raise Stop(NotSent("the sum that is asked cannot be read"))
        if wanted is None or wanted != sale.amount:
            raise Stop(Refused(f"the buyer asks for {_shown(sale.amount)} now: decide again, or propose"))
        await self._agree("pdd.refund.agree", errand, sale)

    async def _authorise(self, errand: Errand, sale: AfterSale) -> None:
        if sale.type != _RETURN_REFUND:
            raise Stop(prepared(errand))
        _still_asked(sale, ("3",))
        address = errand.params.get("return_address_id") or self.account.settings.get("return_address_id")
        if not address:
            raise Stop(Refused("a return needs return_address_id (setting or parameter)"))
        await self._check_address(str(address))
        await self._agree("pdd.refund.returngoods.agree", errand, sale, return_address_id=str(address))

    async def _agree(self, type_: str, errand: Errand, sale: AfterSale, **more: str) -> None:
        words = errand.params.get("comment") or errand.text
        request = {"after_sales_id": _number(sale.id), "order_sn": sale.order_id, **more}
        if words or more:
            request["operate_desc"] = str(words or "")
        await self._client.act(type_, request=request)

    async def _check_address(self, wanted: str) -> None:
        """Only an address that is legal and validated is taken."""
        try:
            reply = await self._client.read("pdd.refund.address.list.get")
        except HttpFault as fault:
            raise Stop(attempt_of(fault, before=True)) from fault
        rows = [row for row in reply.get("refund_address_list") or [] if isinstance(row, Mapping)]
        found = next((r for r in rows if wanted in (text(r.get("refund_address_id")), text(r.get("id")))), None)
        if found is None:
            raise Stop(Refused(f"return address {wanted} is not in the shop's list"))
        if found.get("is_legal") is not True or found.get("is_validated") is not True:
            raise Stop(Refused(f"return address {wanted} is not validated by Pinduoduo"))

    async def _confirm_receipt(self, errand: Errand, sale: AfterSale) -> None:
        carrier = errand.params.get("reverse_logistics_id")
        if not carrier or not sale.return_no:
            raise Stop(
                prepared(errand, "The API asks for the carrier's id (reverse_logistics_id) and a tracking number.")
            )
        fine = errand.params.get("condition", "ok") == "ok"
        request = {
            "after_sales_id": _number(sale.id),
            "order_sn": sale.order_id,
            "operate_time": self._millis(),
            "reverse_logistics_id": _number(carrier),
            "reverse_tracking_number": sale.return_no,
            "warehouse_status": 1 if fine else 2,
        }
        await self._client.act("pdd.nextone.logistics.warehouse.update", request=request)

    async def _ship(self, errand: Errand, sale: AfterSale) -> None:
        carrier, tracking = errand.params.get("shipping_id"), str(errand.params.get("tracking", ""))
        if not carrier or not tracking:
            raise Stop(prepared(errand, "The API asks for the carrier's id (shipping_id)."))
        if sale.type == _RESEND:
            track = {"shipping_id": _number(carrier), "tracking_number": tracking}
            await self._client.act(
                "pdd.order.upload.extra.logistics",
                order_sn=sale.order_id,
                extra_track_list=[track],
                extra_track_type=_RESEND_TRACK,
            )
            raise Stop(
                Done(left=prepared(errand, "The buyer sees the parcel now; the after-sale itself is told by hand."))
            )
        request = {
            "after_sales_id": _number(sale.id),
            "order_sn": sale.order_id,
            "shipping_id": _number(carrier),
            "shipping_name": str(errand.params.get("carrier", "")),
            "tracking_number": tracking,
        }
        await self._client.act("pdd.refund.exchange.shipping", request=request)

    async def _cancel(self, errand: Errand, sale: AfterSale) -> None:
        """Tells that the shipment of an order not yet sent was stopped; for refunds without a return only."""
        if sale.kind != "refund" or sale.shipped is not False:
            raise Stop(Refused("the order is shipped, or this is no refund without a return"))
        param: dict[str, Any] = {
            "refund_id": _number(sale.id),
            "tid": sale.order_id,
            "status": "SUCCESS",
            "operate_time": self._millis(),
        }
        if sale.amount is not None:
            param["refund_fee"] = sale.amount.minor
        await self._client.act("pdd.rdc.pddgenius.sendgoods.cancel", param=param)

    async def _read(self, errand: Errand) -> AfterSale:
        id_ = errand.refs.get("refund_id") or errand.refs.get("external_id", "")
        body = await reading.body(self._client, errand.order_id, id_)
        if body is None:
            raise NotSentFault(f"after-sale {id_} cannot be read")
        return AfterSale(body)

    def _millis(self) -> int:
        return to_micros(self.clock.now()) // 1000

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http, self.clock)


def _still_asked(sale: AfterSale, wanted: tuple[str, ...]) -> None:
    if sale.status not in wanted:
        raise Stop(Refused(f"the after-sale stands at status {sale.status} now: it does not wait for this"))


def _refunded(sale: AfterSale) -> Found:
    if sale.status in _REFUNDING:
        return Found(True)
    return Found(False if sale.status in _ASKED else None)


def _number(id_: Any) -> int | str:
    told = str(id_)
    return int(told) if told.isascii() and told.isdigit() else told


def _shown(money: Money) -> str:
    return f"{money.value} {money.currency}"
