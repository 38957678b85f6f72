"""What travels from intake to policy."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class Webhook(BaseModel):
    type: str
    timestamp: datetime
    data: dict[str, Any]


class Event(Webhook):
    id: str
    """The delivery's."""
