"""The tables read off the tree are true, and every rule of the articles has its test."""

from tools import tables

COUNTS = {"R000": 13, "R001": 20, "R002": 25, "R003": 15, "R004": 10}


def test_the_written_tables_are_what_the_tree_says() -> None:
    assert tables.stale() == []


def test_every_rule_of_the_articles_has_a_test_of_its_name() -> None:
    wanted = {f"{article}-{n:02}" for article, count in COUNTS.items() for n in range(1, count + 1)}
    lines = tables.rules().splitlines()
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| R")} == wanted
