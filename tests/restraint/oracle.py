"""Whether what left was right: the rules as docs/rules-format.md says them, read by themselves from the files' plain data.

Nothing of the governor, the rule engine or the templates is used here. Each promise is one function over the moment an
attempt began; what was told before that moment is all that counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.domain.errands import Conversation, Errand, Resolution, Withdrawal
from tests.restraint import texts
from tests.restraint.laws import purposes
from tests.restraint.lives import Life
from tests.restraint.memory import Begun, Heard, History

HOURS = {"PT48H": timedelta(hours=48), "PT24H": timedelta(hours=24), "PT6H": timedelta(hours=6)}
MOST_TELLINGS = 40
"""A message that is held tells of it when that is news; so often it never is."""
JUDGED_WITH_EARLIER = ("claim_first_word", "explain_withdrawal")
"""They speak of withdrawing: whether they may leave depends on what was said before."""
SHORT_OF_BLANKS = ("None", "{{", "}}", "Undefined", "jinja")


@dataclass
class _Left:
    """One message the marketplace has taken."""

    errand: Errand
    at: datetime
    day: str


@dataclass
class _Known:
    """What the notifier has been told up to a moment."""

    errands: dict[str, Errand] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    approved: set[str] = field(default_factory=set)
    talks: dict[str, Conversation] = field(default_factory=dict)
    words: dict[str, list[datetime]] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    """Orders whose buyer has ever asked for silence, or whose chat was ever closed."""
    left: list[_Left] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)
    """Texts taken, by order."""
    joined: set[str] = field(default_factory=set)
    """Wishes for a review that were told within five messages of a gift."""


def faults(life: Life, history: History) -> list[str]:
    """One line per broken promise."""
    judge = _Judge(life)
    found: list[str] = []
    for event in history.events:
        found += judge.hear(event) if isinstance(event, Heard) else judge.see(event)
    if history.spun:
        found.append("spins: something is due over and over")
    return [*found, *judge.in_the_end(history)]


class _Judge:
    def __init__(self, life: Life) -> None:
        self.life, self.known = life, _Known()
        raw, settings = life.law.raw, life.law.settings
        limits = raw.get("limits") or {}
        self.per_day = settings.get("daily_messages_per_buyer", limits.get("per_day"))
        self.unanswered, self.same = limits.get("unanswered"), limits.get("unanswered_per_purpose")
        self.unanswered_a_day = limits.get("per_day_unanswered")
        self.windows = raw.get("windows")
        self.allowed: Mapping[str, Sequence[str] | None] = raw["purposes"]
        said = (
            settings["quiet_hours"].split("-")
            if "quiet_hours" in settings
            else list(raw.get("quiet_hours", {}).values())
        )
        self.quiet = [time.fromisoformat(one) for one in said]

    # what is told

    def hear(self, event: Heard) -> Iterator[str]:
        known, thing = self.known, event.thing
        match thing:
            case Errand():
                if thing.id not in known.errands:
                    known.errands[thing.id] = thing
                    if texts.words(thing.text) == texts.WISH and self._gift_before(thing):
                        known.joined.add(thing.id)
                if thing.last_buyer_message_at is not None:
                    known.words.setdefault(thing.order_id, []).append(thing.last_buyer_message_at)
            case Withdrawal():
                known.withdrawn.add(thing.errand_id)
            case Resolution(answer="send_again"):
                known.approved.add(thing.errand_id)
            case Resolution(answer="drop" | "not_sent"):
                pass
            case Conversation():
                self._talk(thing)
        yield from ()

    def _gift_before(self, errand: Errand) -> bool:
        return texts.GIFT in [texts.words(said) for said in self.known.said.get(errand.order_id, [])[-4:]]

    def _talk(self, talk: Conversation) -> None:
        known, before = self.known, self.known.talks.get(talk.order_id)
        if before is not None and before.seq >= talk.seq:
            return
        known.talks[talk.order_id] = talk
        if talk.opted_out or talk.closed_chats:
            known.out.add(talk.order_id)
        if talk.last_buyer_message_at is not None:
            known.words.setdefault(talk.order_id, []).append(talk.last_buyer_message_at)

    # what leaves

    def see(self, event: Begun) -> Iterator[str]:
        errand = self.known.errands.get(event.errand_id)
        if errand is None:
            yield f"{event.errand_id} left before it was planned"
            return
        spoke = max(self.known.words.get(errand.order_id, []), default=None)
        for fault in (*self._unfit(errand, event), *self._held_back(errand, spoke, event.at)):
            yield f"{event.at.isoformat()} {errand.id} {errand.name}: {fault}"
        if event.taken and not event.again:
            if any(one.errand.id == errand.id for one in self.known.left):
                yield f"{errand.id} left twice"
            self.known.left.append(_Left(errand, event.at, self._day(errand, event.at)))
            self.known.said.setdefault(errand.order_id, []).append(event.body)

    def _unfit(self, errand: Errand, event: Begun) -> Iterator[str]:
        """What must never leave, whenever it is."""
        known, talk = self.known, self.known.talks.get(errand.order_id)
        if errand.id in known.withdrawn:
            yield "it was withdrawn"
        if errand.not_after is not None and event.at > errand.not_after:
            yield "its time was over"
        if talk is not None and talk.opted_out:
            yield "the buyer wants no messages"
        if talk is not None and set(talk.closed_chats) & set(errand.refs.values()):
            yield "the chat is closed"
        yield from map(str, self._worded(errand, event.body))
        if not self._permitted(errand):
            yield f"not allowed while {errand.phase}"
        if self._doubtful(errand) and errand.id not in known.approved:
            yield "nobody has agreed to the text"

    def _worded(self, errand: Errand, body: str) -> Iterator[str]:
        if missing := _missing(errand):
            yield f"without {missing}"
        if any(sign in body for sign in SHORT_OF_BLANKS) or not body.strip():
            yield f"a blank in {body!r}"
        if texts.words(errand.text) in texts.FOUL or errand.id in self.known.joined:
            yield f"forbidden: {errand.text}"

    def _permitted(self, errand: Errand) -> bool:
        phases = self.allowed.get(errand.name, ())
        return errand.name in self.allowed and (not phases or errand.phase in phases)

    def _doubtful(self, errand: Errand) -> bool:
        marketplaces = texts.DOUBTFUL.get(texts.words(errand.text))
        return marketplaces is not None and self.life.law.marketplace in marketplaces

    def _held_back(self, errand: Errand, spoke: datetime | None, at: datetime) -> Iterator[str]:
        """What must not leave now. `spoke`: the buyer's last word."""
        others = [one for one in self.known.left if one.errand.id != errand.id]
        day = self._day(errand, at)
        if self.quiet and not errand.urgent and self._is_quiet(errand, at):
            yield "in quiet hours"
        if self.windows and not self._is_open(errand, spoke, at):
            yield "outside the window"
        today = sum(one.day == day and _whom(one.errand) == _whom(errand) for one in others)
        if self.per_day is not None and today >= self.per_day:
            yield f"{today} of {self.per_day} had left to this buyer on {day}"
        silent = [one for one in others if one.errand.order_id == errand.order_id and (spoke is None or one.at > spoke)]
        if self.unanswered is not None and len(silent) >= self.unanswered:
            yield f"{len(silent)} of {self.unanswered} are unanswered"
        if self.unanswered_a_day is not None and sum(one.day == day for one in silent) >= self.unanswered_a_day:
            yield f"{self.unanswered_a_day} of today are unanswered"
        same = sum(one.errand.name == errand.name for one in silent if one.errand.text is None)
        if self.same is not None and errand.text is None and same >= self.same:
            yield f"{same} of {errand.name} are unanswered"

    def _is_quiet(self, errand: Errand, at: datetime) -> bool:
        start, end = self.quiet
        wall = at.astimezone(self._zone(errand)).time()
        return start <= wall < end if start < end else wall >= start or wall < end

    def _is_open(self, errand: Errand, spoke: datetime | None, at: datetime) -> bool:
        talk = self.known.talks.get(errand.order_id)
        after, until = self.windows.get("after_buyer_message"), talk.window_until if talk else None
        if after and spoke is not None and at - spoke <= HOURS[after]:
            return True
        return at <= until if until is not None else not self.windows.get("closed_by_default")

    def _zone(self, errand: Errand) -> ZoneInfo:
        talk = self.known.talks.get(errand.order_id)
        for name in (talk.buyer.time_zone if talk else None, errand.buyer.time_zone, self.life.zone):
            try:
                if name:
                    return ZoneInfo(name)
            except ZoneInfoNotFoundError:
                continue
        return ZoneInfo("UTC")

    def _day(self, errand: Errand, at: datetime) -> str:
        return at.astimezone(self._zone(errand)).date().isoformat()

    # what stayed

    def in_the_end(self, history: History) -> Iterator[str]:
        """Nobody waits for nothing, nobody is blocked for nothing, and each is told why."""
        self._perhaps_left(history.rows)
        for id_, row in history.rows.items():
            errand, status = self.known.errands[id_], row["status"]
            if status in ("planned", "sending") and not self._has_just_begun(row):
                yield f"{id_} {errand.name} is still {status}: {row['why']}"
            if status == "held" and not self._may_wait(errand, self.life.end):
                yield f"{id_} {errand.name} is held for nothing: {row['why']}"
            if status == "blocked" and not self._may_be_blocked(errand):
                yield f"{id_} {errand.name} is blocked for nothing: {row['why']}"
            if status in ("held", "blocked") and not row["why"]:
                yield f"{id_} {errand.name} is {status} and nobody knows why"
            if (times := history.told.count(f"message.held {id_}")) > MOST_TELLINGS:
                yield f"{id_} {errand.name} was told to be held {times} times"

    def _has_just_begun(self, row: Mapping[str, Any]) -> bool:
        """Under way as the life ends, or to be tried again soon after."""
        return (row["first_sending_at"] or 0) > (self.life.end - timedelta(minutes=1)).timestamp() * 1e6

    def _perhaps_left(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """What is under way, in doubt or with a person counts as left, what was repeated as if it had arrived only then."""
        for id_, row in rows.items():
            tried_again = row["status"] == "planned" and row["slot_at"] is not None
            if tried_again or row["status"] in ("in_doubt", "assisted", "sent", "sending"):
                self.known.left = [one for one in self.known.left if one.errand.id != id_]
                at = datetime.fromtimestamp(row["slot_at"] / 1e6, UTC)
                self.known.left.append(_Left(self.known.errands[id_], at, row["slot_day"]))

    def _may_wait(self, errand: Errand, at: datetime) -> bool:
        if self._doubtful(errand) and errand.id not in self.known.approved:
            return True
        if texts.words(errand.text) == texts.WISH:
            return True
        talk = self.known.talks.get(errand.order_id)
        words = [errand.last_buyer_message_at, talk.last_buyer_message_at if talk else None]
        heard = max((word for word in words if word is not None), default=None)
        return any(True for _ in self._held_back(errand, heard, at))

    def _spoken_of(self, words: str, order_id: str) -> bool:
        """What is said after it is judged together with it, which may go too far."""
        return any(one.order_id == order_id and texts.words(one.text) == words for one in self.known.errands.values())

    def _may_be_blocked(self, errand: Errand) -> bool:
        closed = bool(self.windows) and self.windows["otherwise"] == "block"
        foul = texts.words(errand.text) in (*texts.FOUL, texts.WISH) or errand.name in JUDGED_WITH_EARLIER
        foul |= self._spoken_of(texts.GIFT, errand.order_id)
        return (
            foul or closed or bool(_missing(errand)) or not self._permitted(errand) or errand.order_id in self.known.out
        )


def _whom(errand: Errand) -> str:
    return errand.buyer.id or f"who bought {errand.order_id}"


def _missing(errand: Errand) -> str:
    """Variables the purpose needs and nobody gave, by the file."""
    if errand.text is not None:
        return ""
    needed = [name for name, said in purposes()[errand.name]["variables"].items() if said["required"]]
    return ", ".join(name for name in needed if _blank(errand.params.get(name)))


def _blank(value: Any) -> bool:
    if isinstance(value, list):
        return not value or any(_blank(one) for one in value)
    return value is None or (isinstance(value, str) and not value.strip())
