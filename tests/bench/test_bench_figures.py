"""Arithmetic of the bench: percentiles, ratios and their verdicts, CPU seconds and memory of process trees."""

import os
import socket
import subprocess
import sys

import pytest

from bench import cpu
from bench.figure import compare, percentile

BURN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
TREE = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}], check=True)
{BURN}
kept = subprocess.Popen([sys.executable, "-c", {BURN!r} + "\\nprint('burnt', flush=True); input()"], stdin=-1, stdout=-1)
kept.stdout.readline()
print("burnt", flush=True)
input()
kept.communicate(b"\\n")
"""


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100), (0.0, 1), (0.001, 1), (0.07, 7)]
)
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(share: float, expected: int) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_no_percentile_of_nothing() -> None:
    assert percentile([3.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_a_ratio_is_of_medians_with_its_range_and_verdict() -> None:
    found = compare("f", "f", "cases/s", [100, 900, 110], "peer", [10, 10, 11], must=8, aim=14)
    assert (found.ours, found.other, found.ratio, found.ratio_range) == (110, 10, 11.0, (10.0, 90.0))
    assert found.verdict == "must"
    assert compare("f", "f", "u", [150], "p", [10], must=8, aim=14).verdict == "aim"
    assert compare("f", "f", "u", [70], "p", [10], must=8, aim=14).verdict == "missed"


def test_less_may_be_better_and_a_ratio_upside_down() -> None:
    assert compare("f", "f", "ms", [5], "p", [10], must=0.6, aim=0.35, more_is_better=False).verdict == "must"
    assert compare("f", "f", "ms", [9], "p", [10], must=0.6, aim=0.35, more_is_better=False).verdict == "missed"
    cheap = compare("f", "f", "s", [0.5], "p", [10], must=8, aim=14, upside_down=True)
    assert (cheap.ratio, cheap.verdict) == (20.0, "aim")


def test_without_another_there_is_no_ratio_and_no_verdict() -> None:
    found = compare("f", "f", "u", [5.0], "", [], must=1, aim=2)
    assert (found.ratio, found.verdict, found.other) == (None, "", None)
    assert found.document()["note"]


def test_cpu_of_a_tree_counts_children_living_and_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"burnt\n"
        assert len(cpu.tree(process.pid)) == 2
        spent = cpu.seconds([process.pid])
        assert cpu.resident([process.pid]) > 5_000_000
        process.communicate(b"\n")
    assert spent >= 0.85
    assert cpu.seconds([process.pid]) == 0.0, "one that has ended has nothing to tell"


def test_who_listens_on_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert cpu.listener(server.getsockname()[1]) == os.getpid()
        port = server.getsockname()[1]
    with pytest.raises(LookupError):
        cpu.listener(port)
