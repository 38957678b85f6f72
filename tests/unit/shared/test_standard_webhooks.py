"""Signatures over raw bytes: published vectors, the reference library as oracle, and everything that must be refused."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.clock import SystemClock
from shared.errors import ConfigurationError
from shared.ports import NotGenuine
from shared.standard_webhooks import MAX_CANDIDATES, headers, key_of, sign, verify

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
BODY = b'{"type":"return.requested","timestamp":"2026-01-01T00:00:00Z","data":{"case_id":"c_1"}}'
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ED25519 = "v1a,62E29ndaUtas/uwiPBXuvIKJYAZdakIkbLMoSZcJvN0B9/oOE3WuZJ7lyHrh9qy+q6XJyjsEKpF1+vti6DZyBw=="


def check(
    secrets: str | tuple[str, ...] = SECRET,
    *,
    message_id: str | None = "msg_0001",
    timestamp: str | None = "1767225600",
    signature: str | None = None,
    body: bytes = BODY,
    now: datetime = NOW,
) -> None:
    signature = sign(SECRET, "msg_0001", NOW, BODY) if signature is None else signature
    verify(secrets, message_id=message_id, timestamp=timestamp, signature=signature or None, body=body, now=now)


@pytest.mark.parametrize(
    ("secret", "message_id", "seconds", "body", "expected"),
    [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
            b'{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (SECRET, "msg_0001", 1767225600, BODY, "v1,gV+QLZv3QwLGS+yC5M8aZPD0DKlLaCFQ/bJeKMGV/Yk="),
    ],
)  # fmt: skip
def test_published_vectors(secret: str, message_id: str, seconds: int, body: bytes, expected: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert sign(secret, message_id, moment, body) == expected
    verify(secret, message_id=message_id, timestamp=str(seconds), signature=expected, body=body, now=moment)


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True),
    text=st.text(max_size=300),
)
def test_the_library_signs_and_takes_what_we_sign_and_take(key: bytes, message_id: str, text: str) -> None:
    secret, now = "whsec_" + base64.b64encode(key).decode(), SystemClock().now().replace(microsecond=0)
    assume(text.encode("utf-8", "ignore").decode() == text)
    library = standardwebhooks.Webhook(secret)
    ours = headers(secret, message_id, now, text.encode())
    assert ours["webhook-signature"] == library.sign(message_id, now, text)
    library.verify(text, ours, json_parse=False)
    verify(
        secret,
        message_id=message_id,
        timestamp=ours["webhook-timestamp"],
        signature=library.sign(message_id, now, text),
        body=text.encode(),
        now=now,
    )


@given(
    message_id=st.none() | st.text(max_size=200),
    timestamp=st.none() | st.text(max_size=30) | st.integers(-(2**64), 2**64).map(str),
    signature=st.none()
    | st.text()
    | st.lists(st.sampled_from(["v1", ",", " ", "=", "garbage", ED25519, "é"])).map("".join),
    body=st.binary(max_size=100),
)
@example(message_id="msg_0001", timestamp="1767225600", signature="\ud800", body=b"")
@example(message_id="msg_0001", timestamp="1767225600", signature="v1,\udcff", body=b"\xff")
def test_garbage_raises_not_genuine_and_nothing_else(
    message_id: str | None, timestamp: str | None, signature: str | None, body: bytes
) -> None:
    with pytest.raises(NotGenuine):
        verify(SECRET, message_id=message_id, timestamp=timestamp, signature=signature, body=body, now=NOW)


@given(st.text(max_size=60) | st.lists(st.sampled_from(["v1,", "garbage", " ", "v1a,", "AAAA"])).map("".join))
def test_never_laxer_than_the_library(signature: str) -> None:
    now = SystemClock().now().replace(microsecond=0)
    sent = {**headers(SECRET, "msg_0001", now, BODY), "webhook-signature": signature}
    try:
        standardwebhooks.Webhook(SECRET).verify(BODY, sent)
    except Exception:  # the library raises five kinds of them
        with pytest.raises(NotGenuine):
            check(timestamp=sent["webhook-timestamp"], signature=signature, now=now)


@pytest.mark.parametrize("missing", ["message_id", "timestamp", "signature"])
def test_a_missing_or_doubled_header_is_refused(missing: str) -> None:
    given_headers = {
        "message_id": "msg_0001",
        "timestamp": "1767225600",
        "signature": sign(SECRET, "msg_0001", NOW, BODY),
    }
    with pytest.raises(NotGenuine):
        verify(SECRET, **{**given_headers, missing: None}, body=BODY, now=NOW)  # type: ignore[arg-type]


def test_every_single_bit_of_the_body_counts() -> None:
    for position in range(len(BODY)):
        changed = bytearray(BODY)
        changed[position] ^= 1
        with pytest.raises(NotGenuine):
            check(body=bytes(changed))


def test_json_written_anew_is_another_text() -> None:
    with pytest.raises(NotGenuine):
        check(body=BODY.replace(b'":"', b'": "', 1))


@pytest.mark.parametrize("secret", [OTHER, (OTHER,)])
def test_the_secret_of_another_account_proves_nothing(secret: str | tuple[str, ...]) -> None:
    with pytest.raises(NotGenuine):
        check(secret)


def test_rotation_takes_the_old_and_the_new_and_ends() -> None:
    for key in (SECRET, OTHER):
        check((SECRET, OTHER), signature=sign(key, "msg_0001", NOW, BODY))
    both = headers((SECRET, OTHER), "msg_0001", NOW, BODY)["webhook-signature"]
    check(SECRET, signature=both)
    check(OTHER, signature=both)
    with pytest.raises(NotGenuine):
        check(OTHER, signature=sign(SECRET, "msg_0001", NOW, BODY))


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_inside_the_tolerance(seconds: int) -> None:
    check(now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 3_600])
def test_stale_and_from_the_future(seconds: int) -> None:
    with pytest.raises(NotGenuine):
        check(now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "timestamp",
    ["", "nan", "inf", "1e9", " 1767225600", "1767225600 ", "1767225600.9", "-1", "+1767225600", str(2**63), "1767_225600",
     "١٧٦٧٢٢٥٦٠٠", "\uff11767225600", "0x69", "1767225600\n"],
)  # fmt: skip
def test_a_timestamp_is_ascii_digits_even_when_signed(timestamp: str) -> None:
    digest = hmac.digest(key_of(SECRET), f"msg_0001.{timestamp}.".encode() + BODY, "sha256")
    with pytest.raises(NotGenuine):
        check(timestamp=timestamp, signature=f"v1,{base64.b64encode(digest).decode()}")


@pytest.mark.parametrize("message_id", ["", "a.b", "a\nb", "x" * 129, "🙂", "a b", "msg_0001\n"])
def test_an_id_is_of_the_safe_set_even_when_signed(message_id: str) -> None:
    with pytest.raises(NotGenuine):
        check(message_id=message_id, signature=sign(SECRET, message_id, NOW, BODY))


def test_the_id_is_signed_too() -> None:
    with pytest.raises(NotGenuine):
        check(message_id="msg_0002")


@pytest.mark.parametrize(
    "signature",
    [" ", "garbage", "v1", "v1,", "v1,a", "v1,a,b", "v0," + "A" * 44, "none,", "sha1=da39a3ee", ED25519, "v1a," + "A" * 88,
     "v1," + "A" * 43 + "=", "V1,gV+QLZv3QwLGS+yC5M8aZPD0DKlLaCFQ/bJeKMGV/Yk=", "v1,gV-QLZv3QwLGS-yC5M8aZPD0DKlLaCFQ_bJeKMGV_Yk=",
     "v1," * 10_000, "x" * 1_000_000],
)  # fmt: skip
def test_other_signatures_and_algorithms_are_refused(signature: str) -> None:
    with pytest.raises(NotGenuine):
        check(signature=signature)


def test_one_good_signature_among_a_few_others_will_do_but_the_search_is_bounded() -> None:
    good = sign(SECRET, "msg_0001", NOW, BODY)
    check(signature=f"garbage v1a,AAAA v1,AAAA {good}")
    check(signature=" ".join(["v1,AAAA"] * (MAX_CANDIDATES - 1) + [good]))
    with pytest.raises(NotGenuine):
        check(signature=" ".join(["v1,AAAA"] * MAX_CANDIDATES + [good]))


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_AAAA", "whsec_not base64!", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="]
)
def test_a_bad_secret_is_a_fault_of_the_configuration_and_is_not_shown(secret: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        key_of(secret)
    assert str(caught.value) == "signing_secret: must be whsec_ and the base64 of at least 24 bytes"
