"""The transactions of the asynchronous peers (FastStream, TaskIQ): SQLAlchemy's ORM on asyncpg."""

from typing import Any
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.peers.events import Event
from bench.peers.models import Case, Delivery, LogEntry, Message
from bench.peers.work import ACCOUNT, Settings, decide, letter, now, render, variables

settings = Settings.from_environ()
engine = create_async_engine(settings.sqlalchemy("asyncpg"), pool_size=10, max_overflow=10)
Session = async_sessionmaker(engine, expire_on_commit=False)


async def accept(id_: str, body: bytes) -> None:
    """The delivery is stored when this returns; a repeat changes nothing."""
    row = insert(Delivery).values(id=id_, body=body, received_at=now())
    async with Session.begin() as session:
        await session.execute(row.on_conflict_do_nothing())


async def advance(event: Event) -> str | None:
    """The id of the message to send, if any. Once more where another created the same case at the same moment."""
    try:
        async with Session.begin() as session:
            return await _advance(session, event)
    except IntegrityError:
        async with Session.begin() as session:
            return await _advance(session, event)


async def _advance(session: AsyncSession, event: Event) -> str | None:
    data, at = event.data, now()
    kind, external_id = data["kind"], data["external_id"]
    identity = {"account": ACCOUNT, "kind": kind, "external_id": external_id}
    case = await session.scalar(select(Case).filter_by(**identity).with_for_update())
    if case is None:
        case = Case(id=uuid4(), **identity, order_id=data["order_id"], state="", seq=0)
        session.add(case)
    elif await session.get(LogEntry, event.id) is not None:
        return event.id
    before, move = case.state, decide(case.state, event.type)
    case.seq, case.updated_at = case.seq + 1, at
    if move is not None:
        case.state, case.due_at = move.state, move.due(at)
    session.add(
        LogEntry(
            delivery_id=event.id, case_id=case.id, seq=case.seq, kind=event.type,
            from_state=before, to_state=case.state, data=data, applied_at=at,
        )
    )  # fmt: skip
    if move is None or move.purpose is None:
        return None
    session.add(
        Message(
            id=event.id, case_id=case.id, order_id=case.order_id, purpose=move.purpose,
            variables=variables(data), status="planned", planned_at=at,
        )
    )  # fmt: skip
    return event.id


async def take(message_id: str) -> dict[str, Any] | None:
    """Rendered and committed as `sending` before anything leaves; None: another attempt took it already."""
    async with Session.begin() as session:
        message = await session.get(Message, message_id, with_for_update=True)
        if message is None or message.status != "planned":
            return None
        message.body = render(message.purpose, message.variables)
        message.status = "sending"
        return letter(message.id, message.order_id, message.purpose, message.body)


async def record(message_id: str) -> None:
    async with Session.begin() as session:
        await session.execute(update(Message).where(Message.id == message_id).values(status="sent", sent_at=now()))
