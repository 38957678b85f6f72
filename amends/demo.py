"""`amends demo`: signed webhooks in the marketplaces' own formats through the whole product on a clock that is moved.

It drives the product as an outsider does, over HTTP, and shows each case's way: what came in, what was decided and why,
what left. The last line sums up; anything lost or doubled makes the exit code 1.
"""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.text import Text

from amends import demo_markets, demo_stories, embedded
from amends.serve import HttpServer
from shared import logs
from shared.clock import Clock, parse_time
from shared.settings import Process

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
_TASK_WIDTH = 96


@dataclass
class Push:
    """An accepted delivery and how to find what became of it."""

    account: str
    order_id: str
    fact: str | None
    """The fact kind that must stand on a timeline of the order; None: any case of the order will do."""


@dataclass
class Stage:
    """What a story has in its hands."""

    url: str
    clock: Clock
    simulators: Mapping[str, str]
    console: Console
    http: aiohttp.ClientSession
    accepted: list[Push] = field(default_factory=list)
    deliveries: int = 0
    _shown: Counter[str] = field(default_factory=Counter)
    _calls: int = 0

    def say(self, text: str) -> None:
        self.console.print(Text(f"  {text}", style="italic"))

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(Text(title, style="bold"), align="left", style="dim")

    async def push(
        self,
        marketplace: str,
        account: str,
        signed: tuple[bytes, Mapping[str, str]],
        order_id: str,
        fact: str | None = None,
        query: str = "",
    ) -> int:
        """Delivers the bytes with their signature; the status the marketplace gets."""
        body, headers = signed
        url = f"{self.url}/webhooks/{marketplace}/{account}" + (f"?{query}" if query else "")
        async with self.http.post(url, data=body, headers={"Content-Type": "application/json", **headers}) as answer:
            await answer.read()
        self.deliveries += 1
        if answer.status < 300:
            self.accepted.append(Push(account, order_id, fact))
        mark = "→" if answer.status < 300 else "✗"
        self.console.print(
            Text(f"  {mark} push to {marketplace}/{account}, {len(body)} bytes: {answer.status}", style="cyan")
        )
        return answer.status

    async def control(self, account: str, path: str, body: Any = None) -> Any:
        """The simulator's own controls: what the buyer and the marketplace do."""
        method = "GET" if body is None else "POST"
        async with self.http.request(method, f"{self.simulators[account]}/_control/{path}", json=body) as answer:
            return await answer.json()

    async def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            content = await answer.json()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {content.get('code')} {content.get('detail')}")
            return content

    async def act(self, case: Mapping[str, Any], action: str, params: Mapping[str, Any], key: str = "sandbox") -> Any:
        """An operator's click. `key` sandbox-act is one who may act but not approve."""
        self.console.print(Text(f"  ☝ operator: {action} {json.dumps(params)}", style="magenta"))
        body = {"action": action, "params": params, "reason": "as the demo goes"}
        headers = {"Idempotency-Key": f"{action}-{self._shown[case['id']]}", "Authorization": f"Bearer {key}"}
        return await self.api("POST", f"/v1/cases/{case['id']}/actions", body, **headers)

    async def settle(self) -> None:
        """Waits until nothing is in flight, then shows what is new."""
        await self.api("POST", "/sandbox/drain")
        await self._show_news()

    async def advance(self, by: str) -> None:
        await self.api("POST", "/sandbox/clock/advance", {"by": by})
        self.console.print(Text(f"  ⏩ {by}: it is now {self.clock.now():%a %d %b %H:%M} UTC", style="yellow"))
        await self._show_news()

    async def poll(self, account: str) -> None:
        """A minute later the account is read."""
        await self.api("POST", "/sandbox/clock/advance", {"by": "PT1M"})
        await self.api("POST", "/sandbox/poll", {"account": account})
        self.console.print(Text(f"  ↓ {account} is read", style="cyan"))
        await self._show_news()

    async def case(self, order_id: str, kind: str | None = None) -> dict[str, Any]:
        query = f"?order_id={order_id}" + (f"&kind={kind}" if kind else "")
        found: list[dict[str, Any]] = (await self.api("GET", f"/v1/cases{query}"))["items"]
        if not found:
            raise RuntimeError(f"no case for order {order_id}")
        return found[0]

    async def whole(self, path: str) -> list[dict[str, Any]]:
        found, cursor, joint = [], "", "&" if "?" in path else "?"
        while True:
            page = await self.api("GET", f"{path}{joint}limit=200{cursor}")
            found += page["items"]
            if not page.get("next"):
                return found
            cursor = f"&cursor={page['next']}"

    async def _show_news(self) -> None:
        for case in await self.whole("/v1/cases"):
            rows = await self.whole(f"/v1/cases/{case['id']}/timeline")
            for row in rows[self._shown[case["id"]] :]:
                self._show_row(case, row)
            self._shown[case["id"]] = len(rows)
        calls = await self.calls()
        for call in calls[self._calls :]:
            self._show_call(call)
        self._calls = len(calls)

    async def calls(self) -> list[dict[str, Any]]:
        return await self.whole("/sandbox/calls")

    def _show_row(self, case: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        at = parse_time(row["observed_at"])
        fact = row["fact"]
        told = f" ({fact['raw_code']})" if fact.get("raw_code") else ""
        moved = f" {row['from_state'] or '·'} → {row['to_state']}" if row["from_state"] != row["to_state"] else ""
        line = Text(f"  {at:%d %b %H:%M} {case['external_id']:<16} ", style="dim")
        line.append(fact["kind"] + told, style="bold" if moved else "")
        line.append(moved, style="green")
        if rule := row["why"].get("rule"):
            line.append(f"  [{rule}]", style="dim")
        if row["no_op"]:
            line.append("  recorded, changes nothing", style="dim")
        self.console.print(line)
        for effect in row["effects"]:
            self._show_effect(effect)

    def _show_effect(self, effect: Mapping[str, Any]) -> None:
        if effect["do"] in ("cancel", "close_task"):
            return
        due = f" until {parse_time(effect['due_at']):%d %b %H:%M}" if effect.get("due_at") else ""
        self.console.print(
            Text(f"                    · {effect['do'].replace('_', ' ')} {effect['name']}{due}", style="dim")
        )

    def _show_call(self, call: Mapping[str, Any]) -> None:
        sign = "✉" if call["kind"] == "message" else "⚙"
        body = call["body"] if isinstance(call["body"], str) else json.dumps(call["body"], ensure_ascii=False)
        words = " ".join(body.split())
        cut = words if len(words) <= _TASK_WIDTH else f"{words[:_TASK_WIDTH]}…"
        line = Text(f"  {sign} {call['marketplace']} {call['name']} ({call['outcome']}): ", style="blue")
        self.console.print(line.append(cut, style=""))


async def _summary(stage: Stage) -> dict[str, int]:
    """Counts, and what was lost or doubled by the outside's own record."""
    cases = await stage.whole("/v1/cases")
    timelines = {c["id"]: await stage.whole(f"/v1/cases/{c['id']}/timeline") for c in cases}
    messages = [m for c in cases for m in await stage.whole(f"/v1/cases/{c['id']}/messages")]
    calls = await stage.calls()
    kinds = {(c["account"], c["order_id"], row["fact"]["kind"]) for c in cases for row in timelines[c["id"]]}
    orders = {(c["account"], c["order_id"]) for c in cases}
    lost = sum(
        (p.account, p.order_id, p.fact) not in kinds if p.fact else (p.account, p.order_id) not in orders
        for p in stage.accepted
    )
    lost += sum(m["status"] in ("planned", "sending") for m in messages)
    done = Counter(
        (c["case_id"], c["name"], json.dumps(c["body"], sort_keys=True)) for c in calls if c["outcome"] == "done"
    )
    return {
        "deliveries": stage.deliveries,
        "facts": sum(map(len, timelines.values())),
        "cases": len(cases),
        "messages_sent": sum(m["status"] == "sent" for m in messages),
        "acts": len({c["idempotency_key"] for c in calls if c["kind"] == "act"}),
        "tasks": len(await stage.whole("/v1/tasks?status=open")) + len(await stage.whole("/v1/tasks?status=done")),
        "lost": lost,
        "duplicated": sum(n - 1 for n in done.values()),
    }


async def _play(console: Console) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="amends-demo-") as folder:
        process = Process(data_dir=Path(folder), sandbox=True)
        async with embedded.running(process, at=START) as product:
            server = HttpServer(product.app)
            await server.start()
            try:
                headers = {"Authorization": "Bearer sandbox"}
                async with aiohttp.ClientSession(headers=headers) as http:
                    stage = Stage(server.url, product.clock, product.simulators, console, http)
                    await _stories(stage)
                    return await _summary(stage)
            finally:
                await server.stop()


async def _stories(stage: Stage) -> None:
    stories: tuple[Callable[[Stage], Awaitable[None]], ...] = (*demo_stories.ALL, *demo_markets.ALL)
    for story in stories:
        await story(stage)


def run() -> int:
    """Exit code: 0 when nothing was lost and nothing doubled."""
    logs.configure("console", "error")
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        Text(
            "Amends: the sandbox starts on Monday 2 November 2026, 08:00 UTC. Everything but its clock is real.",
            style="bold",
        )
    )
    counts = asyncio.run(_play(console))
    console.print()
    print(json.dumps(counts), flush=True)
    return 0 if counts["lost"] == counts["duplicated"] == 0 else 1
