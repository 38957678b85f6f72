"""The verdict over a schedule at rest: the one of `tests.crash.verdict`, and what only this world can know."""

from typing import Any

from services.policy import rehearse
from shared.clock import to_micros
from tests.crash.picture import TABLES, Picture, Violation
from tests.crash.verdict import account_for, judge
from tests.crash.verdict_errands import effects
from tests.simulation.world import World


def picture_of(world: World) -> Picture:
    tables: dict[str, Any] = {}
    for service, names in TABLES.items():
        for name in names:
            tables[f"{service}.{name}"] = world.rows(service, f"SELECT * FROM {name}")
    return Picture(
        tables=tables, now=to_micros(world.clock.now()), offered=world.senders.offered(), calls=world.market.log,
        differing=_differing(world), heard=world.heard,
    )  # fmt: skip


def violations_of(world: World) -> tuple[list[Violation], dict[str, int]]:
    picture = picture_of(world)
    found = [
        *judge(picture),
        *_answered_is_logged(world, picture),
        *_poison_is_kept(world, picture),
        *_withdrawn_stayed(picture),
    ]
    return found, account_for(picture)


def _differing(world: World) -> tuple[Any, ...]:
    policy = world.running["policy"]
    report = world.loop.finish(rehearse.rehearse(policy.service.database), policy.process)
    return tuple(report.differing)


def _answered_is_logged(world: World, picture: Picture) -> list[Violation]:
    """I1: what an operator was told is done is in the log."""
    return [
        Violation("I1", "an action was answered and is not in the log", {"key": click.key, "case": click.case_id})
        for click in world.people.clicks
        if click.status in (200, 202) and (click.account, world.people.fact_of(click)) not in picture.applied
    ]


def _poison_is_kept(world: World, picture: Picture) -> list[Violation]:
    """I17: bytes that are no event lie in a parked table."""
    rows = (*picture.of("policy.parked"), *picture.of("notifier.parked"))
    kept = {bytes(row["body"]).decode() for row in rows}
    return [Violation("I17", "poison has vanished", {"body": body}) for body in world.poison if body not in kept]


def _withdrawn_stayed(picture: Picture) -> list[Violation]:
    """I12: policy was told that it was withdrawn, and it left. (People here look before they answer.)"""
    left = {call.errand_id for call in effects(picture)}
    told = {id_ for id_, facts in picture.results.items() if any(f["kind"].endswith(".withdrawn") for f in facts)}
    return [Violation("I12", "an errand left that was told withdrawn", {"errand": id_}) for id_ in sorted(left & told)]
