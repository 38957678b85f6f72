"""Amazon's mails: what a notice of a claim says, how far it is believed, and that no mail breaks the reading."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.facts import Draft, encode
from shared.marketplaces.amazon import mail

MAILS = Path(mail.__file__).parent / "fixtures" / "mail"
OURS = "mx.teapot.example"
NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
ORDER = "902-1234567-7654321"
PIECES = [
    b"From: ", b"Subject: ", b"Date: ", b"Content-Type: ", b"Authentication-Results: ", b"A-to-z claim ", ORDER.encode(),
    b"=?utf-8?q?=FF?=", b"multipart/mixed; boundary=x", b"\n", b"\n\n", b"--x\n", b"\xff\x00", b'text/plain; charset=""',
    b"amazon.com", b";", b"<", b"@", b"Content-Transfer-Encoding: base64\n", b"text/html", b"=?x?b?a?=", b"31 Feb 99999",
]  # fmt: skip


def read(name: str, judged_by: str | None = OURS) -> tuple[Draft, ...]:
    return mail.facts(mail.message_of((MAILS / f"{name}.eml").read_bytes(), judged_by=judged_by), NOW)


def told(name: str, judged_by: str | None = OURS) -> list[tuple[str, str | None, Any]]:
    return [(draft.kind, draft.raw_code, draft.data.get("confidence")) for draft in read(name, judged_by)]


def made(subject: str, text: str = "", sender: str = "notice@amazon.com", signed: bool = True) -> bytes:
    proof = f"Authentication-Results: {OURS}; dkim=pass header.d=amazon.com\n" if signed else ""
    date = "Mon, 23 Nov 2026 08:00:00 +0000"
    return f"{proof}From: {sender}\nSubject: {subject}\nDate: {date}\nMessage-ID: <1@a>\n\n{text}\n".encode()


def meaning(subject: str, text: str = "", **changes: Any) -> list[str]:
    found = mail.facts(mail.message_of(made(subject, text, **changes), judged_by=OURS), NOW)
    return [f"{draft.kind} {draft.raw_code}" for draft in found]


def test_a_claim_is_opened_by_its_order() -> None:
    (draft,) = read("claim_filed")
    assert (draft.kind, draft.case_kind, draft.external_id, draft.order_id) == ("dispute.opened", "claim", ORDER, ORDER)
    assert draft.occurred_at == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert (draft.data["reason"], draft.data["stage"], draft.data["confidence"]) == (
        "not_received",
        "guarantee",
        "sure",
    )


def test_the_day_in_the_notice_is_the_deadline_read_cautiously() -> None:
    opened, asked = read("information_wanted")
    assert (opened.kind, asked.kind) == ("dispute.opened", "dispute.evidence_requested")
    assert asked.data["due_at"] == "2026-11-25T00:00:00Z"
    assert meaning("Action required: A-to-z claim 902-1234567-7654321", "Answer by February 30, 2027.") != []


def test_a_decision_counts_only_when_it_is_surely_amazons() -> None:
    assert told("granted_seller_funded")[-1] == ("dispute.resolved", "granted_seller_funded", "sure")
    unsigned = told("granted_seller_funded", judged_by=None)
    assert unsigned == [("case.updated", "mail:granted_seller_funded", "likely")]
    assert told("denied_unsigned") == [("case.updated", "mail:denied", "likely")]
    assert told("forged") == [("case.updated", "mail:withdrawn", "unsure")], (
        "the judgement of another server is nobody's"
    )


def test_what_asks_for_our_side_is_believed_of_any_amazon_address() -> None:
    assert told("claim_filed", judged_by=None) == [("dispute.opened", "under_review", "likely")]
    assert told("information_wanted", judged_by="mx.other.example")[-1] == (
        "dispute.evidence_requested", "action_required", "likely",
    )  # fmt: skip
    other = meaning("A-to-z claim filed for 902-1234567-7654321", sender="x@amazon.com.evil.example", signed=False)
    assert other == ["case.updated mail:under_review"]


def test_two_orders_are_two_claims_and_unsure() -> None:
    assert [(d.kind, d.order_id, d.data["confidence"]) for d in read("two_orders")] == [
        ("dispute.opened", "902-1111111-2222222", "unsure"),
        ("dispute.opened", ORDER, "unsure"),
    ]


@pytest.mark.parametrize(
    ("subject", "text", "last"),
    [
        (f"A-to-z claim withdrawn: {ORDER}", "", "dispute.withdrawn withdrawn"),
        (f"A-to-z claim denied: {ORDER}", "", "dispute.resolved denied"),
        (f"A-to-z claim for {ORDER} was granted, Amazon funded", "", "dispute.resolved granted_amazon_funded"),
        (f"A-to-z claim for {ORDER} was granted", "", "dispute.resolved granted_seller_funded"),
        (f"A-to-z claim {ORDER}: order was refunded", "", "dispute.resolved order_refunded"),
        (f"A-to-z claim {ORDER}: order was cancelled", "", "dispute.resolved order_cancelled"),
        (f"We received your appeal, A-to-z claim {ORDER}", "", "appeal.filed appeal_received"),
        (f"Your appeal was granted, A-to-z claim {ORDER}", "", "appeal.decided appeal_granted"),
        (f"Your appeal was denied, A-to-z claim {ORDER}", "", "appeal.decided appeal_denied"),
        (f"Action required, A-to-z claim {ORDER}", "", "dispute.evidence_requested action_required"),
        (f"A-to-z-Garantieantrag zu {ORDER}", "Bitte nehmen Sie Stellung.", "case.updated mail:unread"),
        (f"About your A-to-z claim {ORDER}", "The claim was granted.", "case.updated mail:granted_seller_funded"),
    ],
)
def test_every_outcome_has_its_words_and_other_words_move_nothing(subject: str, text: str, last: str) -> None:
    assert meaning(subject, text)[-1] == last


def test_a_buyer_writes_over_the_relay() -> None:
    (draft,) = read("buyer_message")
    assert (draft.kind, draft.order_id, draft.case_kind) == ("message.received", ORDER, None)
    assert draft.data["text"] == "Wann kommt der Ersatz? Die Lampe flackert immer noch."
    assert meaning("Hello", "no order", sender="a@marketplace.amazon.co.uk") == []


def test_where_to_answer_is_believed_of_a_signed_mail_only() -> None:
    """Anybody can write a sender; and nobody but Amazon has its relay's addresses."""
    alias = "k3v9p2q8x1@marketplace.amazon.de"

    def address(**changes: Any) -> Any:
        given: dict[str, Any] = {"sender": f"Anna <{alias}>", **changes}
        (draft,) = mail.facts(mail.message_of(made(f"Order {ORDER}", "Hello", **given), judged_by=OURS), NOW)
        return draft.data.get("buyer")

    assert address() == {"mail": alias}
    assert address(signed=False) is None
    assert address(sender="k3@marketplace.amazon.evil") is None
    assert "alias" not in mail.message_of(made("A-to-z claim", sender="notice@amazon.com"), judged_by=OURS)


def test_what_is_no_concern_says_nothing() -> None:
    assert read("of_no_concern") == ()
    assert meaning("Your A-to-z claim statistics") == []


def test_no_date_and_an_unknown_charset_are_no_reason_to_lose_it() -> None:
    *_, resolved = read("no_date_odd_charset")
    assert (resolved.raw_code, resolved.occurred_at) == ("order_refunded", NOW)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.binary(max_size=400)
    | st.lists(
        st.sampled_from(PIECES),
        max_size=25,
    ).map(b"".join)
)
def test_no_mail_breaks_the_reading(raw: bytes) -> None:
    kept = mail.message_of(raw, judged_by=OURS)
    assert encode(kept), "it can be stored"
    for draft in mail.facts(kept, NOW):
        assert (
            draft.kind in ("case.updated", "dispute.opened", "message.received", "dispute.evidence_requested")
            or kept["signed"]
        )
