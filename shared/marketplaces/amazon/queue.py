"""The seller's own SQS queue, read and cleared over its JSON protocol. Reference A1.1, A2: delete after commit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shared.clock import Clock
from shared.http import Call, Http, RefusedFault
from shared.json_reader import Unreadable, read
from shared.marketplaces.amazon.client import said
from shared.marketplaces.amazon.envelope import first, items
from shared.marketplaces.amazon.sigv4 import signed
from shared.ports import Secrets, each_secret

MOST = 10
WAIT_S = 2
"""Long polling: asks all of the queue's servers, and soon ends for a queue that is empty."""
HIDDEN_S = 120
"""What is not deleted by then (we died before the commit) comes again."""
_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    receipt: str
    body: str


@dataclass(frozen=True, slots=True)
class Queue:
    """Times of signatures are the clock's: the queue refuses those over 15 minutes off."""

    url: str
    secrets: Secrets
    http: Http
    clock: Clock

    async def receive(self) -> list[Message]:
        """At most 10. Raises HttpFault kinds."""
        asked = {"MaxNumberOfMessages": MOST, "WaitTimeSeconds": WAIT_S, "VisibilityTimeout": HIDDEN_S}
        told = await self._call("ReceiveMessage", asked)
        rows = [row for row in items(told.get("Messages")) if first(row, "ReceiptHandle")]
        return [
            Message(first(row, "MessageId"), first(row, "ReceiptHandle"), str(row.get("Body") or "")) for row in rows
        ]

    async def delete(self, receipts: Sequence[str]) -> None:
        """One that cannot be deleted comes again and leaves no trace then."""
        if receipts:
            entries = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
            await self._call("DeleteMessageBatch", {"Entries": entries})

    async def _call(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        content = msgspec.json.encode({"QueueUrl": self.url, **body})
        parts = urlsplit(self.url)
        url = f"{parts.scheme}://{parts.netloc}/"
        region = _HOST.fullmatch(parts.hostname or "")
        headers = signed(
            "POST", url, {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"}, content,
            service="sqs", region=region.group(1) if region else "us-east-1", key_id=self._secret("aws_access_key_id"),
            secret=self._secret("aws_secret_access_key"), now=self.clock.now(),
        )  # fmt: skip
        try:
            answer = await self.http.call(Call("POST", url, action, headers=headers, body=content, reads=True))
            told = read(answer.body) if answer.body else {}
        except RefusedFault as fault:
            raise RefusedFault(f"queue: {_why(fault)}", fault.status, fault.body) from fault
        except Unreadable as fault:
            raise RefusedFault("queue: unreadable answer", 200) from fault
        return told if isinstance(told, dict) else {}

    def _secret(self, name: str) -> str:
        return next(iter(each_secret(self.secrets, name)), "")


def _why(fault: RefusedFault) -> str:
    try:
        told = read(fault.body)
    except Unreadable:
        return fault.why
    return first(told, "__type", "message") if isinstance(told, dict) and "__type" in told else said(fault)
