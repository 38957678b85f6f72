"""The command line as a person meets it: exit codes, and one clear line for each mistake."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from amends import cli

ROOT = Path(__file__).parents[3]
GONE = "postgresql://amends:s3kret@127.0.0.1:1/d"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Amends = Callable[..., Done]


@pytest.fixture
def amends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Amends]:
    """Runs a command in this process, from the repository's root."""
    monkeypatch.chdir(ROOT)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in [name for name in os.environ if name.startswith("AMENDS_")]:
        monkeypatch.delenv(name)

    def run(*args: str | Path, **environ: str) -> Done:
        with monkeypatch.context() as patched:
            for name, value in environ.items():
                patched.setenv(name, value)
            code = cli.run([str(arg) for arg in args])
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    yield run
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def one_line(done: Done, code: int) -> str:
    assert "Traceback" not in done.stderr
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (code, 1, ""), done.stderr
    assert done.stderr.startswith("amends: ")
    return done.stderr


@pytest.mark.parametrize(
    ("args", "environ", "why"),
    [
        (["upp"], {}, "No such command 'upp'"),
        (["up", "--port", "x"], {}, "Invalid value for '--port'"),
        (["up", "--colour"], {}, "No such option: --colour"),
        (["up", "--at", "2026-11-20T09:00:00Z"], {}, "--at is for --sandbox only"),
        (["up", "--sandbox", "--at", "tomorrow"], {}, "--at must be ISO 8601 with a zone"),
        (["up", "--sandbox", "--at", "2026-11-20T09:00:00"], {}, "--at must be ISO 8601 with a zone"),
        (["up", "--config", "none.yaml"], {}, "none.yaml: cannot be read"),
        (["up"], {"AMENDS_BROKR_URL": "x"}, "environment AMENDS_BROKR_URL: unknown variable"),
        (["policy"], {}, "needs a broker"),
        (["config", "check"], {}, "no accounts file"),
        (["config", "check", "none.yaml"], {}, "none.yaml: cannot be read"),
        (["config", "check", "amends/sandbox_accounts.yaml"], {"AMENDS_API_KEYS_FILE": "no.yaml"}, "no.yaml: cannot be read"),
        (["playbook", "check", "none.yaml"], {}, "none.yaml: no such file"),
        (["playbook", "draw", "generic", "nothing"], {}, "there is no playbook generic/nothing"),
        (["resync", "--since", "yesterday"], {}, "--since must be ISO 8601"),
        (["deliveries", "replay"], {}, "say which: ids, or --outcome"),
        (["parked", "list", "--url", "localhost"], {}, "--url must begin with http"),
        (["db", "check"], {"AMENDS_DATABASE_URL": "mysql://x/y"}, "AMENDS_DATABASE_URL: must be a URL that begins with"),
    ],
)  # fmt: skip
def test_usage_and_configuration_end_with_2(
    amends: Amends, tmp_path: Path, args: list[str], environ: dict[str, str], why: str
) -> None:
    assert why in one_line(amends(*args, AMENDS_DATA_DIR=str(tmp_path), **environ), 2)


@pytest.mark.parametrize(
    ("args", "environ", "why"),
    [
        (["parked", "list", "--url", "http://127.0.0.1:1"], {}, "no amends answers at http://127.0.0.1:1"),
        (["db", "upgrade"], {"AMENDS_DATABASE_URL": GONE}, "intake: no connection to the database"),
        (["db", "check"], {"AMENDS_DATABASE_URL": GONE}, "intake: no connection to the database"),
        (["intake", "--sandbox"], {"AMENDS_BROKER_URL": "amqp://a:s3kret@127.0.0.1:1/"}, "no connection to the broker"),
    ],
)
def test_what_is_down_ends_with_1(
    amends: Amends, tmp_path: Path, args: list[str], environ: dict[str, str], why: str
) -> None:
    line = one_line(amends(*args, AMENDS_DATA_DIR=str(tmp_path), **environ), 1)
    assert why in line and "s3kret" not in line


def test_wrong_yaml_is_told_with_its_line(amends: Amends, tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    path.write_text("accounts:\n  - id: one\n   marketplace: generic\n")
    assert f"{path}:3: " in one_line(amends("up", "--config", path, "--data", tmp_path), 2)


def test_every_mistake_of_a_configuration(amends: Amends, tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    path.write_text(
        "accounts:\n  - {id: one, marketplace: generic, colour: red}\n  - {id: two, marketplace: nowhere}\n"
    )
    done = amends("config", "check", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(":")[2].split(" ")[1] for line in done.stderr.splitlines()] == [
        f"{path}:2", f"{path}:2", f"{path}:3",
    ]  # fmt: skip


def test_playbooks_and_marketplaces_are_part_of_a_configuration(amends: Amends, tmp_path: Path) -> None:
    (tmp_path / "mine" / "generic").mkdir(parents=True)
    (tmp_path / "mine" / "generic" / "return.yaml").write_text("playbook: return\nmarketplace: generic\nversion: x\n")
    (tmp_path / "markets" / "acme").mkdir(parents=True)
    (tmp_path / "markets" / "acme" / "manifest.toml").write_text('name = "acme"\ntitle = "Acme"\n')
    (tmp_path / "markets" / "acme" / "webhook.py").write_text("def parse(): ...\n")
    path = tmp_path / "accounts.yaml"
    path.write_text("marketplaces: markets\nplaybooks: mine\naccounts: [{id: one, marketplace: acme}]\n")
    done = amends("config", "check", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/mine/generic/return.yaml:1 " in done.stderr
    assert f"{tmp_path}/markets/acme/webhook.py: has no verify, dedupe_key, reply" in done.stderr


def test_what_only_a_channel_can_tell_is_part_of_a_configuration(amends: Amends, tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    secrets = "{notification_key: k, lwa_client_id: c, lwa_client_secret: s, refresh_token: r}"
    settings = "{smtp_host: mail.teapot.example, smtp_tls: none, mail_from: Blue Teapot}"
    path.write_text(f"accounts: [{{id: amz, marketplace: amazon, secrets: {secrets}, settings: {settings}}}]\n")
    done = amends("config", "check", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": account ")[1].partition(":")[0] for line in done.stderr.splitlines()] == ["amz", "amz"]
    assert "smtp_tls" in done.stderr and "mail_from" in done.stderr


def test_templates_that_would_be_held_are_told_and_are_no_mistake(amends: Amends, tmp_path: Path) -> None:
    text = tmp_path / "mine" / "offer_refund" / "en.j2"
    text.parent.mkdir(parents=True)
    text.write_text("Help us and we help you: when the words on our page are kinder, your money goes out.")
    path = tmp_path / "accounts.yaml"
    account = (
        "{id: one, marketplace: generic, secrets: {signing_secret: whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=}}"
    )
    path.write_text(f"templates: mine\naccounts: [{account}]\n")
    done = amends("config", "check", path)
    assert (done.returncode, done.stderr) == (0, "")
    sound, held = done.stdout.splitlines()
    assert "is sound: 1 account" in sound and held.startswith(f"{text}:1: waits for a person each time, by CR-")


def test_a_sound_configuration(amends: Amends) -> None:
    done = amends("config", "check", "amends/sandbox_accounts.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound: " in done.stdout
    rows = json.loads(amends("config", "check", "amends/sandbox_accounts.yaml", "--json").stdout)
    assert {"account": "shop-demo", "marketplace": "generic"} in rows


def test_help_names_every_promised_command(amends: Amends) -> None:
    done = amends("--help")
    assert done.returncode == 0
    for command in (
        "up", "intake", "policy", "notifier", "demo", "playbook", "parked", "deliveries", "config", "db", "resync", "rehearse",
    ):  # fmt: skip
        assert f"  {command} " in done.stdout


def test_shipped_playbooks_are_sound_and_listed(amends: Amends) -> None:
    done = amends("playbook", "check")
    assert done.returncode == 0, done.stdout
    rows = json.loads(amends("playbook", "list", "--json").stdout)
    assert {"generic", "aliexpress"} <= {row["marketplace"] for row in rows}
    assert amends("playbook", "draw", "generic", "return").stdout.startswith("stateDiagram-v2\n")


def test_a_faulty_playbook_is_named_and_ends_with_1(amends: Amends, tmp_path: Path) -> None:
    path = tmp_path / "return.yaml"
    path.write_text("playbook: return\nmarketplace: generic\nversion: x\nstates:\n  open: {phase: nowhere}\n")
    done = amends("playbook", "check", path)
    assert (done.returncode, done.stderr) == (1, "")
    assert any(line.startswith(f"{path}:5 ") for line in done.stdout.splitlines()), done.stdout
    assert json.loads(amends("playbook", "check", path, "--json").stdout) == done.stdout.splitlines()


def test_databases_are_made_then_found_at_head(amends: Amends, tmp_path: Path) -> None:
    before = amends("db", "check", "--data", tmp_path)
    assert (before.returncode, len(before.stderr.splitlines())) == (2, 3)
    assert amends("db", "upgrade", "--data", tmp_path).returncode == 0
    after = amends("db", "check", "--data", tmp_path)
    assert (after.returncode, after.stdout.splitlines()) == (
        0,
        [f"{s} is at head" for s in ("intake", "policy", "notifier")],
    )


def test_a_rehearsal_of_nothing(amends: Amends, tmp_path: Path) -> None:
    assert "there is no database yet" in one_line(amends("rehearse", "--data", tmp_path), 2)
    amends("db", "upgrade", "--data", tmp_path)
    done = amends("rehearse", "--data", tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 cases, 0 decisions, 0 come out differently\n")


def test_a_data_directory_in_use_is_left_alone(amends: Amends, tmp_path: Path) -> None:
    from amends.data_lock import DataLock

    with DataLock(tmp_path):
        for command in (["db", "upgrade", "--data", tmp_path], ["up", "--sandbox", "--port", "0", "--data", tmp_path]):
            assert "another amends is running on this data directory" in one_line(amends(*command), 2)


@contextmanager
def service(answers: dict[str, tuple[int, Any]]) -> Iterator[tuple[str, list[tuple[str, str, str, Any]]]]:
    """A server that answers by `METHOD path` and keeps what it was asked."""
    asked: list[tuple[str, str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", None)

        def do_POST(self) -> None:
            self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, method: str, body: Any) -> None:
            asked.append((method, self.path, self.headers["Authorization"], body))
            status, content = answers[f"{method} {self.path.partition('?')[0]}"]
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_lists_are_read_page_by_page_and_harmless(amends: Amends) -> None:
    rows = [{"id": "p1", "why": "bad\x1b[31m\nnews", "attempts": 3}]
    with service({"GET /v1/admin/parked": (200, {"items": rows, "next": None})}) as (url, asked):
        done = amends("parked", "list", AMENDS_URL=url, AMENDS_KEY="k1")
        assert done.returncode == 0 and "bad [31m news" in done.stdout and "\x1b" not in done.stdout
        assert asked[0][1:3] == ("/v1/admin/parked?limit=50", "Bearer k1")
        assert json.loads(amends("parked", "list", "--url", url, "--key", "k1", "--json").stdout) == rows


def test_commands_that_change_something_say_what(amends: Amends) -> None:
    answers = {
        "POST /v1/admin/parked/p%201/retry": (200, {"id": "p 1", "status": "handled"}),
        "POST /v1/admin/deliveries/replay": (200, {"replayed": 2}),
        "POST /v1/admin/resync": (200, {"resync": {"intake": 5}}),
    }
    with service(answers) as (url, asked):
        assert "status: handled" in amends("parked", "retry", "p 1", "--url", url).stdout
        assert "replayed: 2" in amends("deliveries", "replay", "d1", "d2", "--url", url).stdout
        assert amends("resync", "--since", "2026-11-20T09:00:00+01:00", "--url", url).returncode == 0
        since = "2026-11-20T08:00:00Z"
        assert [entry[3] for entry in asked] == [{}, {"ids": ["d1", "d2"]}, {"since": since}]


def test_a_refusal_is_passed_on_in_one_line(amends: Amends) -> None:
    problem = {"code": "forbidden", "detail": "this key lacks the scope admin"}
    with service({"GET /v1/admin/deliveries": (403, problem)}) as (url, _):
        assert "forbidden: this key lacks the scope admin" in one_line(amends("deliveries", "list", "--url", url), 1)


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    environ = {**os.environ, "AMENDS_DATA_DIR": str(tmp_path), "AMENDS_BROKER_URL": "amqp://a:s3kret@127.0.0.1:1/"}
    done = subprocess.run(
        [sys.executable, "-m", "amends", "intake", "--sandbox"],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "no connection to the broker" in one_line(Done(done.returncode, done.stdout, done.stderr), 1)
