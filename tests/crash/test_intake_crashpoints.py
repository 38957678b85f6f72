"""intake dies at each of its named places and starts again: what was answered 2xx is there, once, and so are its facts."""

import hmac
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from shared.crashpoints import EXIT_CODE, NAMES
from tests.services.intake import intake_process

pytestmark = pytest.mark.crash
ROOT = Path(__file__).parents[2]
RETURN = {
    "id": "R1", "order": "T-1", "state": "requested", "version": 1, "at": "2026-01-05T09:30:00Z", "amount": "12.50",
    "currency": "EUR", "reason": "defective", "answer_by": "2026-01-08T09:30:00Z",
}  # fmt: skip


class Market(BaseHTTPRequestHandler):
    """The toy market's read API with one return."""

    def do_GET(self) -> None:
        found = RETURN if self.path.startswith("/returns/") else {"returns": [], "more": False}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Intake:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self, crashpoint: str | None = None) -> None:
        self.process = intake_process.start(self.folder, self.port, crashpoint, self.folder / "log")
        while self._get("/readyz") != 200:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)

    def push(self, id_: str, topic: str = "order_sent") -> int:
        """The status, 0 when there was no answer."""
        data = {"order": "T-1", "return_id": "R1"}
        body = json.dumps({"id": id_, "topic": topic, "at": "2026-01-05T09:00:00Z", "data": data}).encode()
        signature = hmac.new(b"push-secret", body, "sha256").hexdigest()
        headers = {"Content-Type": "application/json", "X-Toy-Signature": signature}
        return self._get("/webhooks/toy/toy-a", body, headers)

    def _get(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as fault:
            fault.close()
            return fault.code
        except OSError:
            return 0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0

    def facts(self) -> list[dict[str, str]]:
        path = self.folder / "facts"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


PLACES = sorted(n for n in NAMES if n.startswith("intake."))
FETCHING = ("intake.fetch_claimed", "intake.read", "intake.fetched")
"""Passed once a reference: there is one here."""


@pytest.mark.parametrize("place", [f"{name}:1" for name in PLACES] + [f"{n}:3" for n in PLACES if n not in FETCHING])
def test_dies_and_loses_nothing(tmp_path: Path, place: str) -> None:
    market = ThreadingHTTPServer(("127.0.0.1", 0), Market)
    Thread(target=market.serve_forever, daemon=True).start()
    marketplaces = ROOT / "tests" / "data" / "marketplaces"
    (tmp_path / "accounts.yaml").write_text(
        f"marketplaces: {marketplaces}\naccounts:\n  - id: toy-a\n    marketplace: toy\n"
        f"    base_url: http://127.0.0.1:{market.server_address[1]}\n"
        "    secrets: {push_secret: push-secret, api_token: token}\n"
    )
    intake = Intake(tmp_path)
    intake.start(place)
    answers = {f"p{n}": intake.push(f"p{n}", "return_changed" if n == 3 else "order_sent") for n in range(6)}
    assert intake.process.wait(20) == EXIT_CODE, "the place was passed"
    assert set(answers.values()) <= {200, 0}
    intake.start()
    again = {id_: intake.push(id_, "return_changed" if id_ == "p3" else "order_sent") for id_ in answers}
    assert set(again.values()) == {200}
    _wait_for(intake)
    intake.stop()
    market.shutdown()
    market.server_close()
    ids = {fact["id"] for fact in intake.facts()}
    kinds = sorted(fact["kind"] for fact in {f["id"]: f for f in intake.facts()}.values())
    assert kinds == ["case.updated", *["order.shipped"] * 5, "return.requested"]
    assert len(ids) == 7


def _wait_for(intake: Intake) -> None:
    """Until the return was read too: the last of all facts."""
    end = time.monotonic() + 20
    while len({fact["id"] for fact in intake.facts()}) < 7 and time.monotonic() < end:
        time.sleep(0.02)
