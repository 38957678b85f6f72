"""`amends message`: in this process, as a person types it."""

import io
import json
from pathlib import Path

import pytest

from amends.cli import run

SET = str(Path(__file__).parents[2] / "data" / "messages")


def typed(monkeypatch: pytest.MonkeyPatch, said: str, *args: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    return run(["message", *args])


def test_a_text_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(monkeypatch, "Kindly change your review.", "check") == 1
    assert "CR-ALL-03 [7:25] 'change your review'" in capsys.readouterr().out
    assert typed(monkeypatch, "Hello, your parcel is on its way.", "check", "-m", "aliexpress") == 0


def test_what_was_sent_before_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = tmp_path / "before.txt"
    before.write_text("We will give you 10 USD back as a gift.")
    assert typed(monkeypatch, "Please leave us a review.", "check") == 0
    assert typed(monkeypatch, "Please leave us a review.", "check", "--earlier", str(before)) == 1
    assert "CR-ALL-03" in capsys.readouterr().out


def test_a_preview_is_of_the_sellers_own_words_and_counts_what_was_sent_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before, own = tmp_path / "before.txt", tmp_path / "mine" / "delivered_check"
    own.mkdir(parents=True)
    (own / "en.j2").write_text("Order {{ order_id }}: please leave us a review.")
    (tmp_path / "accounts.yaml").write_text("accounts: []\ntemplates: ./mine\n")
    before.write_text("We will give you 10 USD back as a gift.")
    monkeypatch.setenv("AMENDS_CONFIG", str(tmp_path / "accounts.yaml"))
    asked = ("preview", "delivered_check", "-v", "-", "-l", "en", "--json")
    assert typed(monkeypatch, "{order_id: O-1}", *asked) == 0
    assert json.loads(capsys.readouterr().out)[0]["text"] == "Order O-1: please leave us a review."
    assert typed(monkeypatch, "{order_id: O-1}", *asked, "--earlier", str(before)) == 1
    assert {v["rule"] for v in json.loads(capsys.readouterr().out)[0]["verdict"]["violations"]} == {"CR-ALL-03"}


def test_all_languages_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    values = '{order_id: O-1, amount: {value: "5.00", currency: EUR}}'
    assert typed(monkeypatch, values, "preview", "refund_issued", "-v", "-", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"en", "zh-Hans"} <= {one["locale"] for one in found}
    assert all(one["verdict"]["ok"] and "O-1" in one["text"] for one in found)
    assert typed(monkeypatch, values, "preview", "refund_issued", "-v", "-", "-l", "en") == 0
    assert "may leave" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["check", "none.txt"], "none.txt: cannot be read"),
        (["check", "-m", "nowhere"], "--marketplace nowhere: there is none of that name"),
        (["preview", "refund_issued"], "refund_issued: not known: order_id"),
        (["preview", "no_such"], "generic has no template no_such"),
        (["preview", "refund_issued", "-v", "-"], "must be a mapping"),
        (["score", "amends/commands"], "holds no labelled texts"),
    ],
)
def test_faults_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], why: str
) -> None:
    assert typed(monkeypatch, "[1]", *args) == 2
    told = capsys.readouterr().err
    assert why in told and told.count("\n") == 1


def test_the_set_is_scored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(monkeypatch, "", "score", SET, "--json") == 0
    rows = {(row["part"], row["of"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["tuned", "all"]["recall"] >= 0.97 and rows["held_out", "all"]["bad"] >= 150
