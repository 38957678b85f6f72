"""Messages to buyers and acts on disputes. Each act reads the dispute first, so nothing is agreed to that has changed.

Reference B4.1 (acts), B5 (messages).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import msgspec

from shared.attempts import Stop, attempt_of, tried
from shared.clock import Clock, from_micros, to_micros
from shared.domain.errands import Errand
from shared.domain.money import Money, money_in
from shared.http import Http, HttpFault, NotSentFault
from shared.marketplaces.aliexpress import pictures
from shared.marketplaces.aliexpress.assisted import prepared
from shared.marketplaces.aliexpress.client import Client
from shared.marketplaces.aliexpress.issue import RETURN, Issue, Plan, items, text
from shared.ports import Account, Assisted, Attempt, Done, Found, Refused, Secrets

SKEW = timedelta(minutes=2)
"""Their clock and ours: what they stamp so much earlier than our attempt may still be ours."""
_TEXT_TEMPLATE, _BASIC_SCENE, _SELLER = 1, 1, 12
_PAGES = 5
_MINE = ("refund", "authorise", "propose", "decline", "submit_evidence")
_PLAN_OF_REMEDY = {"part_refund": "refund", "refund": "refund", "return_refund": RETURN}


@dataclass(frozen=True, slots=True)
class Channel:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock
    files_for: ClassVar[frozenset[str]] = frozenset({"submit_evidence"})

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        on_dispute = errand.name in _MINE and errand.case_kind != "cancellation"
        return "readable" if errand.what == "message" or on_dispute else "blind"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        login = _login(errand)
        if login is None:
            return Refused("the buyer's login is not known")
        if errand.attachments:
            return Assisted(body, checklist=("Send this text with its pictures in the buyer's chat.",))
        try:
            buyer_id = await self._session(login)
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        except Stop as stop:
            return stop.attempt
        return await self._message(buyer_id, body)

    async def perform(self, errand: Errand, files: Mapping[str, bytes] | None = None) -> Attempt:
        if errand.case_kind == "cancellation":
            return await self._answer_cancel(errand)
        acts: Mapping[str, Callable[[Errand, Issue], Awaitable[Attempt | None]]] = {
            "refund": self._refund,
            "authorise": self._authorise,
            "propose": self._propose,
            "decline": self._decline,
            "submit_evidence": lambda done, issue: pictures.upload(self._client, done, issue, files),
        }
        if errand.name not in acts or not errand.refs.get("issue_id"):
            return prepared(errand)
        try:
            issue = await self._issue(errand)
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        return await tried(acts[errand.name](errand, issue))

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        try:
            if errand.what == "message":
                return await self._sent_message(errand, body, since - SKEW)
            issue = await self._issue(errand)
        except HttpFault:
            return Found(None)
        return _taken(errand, issue, since - SKEW)

    # messages
    async def _session(self, login: str) -> str:
        """Opens the right to write; the id to write to."""
        dto = {"buyer_login_id": login}
        result = await self._client.rest("/aliexpress/message/session/open", reads=True, im_session_open_dto=dto)
        data = _data(result)
        if str(data.get("openResult", data.get("open_result", "SUCCESS"))).upper() == "FAIL":
            raise Stop(Refused("AliExpress does not let us write to this buyer"))
        return text(data.get("buyer_id")) or text(data.get("buyerId")) or login

    async def _message(self, buyer_id: str, body: str) -> Attempt:
        dto = {
            "buyer_id": buyer_id,
            "template_id": _TEXT_TEMPLATE,
            "scene_id": _BASIC_SCENE,
            "only_for_target": False,
            "message_content_dto": {"txt": body},
        }
        try:
            result = await self._client.rest("/aliexpress/message/send", im_send_message_dto=dto)
        except HttpFault as fault:
            return attempt_of(fault)
        return Done(text(_data(result).get("message_id")) or text(result.get("data")))

    async def _sent_message(self, errand: Errand, body: str, since: datetime) -> Found:
        login = _login(errand)
        if login is None:
            return Found(False)
        buyer_id = await self._buyer_id(login)
        query: dict[str, Any] = {"buyer_id": buyer_id, "page_size": 20}
        query["start_time"] = to_micros(self.clock.now() + SKEW) // 1000
        for _ in range(_PAGES):
            data = _data(await self._client.rest("/aliexpress/message/list", reads=True, im_query_message_dto=query))
            messages = items(data.get("message_list"))
            found = next((m for m in messages if _is_ours(m, body, since)), None)
            if found is not None:
                return Found(True, text(found.get("message_id")))
            if data.get("has_more") is not True or any(_sent_at(m) < since for m in messages):
                return Found(False)
            query |= {"start_time": data.get("next_start_time"), "last_message_id": data.get("last_message_id")}
        return Found(None)

    async def _buyer_id(self, login: str) -> str:
        try:
            return await self._session(login)
        except Stop:
            return login

    # acts on a dispute
    async def _refund(self, errand: Errand, issue: Issue) -> None:
        """Agreeing to the buyer's own plan is the only refund there is; another amount is a proposal."""
        plan = _standing(issue)
        if plan.returns:
            raise Stop(Refused("the buyer's plan sends the goods back: authorise it, or propose a refund"))
        _check_amount(plan, _money(errand))
        await self._agree(issue, plan, None)

    async def _authorise(self, errand: Errand, issue: Issue) -> None:
        plan = _standing(issue)
        if not plan.returns:
            raise Stop(Refused("the buyer's plan is no return"))
        if (expected := _money(errand)) is not None:
            _check_amount(plan, expected)
        await self._agree(issue, plan, self._address(errand))

    async def _agree(self, issue: Issue, plan: Plan, address: str | None) -> None:
        await self._client.act(
            "aliexpress.issue.solution.agree",
            buyer_login_id=issue.buyer,
            issue_id=issue.id,
            solution_id=plan.id,
            return_address_id=address,
        )

    async def _propose(self, errand: Errand, issue: Issue) -> None:
        kind = _PLAN_OF_REMEDY.get(str(errand.params.get("remedy", "part_refund")))
        if kind is None:
            raise Stop(prepared(errand))
        amount = _money(errand) or (_asked(issue) if kind == RETURN else None)
        if amount is None:
            raise Stop(Refused("a proposal needs its amount"))
        await self._save(errand, issue, kind, amount)

    async def _decline(self, errand: Errand, issue: Issue) -> None:
        """No refund is a plan of zero (reference B4.1)."""
        asked = _asked(issue)
        if asked is None:
            raise Stop(Refused("the currency of the dispute is not known"))
        await self._save(errand, issue, "refund", Money.of("0", asked.currency))

    async def _save(self, errand: Errand, issue: Issue, kind: str, amount: Money) -> None:
        _check_ceiling(amount, issue.max_refund)
        mine, theirs = issue.seller_plan, issue.buyer_plan
        standing = mine is not None and mine.status == "wait_buyer_accept"
        dto = {
            "add_seller_solution": not standing,
            "add_solution_type": kind,
            "buyer_login_id": issue.buyer,
            "issue_id": issue.id,
            "buyer_solution_id": None if standing or theirs is None else theirs.id,
            "modify_seller_solution_id": mine.id if standing and mine else None,
            "refund_amount": amount.value,
            "refund_amount_currency": amount.currency,
            "return_good_address_id": self._address(errand) if kind == RETURN else None,
            "solution_context": errand.params.get("comment") or errand.params.get("reason") or errand.text,
        }
        await self._client.act(
            "aliexpress.issue.solution.save", param_dto={k: v for k, v in dto.items() if v is not None}
        )

    async def _answer_cancel(self, errand: Errand) -> Attempt:
        login = _login(errand)
        if login is None or errand.name not in ("cancel", "decline"):
            return prepared(errand, "The buyer's login is not known, which the API asks for." if login is None else "")
        request = {"buyer_login_id": login, "order_id": errand.order_id}
        if errand.name == "decline":
            request["memo"] = str(errand.params.get("comment", ""))
        method = "acceptcancel" if errand.name == "cancel" else "refusecancel"
        return await tried(
            self._client.act(f"aliexpress.trade.seller.order.{method}", param_order_cancel_request=request)
        )

    async def _issue(self, errand: Errand) -> Issue:
        issue_id = errand.refs["issue_id"]
        buyer = _login(errand)
        result = await self._client.read("aliexpress.issue.detail.get", issue_id=issue_id, buyer_login_id=buyer)
        detail = result.get("result_object", result)
        if not isinstance(detail, Mapping) or not detail.get("reverse_detail_status"):
            raise NotSentFault(f"dispute {issue_id} cannot be read")
        return Issue({"buyer_login_id": buyer, **detail, "issue_id": issue_id})

    def _address(self, errand: Errand) -> str:
        address = errand.params.get("return_address_id") or self.account.settings.get("return_address_id")
        if not address:
            raise Stop(Refused("a return plan needs return_address_id (setting or parameter)"))
        return str(address)

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http, self.clock)


def _login(errand: Errand) -> str | None:
    return errand.refs.get("buyer_login_id") or errand.buyer.id


def _money(errand: Errand) -> Money | None:
    return errand.money or money_in(dict(errand.params), "amount")


def _asked(issue: Issue) -> Money | None:
    """What the buyer wants back, else the most there is to give back."""
    return (issue.buyer_plan and issue.buyer_plan.money) or issue.max_refund


def _standing(issue: Issue) -> Plan:
    plan = issue.buyer_plan
    if issue.is_over or issue.agreed is not None:
        raise Stop(Refused("the dispute is settled already"))
    if plan is None or plan.money is None:
        raise Stop(Refused("the buyer has no plan to agree to"))
    return plan


def _check_amount(plan: Plan, expected: Money | None) -> None:
    if expected is None or plan.money != expected:
        shown = f"{plan.money.value} {plan.money.currency}" if plan.money else "nothing"
        raise Stop(Refused(f"the buyer's plan is {shown} now: decide again, or propose"))


def _check_ceiling(amount: Money, most: Money | None) -> None:
    """AE-M09."""
    if most is not None and most.minor and (most.currency != amount.currency or amount.minor > most.minor):
        raise Stop(Refused(f"AliExpress allows at most {most.value} {most.currency} in this dispute"))


def _taken(errand: Errand, issue: Issue, since: datetime) -> Found:
    match errand.name:
        case "refund" | "authorise":
            return Found(issue.agreed is not None and issue.agreed.owner == "buyer")
        case "submit_evidence":
            return pictures.taken(errand, issue, since, SKEW)
        case "propose" | "decline":
            plan, amount = issue.seller_plan, _money(errand) or _asked(issue)
            if plan is None or plan.changed is None or plan.changed < since or plan.money is None:
                return Found(False)
            wanted = 0 if errand.name == "decline" or amount is None else amount.minor
            return Found(plan.money.minor == wanted, plan.id)
    return Found(None)


def _data(result: Mapping[str, Any]) -> Mapping[str, Any]:
    data = result.get("data", result)
    return data if isinstance(data, Mapping) else {}


def _is_ours(message: Mapping[str, Any], body: str, since: datetime) -> bool:
    if text(message.get("from_account_type")) != str(_SELLER) or _sent_at(message) < since:
        return False
    return _squeezed(_written(message.get("content"))) == _squeezed(body)


def _written(content: Any) -> str:
    """The text inside a message's content, which is JSON in a string."""
    try:
        inner = msgspec.json.decode(content) if isinstance(content, str) else content
    except msgspec.DecodeError:
        return str(content)
    return str(inner.get("txt") or inner.get("content") or "") if isinstance(inner, Mapping) else str(inner)


def _sent_at(message: Mapping[str, Any]) -> datetime:
    told = text(message.get("send_time")) or "0"
    return from_micros(int(told) * 1000 if told.isdigit() else 0)


def _squeezed(words: str) -> str:
    return " ".join(words.split())
