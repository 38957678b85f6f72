from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI

from shared import problems
from shared.auth import Keys, Principal, key_digest, load_keys, require
from shared.errors import ConfigurationError, Conflict, Unauthorised, Unavailable
from tests.support.asgi import ask

KEYS = f"""
- {{name: dashboard, sha256: {key_digest("k-read")}, scopes: [read]}}
- {{name: desk, sha256: {key_digest("k-act")}, scopes: [read, act], accounts: [ae-main]}}
"""


def application(keys: Keys) -> FastAPI:
    app = FastAPI()
    app.state.keys = keys
    problems.install(app)

    @app.post("/do")
    async def do(who: Annotated[Principal, Depends(require("act"))], count: int = 0) -> dict[str, str]:
        if count == 7:
            raise ValueError("buyer@example.com said no")
        if count == 8:
            raise Conflict("not now", code="action_not_allowed", allowed=["close"])
        if count == 9:
            raise Unavailable("the database is away")
        return {"who": who.name}

    return app


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    (tmp_path / "keys.yaml").write_text(KEYS)
    return load_keys(tmp_path / "keys.yaml")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 401, "unauthorised"),
        ([("Authorization", "Bearer k-wrong")], 401, "unauthorised"),
        ([("Authorization", "Bearer ")], 401, "unauthorised"),
        ([("Authorization", "Basic k-act")], 401, "unauthorised"),
        ([("Authorization", "k-act")], 401, "unauthorised"),
        ([("Authorization", "Bearer " + "x" * 10_000)], 401, "unauthorised"),
        ([("Authorization", "Bearer k-act"), ("Authorization", "Bearer k-act")], 401, "unauthorised"),
        ([("Authorization", b"Bearer \xff\xfe")], 401, "unauthorised"),
        ([("Authorization", "Bearer k-read")], 403, "forbidden"),
    ],
)
def test_refused_as_a_problem(keys: Keys, headers: list[tuple[str, str | bytes]], status: int, code: str) -> None:
    answer = ask(application(keys), "POST", "/do", headers)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert "k-" not in answer.text


def test_a_key_in_the_query_is_no_key(keys: Keys) -> None:
    assert ask(application(keys), "POST", "/do?key=k-act&authorization=Bearer%20k-act").status == 401


def test_the_scheme_is_not_case_sensitive(keys: Keys) -> None:
    assert ask(application(keys), "POST", "/do", [("Authorization", "bearer k-act")]).json() == {"who": "desk"}


def test_accounts_limit_what_is_seen(keys: Keys) -> None:
    desk, dashboard = keys.principal(["Bearer k-act"]), keys.principal(["Bearer k-read"])
    assert desk.sees("ae-main") and not desk.sees("ae-other")
    assert dashboard.sees("anything") and not dashboard.may("act")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/do?count=x", 422, "invalid"),
        ("/do?count=7", 500, "internal"),
        ("/do?count=8", 409, "action_not_allowed"),
        ("/do?count=9", 503, "unavailable"),
        ("/nowhere", 404, "not_found"),
    ],
)
def test_every_error_is_a_problem_without_echo(keys: Keys, path: str, status: int, code: str) -> None:
    answer = ask(application(keys), "POST", path, [("Authorization", "Bearer k-act")])
    body = answer.json()
    assert (answer.status, body["status"], body["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "example.com" not in answer.text
    assert body.get("allowed") == (["close"] if code == "action_not_allowed" else None)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_wrong_method_tells_the_right_one(keys: Keys) -> None:
    answer = ask(application(keys), "GET", "/do")
    assert (answer.status, answer.json()["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_sandbox_keys_only_in_the_sandbox() -> None:
    with pytest.raises(Unauthorised):
        load_keys(None).principal(["Bearer sandbox"])
    keys = load_keys(None, sandbox=True)
    everything = {"read", "act", "approve", "represent", "admin"}
    for name, scopes in (("sandbox", everything), ("sandbox-act", {"read", "act"}), ("sandbox-read", {"read"})):
        assert keys.principal([f"Bearer {name}"]).scopes == scopes


def test_keys_are_not_shown(keys: Keys) -> None:
    assert key_digest("k-act") not in repr(keys)


def test_the_seal_depends_on_the_keys_alone(keys: Keys) -> None:
    assert keys.seal == Keys(tuple(reversed(keys.principals))).seal != Keys().seal


def test_faults_of_a_keys_file_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    digest = key_digest("x")
    path.write_text(
        f"- {{name: a, sha256: {digest}, scopes: [read]}}\n"
        f"- {{name: b, sha256: {digest}, scopes: [read]}}\n"
        "- {name: c, sha256: abc, scopes: [read]}\n"
        f"- {{name: d, sha256: {key_digest('d')}, scopes: [rule]}}\n"
        f"- {{name: e, sha256: {key_digest('e')}, scopes: [read], key: plain}}\n"
        "- 5\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_keys(path)
    assert [fault.split(" ")[0].rpartition(":")[2] for fault in caught.value.faults] == ["2", "3", "4", "5", "6"]
    assert "plain" not in str(caught.value) and digest not in str(caught.value)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_keys(tmp_path / "none")
