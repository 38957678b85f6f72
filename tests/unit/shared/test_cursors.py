import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cursors import BadCursor, Cursors

cursors = Cursors(b"secret")


@given(st.lists(st.integers(-(2**60), 2**60) | st.text(max_size=30) | st.none(), max_size=4))
def test_comes_back_as_it_was(place: list[object]) -> None:
    text = cursors.seal("cases/deadline", place)
    assert cursors.open("cases/deadline", text) == place
    assert text.isascii() and not set("+/=&?") & set(text)


SEALED = cursors.seal("cases/deadline", [12, "case_x"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        SEALED[:-1],
        SEALED + "A",
        "A" + SEALED[1:],
        SEALED[:20] + SEALED[21:],
        "é",
        "A" * 10_000,
        SEALED + "\n",
        SEALED + "=",
    ],
)
def test_forged_truncated_or_strange(text: str) -> None:
    with pytest.raises(BadCursor):
        cursors.open("cases/deadline", text)


def test_of_another_list_or_another_installation() -> None:
    with pytest.raises(BadCursor):
        cursors.open("cases/updated", SEALED)
    with pytest.raises(BadCursor):
        Cursors(b"other").open("cases/deadline", SEALED)
    assert BadCursor().status == 400
