"""The tables of `schema.sql` as SQLAlchemy's ORM maps them, for the peers that use one."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), str: Text, dict[str, Any]: JSONB}  # noqa: RUF012


class Delivery(Base):
    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[bytes]
    received_at: Mapped[datetime]


class Case(Base):
    __tablename__ = "cases"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account: Mapped[str]
    kind: Mapped[str]
    external_id: Mapped[str]
    order_id: Mapped[str]
    state: Mapped[str]
    due_at: Mapped[datetime | None]
    seq: Mapped[int]
    updated_at: Mapped[datetime]


class LogEntry(Base):
    __tablename__ = "case_log"

    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[UUID]
    seq: Mapped[int]
    kind: Mapped[str]
    from_state: Mapped[str]
    to_state: Mapped[str]
    data: Mapped[dict[str, Any]]
    applied_at: Mapped[datetime]


class Message(Base):
    __tablename__ = "messages"

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[UUID]
    order_id: Mapped[str]
    purpose: Mapped[str]
    variables: Mapped[dict[str, Any]]
    status: Mapped[str]
    body: Mapped[str | None]
    planned_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
