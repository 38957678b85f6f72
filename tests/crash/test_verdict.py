"""The verdict finds what it is there to find: a sound run's picture, spoilt in one place at a time."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.crash import chaos
from tests.crash.picture import Call, Picture
from tests.crash.verdict import judge

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]
Spoil = Callable[[Picture], Picture]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Picture:
    folder = tmp_path_factory.mktemp("sound")
    result = asyncio.run(chaos.once(folder, None, 4, 120, chaos.planned("embedded", 4, 2)))
    assert result.violations == []
    return result.picture


def _with(p: Picture, table: str, rows: list[Any]) -> Picture:
    return replace(p, tables={**p.tables, table: rows})


def dropped(table: str, which: Callable[[Any], bool] = lambda row: True) -> Spoil:
    def spoil(p: Picture) -> Picture:
        rows = list(p.of(table))
        rows.remove(next(row for row in rows if which(row)))
        return _with(p, table, rows)

    return spoil


def doubled(table: str, **changes: Any) -> Spoil:
    def spoil(p: Picture) -> Picture:
        return _with(p, table, [*p.of(table), {**p.of(table)[-1], **changes}])

    return spoil


def changed(table: str, which: Callable[[Any], bool] = lambda row: True, **changes: Any) -> Spoil:
    def spoil(p: Picture) -> Picture:
        rows = list(p.of(table))
        n = next(n for n, row in enumerate(rows) if which(row))
        rows[n] = {**rows[n], **{name: to(rows[n]) if callable(to) else to for name, to in changes.items()}}
        return _with(p, table, rows)

    return spoil


def called(**changes: Any) -> Spoil:
    """One more call at the marketplace, like the last one but for the changes."""

    def spoil(p: Picture) -> Picture:
        last = p.calls[-1]
        more: Call = replace(last, **{"n": len(p.calls), **changes})
        return replace(p, calls=[*p.calls, more])

    return spoil


def withdrawn_and_sent(p: Picture) -> Picture:
    gone = next(row for row in p.errands.values() if row["status"] == "suppressed")
    return called(errand_id=gone["id"], says="to a closed case")(p)


def _timer(row: Any) -> bool:
    return json.loads(row["fact"])["kind"] == "timer.elapsed"


def _later_step(row: Any) -> bool:
    return int(row["seq"]) > 1


def _after(row: Any) -> str:
    return json.dumps({**json.loads(row["decision"]), "from_state": "elsewhere"})


def _sent(row: Any) -> bool:
    return bool(row["status"] == "sent")


def _unattended(p: Picture) -> Picture:
    case = next(row for row in p.of("policy.cases") if row["phase"] != "resolved")
    tasks = [row for row in p.of("policy.tasks") if row["case_id"] != case["id"]]
    spoilt = changed("policy.cases", lambda row: row["id"] == case["id"], next_due_at=None)(p)
    return _with(spoilt, "policy.tasks", tasks)


SPOILT: dict[str, tuple[str, Spoil]] = {
    "an accepted delivery is gone": ("I1", dropped("intake.deliveries")),
    "its bytes were changed": ("I1", changed("intake.raw", body=b"{}")),
    "one cause is there twice": ("I2", doubled("intake.deliveries", id="dlv_other")),
    "a fact of a delivery is gone": ("I2", dropped("intake.facts")),
    "a fact was applied that nobody told": ("I2", dropped("notifier.results")),
    "a row is unpublished": ("I8", changed("policy.outbound", published_at=None)),
    "a fact was never applied": ("I8", dropped("policy.case_log", lambda row: not _timer(row))),
    "a fact was applied twice": ("I9", doubled("policy.case_log", seq=99)),
    "a log has a gap": ("I4", changed("policy.case_log", _later_step, seq=77)),
    "two steps began at one state": ("I4", changed("policy.case_log", _later_step, decision=_after)),
    "a step went back in time": ("I4", changed("policy.case_log", _later_step, decided_at=1)),
    "one matter has two cases": ("I4", doubled("policy.cases", id="case_other", seq=0)),
    "a clock fired early": ("I14", changed("policy.case_log", _timer, decided_at=1)),
    "a clock fired twice": ("I14", lambda p: _with(p, "policy.case_log", [*p.of("policy.case_log"), *[
        {**row, "fact_id": "again", "seq": row["seq"] + 50} for row in p.of("policy.case_log") if _timer(row)][:1]])),
    "a due clock did not fire": ("I14", changed("policy.cases", next_due_at=1)),
    "a case lies unattended": ("A", _unattended),
    "a counter is off": ("I25", changed("policy.counters", value=lambda row: row["value"] + 1)),
    "a repeat was not counted": ("I25", lambda p: _with(p, "intake.counters", [])),
    "a case comes out otherwise": ("I6", lambda p: replace(p, differing=["case_1"])),
    "an errand was sent twice": ("I10", called()),
    "another errand said the same": ("I10", called(errand_id="msg_other")),
    "a sent errand never arrived": ("I10", lambda p: replace(p, calls=p.calls[:-1])),
    "a plan got lost": ("I8", dropped("notifier.errands")),
    "an errand was left sending": ("I11", changed("notifier.errands", _sent, status="sending")),
    "policy was not told": ("I11", dropped("notifier.results", lambda row: '"message.sent"' in row["body"])),
    "an attempt is missing": ("I11", dropped("notifier.attempts")),
    "a withdrawn errand left": ("I12", withdrawn_and_sent),
    "it was begun after its time": ("I12", changed("notifier.errands", _sent, not_after=1)),
    "money went twice unread": ("I13", lambda p: called(money=True, effect=False)(replace(p, calls=[
        *p.calls[:-1], replace(p.calls[-1], money=True, answer="cut")]))),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_spoilt_is_found(sound: Picture, how: str) -> None:
    invariant, spoil = SPOILT[how]
    assert invariant in {violation.invariant for violation in judge(spoil(sound))}
