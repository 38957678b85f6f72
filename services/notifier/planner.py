"""A new errand's row: its text, the verdict on it, and whether it may leave now. Dispatch asks the same before each send."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.notifier import governor, protocol, store
from services.notifier.composer import Composer, Written
from services.notifier.governor import Go, Sent, Stop, Wait
from services.notifier.ledger import Ledger, Row, buyer_key, life_of
from services.notifier.protocol import Next, Report
from shared.accounts import AccountEntry
from shared.clock import from_micros, to_micros
from shared.domain.errands import Conversation, Errand
from shared.domain.facts import encode

_TWO_DAYS = timedelta(days=2)
_conversation = msgspec.json.Decoder(Conversation)


class Planner:
    """What a new errand's row is: text, verdict, and whether it may leave now."""

    def __init__(
        self,
        accounts: Mapping[str, AccountEntry],
        composer: Composer,
        now: datetime,
    ) -> None:
        self._accounts = accounts
        self._composer = composer
        self._conversations: Mapping[store.Key, str] = {}
        self._talks: Mapping[store.Key, Conversation] = {}
        self._now = now
        self._earlier: dict[str, dict[str, tuple[Sent, str]]] = {}
        self._said: dict[store.Key, list[str]] = {}

    def know(self, known: store.Known, talks: Mapping[store.Key, Conversation] | None = None) -> None:
        """What the tables say of these errands' orders and buyers. `talks`: conversations that came with them."""
        self._conversations, self._talks = known.talks, talks or {}
        self._said |= known.said
        for row in known.earlier:
            sent = Sent(row["order_id"], row["slot_day"], from_micros(row["slot_at"]), row["name"])
            self._earlier.setdefault(row["buyer_key"], {})[row["id"]] = (sent, row["status"])

    @property
    def since(self) -> datetime:
        """Messages before it count against no cap."""
        books = (self._composer.book(e.account.marketplace) for e in self._accounts.values())
        counted = any(b.unanswered is not None or b.unanswered_per_purpose is not None for b in books)
        return from_micros(0) if counted else self._now - _TWO_DAYS

    def plan(self, errand: Errand, ledger: Ledger) -> Row:
        row = new_row(errand)
        entry = self._accounts.get(errand.account)
        if entry is None or not self._composer.knows(errand.marketplace):
            _failed(ledger, row, "this account is not configured")
        elif errand.capability == "none":
            _failed(ledger, row, f"{errand.name} cannot be done on this marketplace")
        elif errand.what == "act":
            self._to_be_tried(row, errand)
        else:
            written = self._composer.write(errand, entry.account, self._said.get((errand.account, errand.order_id), ()))
            _put_text(row, written)
            self._judged(row, errand, written, ledger)
        return row

    def _to_be_tried(self, row: Row, errand: Errand) -> None:
        row |= {"status": "planned", "next_at": to_micros(self._now)}

    def _judged(self, row: Row, errand: Errand, written: Written, ledger: Ledger) -> None:
        if written.fault is not None or written.verdict is None:
            why = written.fault or "no text"
            ledger.apply(row, Next("blocked", why=why, reports=(Report("blocked", {"why": why}),)))
            return
        verdict = written.verdict
        ledger.broken_rules += [v.rule for v in verdict.violations]
        ledger.likenesses += [v.rule for v in verdict.violations if v.by_likeness]
        if verdict.action == "send":
            self._said.setdefault((errand.account, errand.order_id), []).append(row["body"])
            self.govern(row, errand, ledger)
            return
        why = "; ".join(dict.fromkeys(f"{v.rule}: {v.why}" for v in verdict.violations))[:500]
        told: dict[str, Any] = {"why": why, "verdict": msgspec.to_builtins(verdict)}
        if verdict.action == "block":
            ledger.apply(row, Next("blocked", why=why, reports=(Report("blocked", told),)))
        else:
            ledger.apply(row, Next("held", why=why, next_at=protocol.expiry(errand), reports=(Report("held", told),)))

    def govern(self, row: Row, errand: Errand, ledger: Ledger) -> bool:
        """Lets the message go on (True), or holds or stops it. It tells of a hold only when it is news."""
        answer = self._asked(row, errand)
        match answer:
            case Go(day=day):
                self._takes_its_place(row, errand, day)
                row |= {"status": "planned", "why": None, "next_at": to_micros(self._now)}
                return True
            case Wait(why=why, until=until):
                self._hold(row, errand, why, until, ledger)
            case Stop(status="assisted", why=why):
                row |= {"slot_day": governor.day_of(self._zone(errand), self._now), "slot_at": to_micros(self._now)}
                ledger.apply(row, protocol.assisted(row["body"] or "", None, (why,), why))
            case Stop(why=why):
                ledger.apply(row, Next("blocked", why=why, reports=(Report("blocked", {"why": why}),)))
        return False

    def repeat(self, row: Row, errand: Errand, ledger: Ledger) -> bool:
        """Whether a message that may have left can be repeated under its key now: it may be for the first time that it
        arrives. Put off where that is known to end, else a person's."""
        answer = self._asked(row, errand)
        if isinstance(answer, Go):
            self._takes_its_place(row, errand, answer.day)
            return True
        until = answer.until if isinstance(answer, Wait) else None
        ledger.apply(row, protocol.put_off(life_of(row, errand), answer.why, until, self._now))
        return False

    def _takes_its_place(self, row: Row, errand: Errand, day: str) -> None:
        """It counts from now on, and goes before whatever is asked about after it."""
        row |= {"slot_day": day, "slot_at": to_micros(self._now)}
        sent = Sent(errand.order_id, day, self._now, errand.name)
        self._earlier.setdefault(row["buyer_key"], {})[row["id"]] = (sent, "sending")

    def _asked(self, row: Row, errand: Errand) -> governor.Answer:
        account = self._accounts[errand.account].account
        talk = self._talk((errand.account, errand.order_id))
        if talk and not set(talk.closed_chats).isdisjoint(errand.refs.values()):
            return Stop("blocked", "the marketplace has closed this chat")
        others = self._earlier.get(row["buyer_key"], {})
        return governor.may_leave(
            errand.order_id,
            errand.urgent,
            self._composer.limits(account),
            talk,
            errand.last_buyer_message_at,
            [sent for id_, (sent, status) in others.items() if id_ != row["id"] and _goes_first(id_, status, row)],
            self._zone(errand),
            self._now,
            "" if errand.text is not None else errand.name,
        )

    def _zone(self, errand: Errand) -> ZoneInfo:
        talk = self._talk((errand.account, errand.order_id))
        told = talk.buyer.time_zone if talk else None
        return governor.zone_of(told, errand.buyer.time_zone, self._accounts[errand.account].account.time_zone)

    def _talk(self, order: store.Key) -> Conversation | None:
        document = self._conversations.get(order)
        return _conversation.decode(document) if document else self._talks.get(order)

    def _hold(self, row: Row, errand: Errand, why: str, until: datetime | None, ledger: Ledger) -> None:
        limit = protocol.expiry(errand)
        at = min((m for m in (until, limit) if m is not None), default=None)
        news = row["status"] != "held" or row["why"] != why or row["next_at"] != (to_micros(at) if at else None)
        told = {"why": why, **({"until": until} if until else {})}
        row |= {"slot_day": None, "slot_at": None}
        ledger.apply(row, Next("held", why=why, next_at=at, reports=(Report("held", told),) if news else ()))


def _goes_first(other: str, status: str, row: Row) -> bool:
    """Of two that are both still to leave the one with the smaller id (the older) has the place."""
    return row["slot_at"] is None or status != "planned" or other < row["id"]


def new_row(errand: Errand) -> Row:
    return {
        "account": errand.account,
        "id": errand.id,
        "marketplace": errand.marketplace,
        "order_id": errand.order_id,
        "case_id": errand.case_id,
        "what": errand.what,
        "name": errand.name,
        "status": "planned",
        "document": encode(errand).decode(),
        **dict.fromkeys(("subject", "body", "locale", "template_hash", "verdict", "why", "provider_id", "prepared")),
        "channel": errand.marketplace,
        "attempts": 0,
        "look_ups": 0,
        "look_faults": 0,
        "created_at": to_micros(errand.created_at),
        "not_after": to_micros(errand.not_after) if errand.not_after else None,
        **dict.fromkeys(("next_at", "first_sending_at", "sent_at", "lease_owner", "lease_until", "withdrawn")),
        "fence": 0,
        "approved": False,
        "buyer_key": buyer_key(errand),
        "slot_day": None,
        "slot_at": None,
        "reported": "{}",
    }


def _put_text(row: Row, written: Written) -> None:
    row |= {
        "subject": written.subject,
        "body": written.body,
        "locale": written.locale,
        "template_hash": written.template_hash,
        "verdict": encode(written.verdict).decode() if written.verdict else None,
    }


def _failed(ledger: Ledger, row: Row, why: str) -> None:
    ledger.apply(row, Next("failed", why=why, reports=(Report("failed", {"why": why}),)))
