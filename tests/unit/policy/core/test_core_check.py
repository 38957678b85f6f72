"""The checker: each bad playbook is refused with file, line and state; the sound ones pass."""

import time
from pathlib import Path

import pytest
from core_scene import DATA, PURPOSES

from services.policy.core.check import Known, check
from services.policy.core.load import Fault, PlaybookFault, load
from shared.domain.errands import ACTS

BAD = sorted((DATA / "bad_playbooks").glob("*.yaml"))
SOUND = sorted((DATA / "playbooks").glob("core_*.yaml"))
_WRITTEN = {**PURPOSES, "unwritten": {}, "forbidden_here": {}, "only_at_first": {}}
KNOWN = Known(
    purposes=_WRITTEN,
    templates=frozenset(_WRITTEN) - {"unwritten"},
    allowed={name: () for name in _WRITTEN if name != "forbidden_here"} | {"only_at_first": ("awaiting_seller",)},
    acts={act: "none" if act == "intercept" else "api" for act in ACTS},
    settings={f"s{n}": "int" for n in range(13)},
)


def faults_of(path: Path) -> list[Fault]:
    try:
        return check(load(path.read_text("utf-8"), path.name), KNOWN)
    except PlaybookFault as fault:
        return fault.faults


def marked_line(path: Path) -> int | None:
    lines = path.read_text("utf-8").splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.endswith("# <- here")), None)


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_refused_with_file_line_and_state(path: Path) -> None:
    state, _, text = path.read_text("utf-8").splitlines()[0].removeprefix("# expect: ").partition(" | ")
    found = faults_of(path)
    line = marked_line(path)
    fitting = [fault for fault in found if text in fault.text and (fault.state or "-") == state]
    assert fitting, "\n".join(map(str, found)) or "no fault found"
    assert line is None or line in {fault.line for fault in fitting}, "\n".join(map(str, fitting))
    assert all(str(fault).startswith(f"{path.name}:{fault.line} {state}: ") for fault in fitting)


@pytest.mark.parametrize("path", SOUND, ids=[path.stem for path in SOUND])
def test_sound_playbooks_pass(path: Path) -> None:
    assert faults_of(path) == []


def test_faults_come_in_the_order_of_the_file() -> None:
    found = faults_of(DATA / "bad_playbooks" / "refund_on_entry_before_goods.yaml")
    assert found == sorted(found)


def test_the_shipped_playbooks_pass_in_under_two_seconds() -> None:
    shipped = sorted((Path(__file__).parents[4] / "shared" / "marketplaces").glob("*/playbooks/*.yaml"))
    assert len(shipped) >= 4
    began = time.process_time()
    found = [fault for path in shipped for fault in check(load(path.read_text("utf-8"), path.name), Known())]
    assert found == []
    assert time.process_time() - began < 2


def test_what_is_not_known_is_not_judged() -> None:
    text = (DATA / "playbooks" / "core_return.yaml").read_text("utf-8")
    assert check(load(text, "core_return.yaml"), Known()) == []


def test_a_text_that_is_no_yaml_names_its_line() -> None:
    with pytest.raises(PlaybookFault) as raised:
        load("playbook: return\n  states: [", "broken.yaml")
    assert raised.value.faults[0].path == "broken.yaml" and raised.value.faults[0].line >= 1


@pytest.mark.parametrize("text", ["", "[]", "null", "5", "playbook: [1]"])
def test_a_text_that_is_no_playbook_is_refused(text: str) -> None:
    with pytest.raises(PlaybookFault):
        load(text, "odd.yaml")
