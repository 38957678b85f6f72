"""Before the case: whether a fact opens one, and the row a case starts from."""

from datetime import datetime

from services.policy.core.decision import BEFORE
from shared.domain.case import Case
from shared.domain.facts import Fact
from shared.domain.playbook import Playbook


def opens(playbook: Playbook, fact: Fact) -> bool:
    """Whether the playbook's `opens_on` names this kind of fact. A reopened case is never a new one's reason alone."""
    return any(row.fact == fact.kind for row in playbook.opens_on)


def blank(
    playbook: Playbook, *, id: str, account: str, marketplace: str, external_id: str, order_id: str, now: datetime
) -> Case:
    """A case about to be opened: `decide` answers its first fact by `opens_on`."""
    return Case(
        id=id,
        account=account,
        marketplace=marketplace,
        kind=playbook.kind,
        external_id=external_id,
        order_id=order_id,
        playbook=playbook.name,
        playbook_version=playbook.version,
        playbook_hash=playbook.hash,
        state=BEFORE,
        phase="awaiting_seller",
        opened_at=now,
        updated_at=now,
    )
