"""Replay of whole cases from the log gives the stored bytes, and shows what does not fit."""

from datetime import timedelta

import msgspec
import pytest

from services.policy.rehearse import rehearse
from tests.services.policy.policy_rig import Rig

pytestmark = pytest.mark.asyncio


async def lived(rig: Rig) -> None:
    """Cases with clocks, merges, waiting facts and links in their past."""
    await rig.take(rig.fact("return.requested", order_id=None, refs={"rma": "A"}))
    await rig.take(rig.fact("return.received", external_id="R-3", order_id="O-3"))
    rig.clock.advance(timedelta(hours=30))
    await rig.settle()
    await rig.take(rig.fact("return.authorised", refs={"rma": "A"}))
    await rig.take(rig.fact("return.requested", external_id="R-3", order_id="O-3"))
    await rig.take(rig.fact("dispute.opened"))
    rig.clock.advance(timedelta(days=9))
    await rig.settle()
    await rig.take(rig.fact("return.cancelled"))


async def test_every_case_comes_out_byte_for_byte(rig: Rig) -> None:
    await lived(rig)
    report = await rehearse(rig.database)
    assert report.ok, report
    assert report.cases == 3
    (logged,) = await rig.rows("SELECT count(*) AS n FROM case_log WHERE case_id <> ''")
    assert report.decisions == logged["n"]


async def test_a_changed_log_row_and_a_changed_case_are_found(rig: Rig) -> None:
    await lived(rig)
    first, second, *_ = await rig.cases()
    async with rig.database.transaction() as tx:
        row = await tx.row("SELECT fact FROM case_log WHERE case_id = :id AND seq = 1", id=first.id)
        assert row is not None
        fact = msgspec.json.decode(row["fact"])
        changed = msgspec.json.encode({**fact, "kind": "return.shipped"}).decode()
        await tx.run("UPDATE case_log SET fact = :fact WHERE case_id = :id AND seq = 1", fact=changed, id=first.id)
        other = msgspec.json.encode(msgspec.structs.replace(second, outcome="replaced")).decode()
        await tx.run("UPDATE cases SET document = :document WHERE id = :id", document=other, id=second.id)
    report = await rehearse(rig.database)
    assert {(found.case_id, found.seq) for found in report.differing} == {(first.id, 1), (second.id, None)}
