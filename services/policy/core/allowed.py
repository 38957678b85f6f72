"""The operator's actions that are possible now."""

from services.policy.core import errands, money
from services.policy.core.decision import View
from services.policy.core.guards import GuardFault, compiled, evaluate
from services.policy.core.operators import must_contact_first
from services.policy.core.working import Working, looking
from shared.domain.errands import ACTIONS, ACTS
from shared.domain.playbook import Playbook, Row

_FROM_FACT = ("param_", "has_", "raw_code", "fact_kind", "same_currency")


def allowed(playbook: Playbook, view: View) -> tuple[str, ...]:
    """In the order of `ACTIONS`. Parameters are not judged; what R000-04 forbids before a first contact is left out."""
    work = looking(playbook, view)
    state = work.chart
    if not work.is_open or state is None:
        return ()
    rows = [row for row in (*state.rows, *playbook.everywhere) if row.fact.startswith("operator.acted:")]
    named = {row.fact.partition(":")[2] for row in rows if _may_hold(work, row)} | {"contact"}
    if any(errand.status == "awaiting_approval" for errand in work.errands.values()):
        named |= {"approve", "reject"}
    else:
        named -= {"approve", "reject"}
    return tuple(action for action in ACTIONS if action in named and _possible(work, action))


def _may_hold(work: Working, row: Row) -> bool:
    """A guard over the case alone is judged now; one over the action's own parameters is given the benefit."""
    if row.when is None:
        return True
    try:
        if any(name.startswith(_FROM_FACT) for name in compiled(row.when)[1]):
            return True
        return evaluate(row.when, work)
    except GuardFault:
        return False


def _possible(work: Working, action: str) -> bool:
    if work.terms.closed:
        return action in ("confirm_receipt", "inspect", "reject")
    if must_contact_first(work, action):
        return False
    if action == "refund":
        return money.capability(work, action) != "none" and errands.live_act(work, action) is None
    return action not in ACTS or action == "confirm_receipt" or money.capability(work, action) != "none"
