"""The transactions of the synchronous peers (Celery, DBOS): SQLAlchemy's ORM on psycopg.

Twin of `orm.py` word for word but for `await`: a framework without an event loop cannot share the other.
"""

from typing import Any
from uuid import uuid4

import urllib3
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from bench.peers.models import Case, Delivery, LogEntry, Message
from bench.peers.work import ACCOUNT, Settings, decide, letter, now, render, variables

Event = dict[str, Any]
"""`id` of the delivery beside the webhook's `type`, `timestamp`, `data`."""
_http = urllib3.PoolManager(maxsize=32)


def accept(session: Session, id_: str, body: bytes) -> bool:
    """False: a repeat, nothing changed."""
    row = insert(Delivery).values(id=id_, body=body, received_at=now())
    stored = session.scalar(row.on_conflict_do_nothing().returning(Delivery.id))
    return stored is not None


def advance(session: Session, event: Event) -> Message | None:
    """The message to send, if any. Raises IntegrityError where another created the same case meanwhile."""
    data, at = event["data"], now()
    identity = {"account": ACCOUNT, "kind": data["kind"], "external_id": data["external_id"]}
    case = session.scalar(select(Case).filter_by(**identity).with_for_update())
    if case is None:
        case = Case(id=uuid4(), **identity, order_id=data["order_id"], state="", seq=0)
        session.add(case)
    elif session.get(LogEntry, event["id"]) is not None:
        return session.get(Message, event["id"])
    before, move = case.state, decide(case.state, event["type"])
    case.seq, case.updated_at = case.seq + 1, at
    if move is not None:
        case.state, case.due_at = move.state, move.due(at)
    session.add(
        LogEntry(
            delivery_id=event["id"], case_id=case.id, seq=case.seq, kind=event["type"],
            from_state=before, to_state=case.state, data=data, applied_at=at,
        )
    )  # fmt: skip
    if move is None or move.purpose is None:
        return None
    message = Message(
        id=event["id"], case_id=case.id, order_id=case.order_id, purpose=move.purpose,
        variables=variables(data), status="planned", planned_at=at,
    )  # fmt: skip
    session.add(message)
    return message


def take(message: Message | None) -> dict[str, Any] | None:
    """Rendered and marked `sending`, to be committed before anything leaves; None: another attempt took it already."""
    if message is None or message.status != "planned":
        return None
    message.body = render(message.purpose, message.variables)
    message.status = "sending"
    return letter(message.id, message.order_id, message.purpose, message.body)


def call(settings: Settings, said: dict[str, Any]) -> None:
    answer = _http.request("POST", settings.sink, json=said, headers={"Idempotency-Key": said["id"]}, retries=False)
    if answer.status >= 300:
        raise RuntimeError(f"the sink answered {answer.status}")


def record(session: Session, message_id: str) -> None:
    session.execute(update(Message).where(Message.id == message_id).values(status="sent", sent_at=now()))
