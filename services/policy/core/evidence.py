"""Evidence lists: asking for what proves the case, noting what has come in and what has gone out."""

from typing import Any

from services.policy.core.errands import tell
from services.policy.core.names import missing_evidence
from services.policy.core.tasks import DONE, close_task, open_task, soonest
from services.policy.core.working import Working
from shared.domain.case import OpenErrand
from shared.domain.playbook import Tell

PURPOSE = "ask_for_evidence"


def request(work: Working, rule: str) -> None:
    """Asks the buyer once for all his missing items; the seller's and the carrier's are a task."""
    missing = missing_evidence(work)
    buyers = [item.what for item in missing if item.supplied_by == "buyer"]
    ours = [item.what for item in missing if item.supplied_by != "buyer"]
    if buyers:
        tell(work, Tell(purpose=PURPOSE), rule, extra={"items": buyers})
    if ours:
        reason = f"Evidence is missing: {', '.join(ours)}"
        allowed = ("submit_evidence", DONE)
        open_task(work, "evidence_missing", reason, soonest(work), allowed, true_in=(work.state,))


def note(work: Working) -> None:
    """An `evidence.submitted` names what it is (`what`, else `kind`); a complete list closes its task."""
    data = work.fact.data
    what = data.get("what") or data.get("kind")
    there = work.facts.get("evidence", [])
    if isinstance(what, str) and what and what not in there:
        work.put("evidence", [*there, what])
    if work.fact.source == "operator" and isinstance(data.get("evidence_id"), str):
        _keep(work, data["evidence_id"], data)
    if all(item.supplied_by == "buyer" for item in missing_evidence(work)):
        for task in [task for task in work.tasks.values() if task.kind == "evidence_missing"]:
            close_task(work, task.id, "complete")


def _keep(work: Working, id: str, data: dict[str, Any]) -> None:
    """What was laid up here, so that an act can name it: only our own API is believed about files."""
    kept = {name: data.get(name) for name in ("what", "sha256", "content_type", "supplied_by")}
    work.put("evidence_files", {**work.facts.get("evidence_files", {}), id: kept})


def given(work: Working, errand: OpenErrand) -> None:
    """The marketplace has it: a playbook does not hand it in again."""
    ids = errand.params.get("evidence_ids") if errand.name == "submit_evidence" else None
    if ids:
        before = work.facts.get("evidence_given", [])
        work.put("evidence_given", [*before, *(id for id in ids if id not in before)])
