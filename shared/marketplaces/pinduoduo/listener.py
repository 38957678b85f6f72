"""The message service: one WebSocket of ours, heart-beats, a frame acknowledged once it is kept. Reference 3.1 A, 3.2.

The service sends again what was not acknowledged; how soon is not established, so a frame that could not be kept ends the
connection, and the next one brings it.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from shared.clock import Clock, to_micros
from shared.errors import Unavailable
from shared.http import NotSentFault, RefusedFault
from shared.json_reader import Unreadable, read
from shared.marketplaces.pinduoduo.after_sale import text
from shared.ports import Account, Inbound, Secrets, Take, secret_of

BASE = "wss://message-api.pinduoduo.com"
BEAT_S = 5.0
SILENCE_S = 300.0
"""Own practice: so long without a frame the connection is made anew. Whether heart-beats are answered is not established."""
AT_ONCE = 100
_MOST = 1_000_000


def digest(client_id: str, millis: str, secret: str) -> str:
    """Base64 over the lower-case hex MD5 of client id, milliseconds and secret."""
    hexed = md5(f"{client_id}{millis}{secret}".encode(), usedforsecurity=False).hexdigest()
    return b64encode(hexed.encode()).decode()


class Listener:
    def __init__(self, account: Account, secrets: Secrets, clock: Clock) -> None:
        self.account, self.secrets, self.clock = account, secrets, clock

    @property
    def wanted(self) -> bool:
        """By default everywhere but in the sandbox, whose simulator has no message service."""
        told = self.account.settings.get("message_service")
        return not self.account.sandbox if told is None else bool(told)

    async def listen(self, take: Take, opened: Callable[[], None] = lambda: None) -> None:
        timeout = aiohttp.ClientTimeout(total=None, connect=10)
        try:
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
                session.ws_connect(self._url(), max_msg_size=_MOST) as socket,
            ):
                opened()
                await _Conversation(socket, take, self.clock).hold()
        except aiohttp.WSServerHandshakeError as fault:
            raise RefusedFault(f"the message service refused: HTTP {fault.status}", fault.status) from fault
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise NotSentFault(f"no connection to the message service: {type(fault).__name__}") from fault

    def _url(self) -> URL:
        base = (self.account.base_url or BASE).rstrip("/")
        client, secret = secret_of(self.secrets, "client_id"), secret_of(self.secrets, "client_secret")
        millis = str(_millis(self.clock))
        base = base.replace("http", "ws", 1) if base.startswith("http") else base
        return URL(f"{base}/message/{client}/{millis}/{digest(client, millis, secret)}", encoded=True)


@dataclass(slots=True)
class _Conversation:
    """One connection: its beat, and the frames under way."""

    socket: aiohttp.ClientWebSocketResponse
    take: Take
    clock: Clock
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    lost: str = ""
    """Why a frame could not be kept."""

    async def hold(self) -> None:
        beating = asyncio.create_task(self._beat())
        try:
            await self._read()
        finally:
            tasks = [beating, *self.under_way]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.lost:
            raise NotSentFault(f"a message could not be kept: {self.lost}")

    async def _read(self) -> None:
        while True:
            frame = await self.socket.receive(timeout=SILENCE_S)
            if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return
            await self.room.acquire()
            body = frame.data.encode() if isinstance(frame.data, str) else frame.data
            task = asyncio.create_task(self._one(body))
            self.under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        self.room.release()

    async def _beat(self) -> None:
        while True:
            await self._say({"commandType": "HeartBeat", "time": _millis(self.clock)})
            await asyncio.sleep(BEAT_S)

    async def _one(self, body: bytes) -> None:
        """Kept, then acknowledged. What is no frame at all is kept as it came; there is nothing to acknowledge it by."""
        frame = _frame(body)
        message = _message(frame)
        if frame is not None and message is None:
            return
        mall = text(message.get("mallID")) if message else None
        try:
            taken = await self.take(_inbound(body, frame, message), {"mall_id": mall} if mall else {})
            if taken and frame is not None and message is not None:
                await self._acknowledge(frame, message)
        except (Unavailable, aiohttp.ClientError, OSError) as fault:
            self.lost = type(fault).__name__
            await self.socket.close()

    async def _acknowledge(self, frame: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        said = {
            "commandType": "Ack",
            "time": _millis(self.clock),
            "id": frame.get("id"),
            "sendTime": frame.get("sendTime"),
        }
        await self._say({**said, "type": message.get("type"), "mallID": message.get("mallID")})

    async def _say(self, frame: Mapping[str, Any]) -> None:
        await self.socket.send_str(msgspec.json.encode(frame).decode())


def _frame(body: bytes) -> Mapping[str, Any] | None:
    """None for what cannot be read. Numbers stay whole, so that an acknowledgement repeats them."""
    try:
        read(body)
        found = msgspec.json.decode(body)
    except (Unreadable, msgspec.DecodeError):
        return None
    return found if isinstance(found, Mapping) else None


def _message(frame: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    found = frame.get("message") if frame is not None and frame.get("commandType") == "Common" else None
    return found if isinstance(found, Mapping) else None


def _inbound(body: bytes, frame: Mapping[str, Any] | None, message: Mapping[str, Any] | None) -> Inbound:
    if frame is None or message is None:
        return Inbound(body, {}, method="MESSAGE")
    kept = {name: message.get(name) for name in ("type", "mallID", "content")}
    return Inbound(msgspec.json.encode(kept), _envelope(frame), method="MESSAGE")


def _envelope(frame: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What changes when a frame is sent again stands beside the message, not in it: the same news stays the same."""
    return {f"frame-{name.lower()}": (told,) for name in ("id", "sendTime", "time") if (told := text(frame.get(name)))}


def _millis(clock: Clock) -> int:
    return to_micros(clock.now()) // 1000
