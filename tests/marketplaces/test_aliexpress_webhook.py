"""AliExpress pushes: proof by the reference's own vector, staleness, seller, identity and meaning."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.json_reader import Unreadable
from shared.marketplaces.aliexpress import webhook
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, NotGenuine, Unmapped

KEY, SECRET = "500001", "demo-secret-0001"
SECRETS = {"app_key": KEY, "app_secret": SECRET}
ACCOUNT = Account("ae-main", "aliexpress")
VECTOR = (
    b'{"seller_id":"2000012345","message_type":0,"data":{"order_status":"return_requested",'
    b'"reverse_order_id":"637000000000001","reverse_order_line_id":"637000000000002",'
    b'"status_update_time":1795255200,"trade_order_id":"820000000000011","trade_order_line_id":"820000000000012"},'
    b'"timestamp":1795255203120,"site":"demo_site"}'
)
SIGNATURE = "30e94afc1e693265a8be45ec63ecb3a054e04b203fb5696ddf42d134896f084f"
SENT = datetime.fromtimestamp(1795255203.12, UTC)


def inbound(body: bytes, **headers: str) -> Inbound:
    signed = {"authorization": webhook.signature(KEY, SECRET, body), **headers}
    return Inbound(body, {name: (value,) for name, value in signed.items()})


def push(**changes: Any) -> Inbound:
    body = {**json.loads(VECTOR), **changes}
    return inbound(json.dumps(body).encode())


def order(status: str, **data: Any) -> Inbound:
    told = {"order_status": status, "trade_order_id": "820", "status_update_time": 1795255200, **data}
    return push(data={k: v for k, v in told.items() if v is not None})


def test_the_signature_of_the_reference() -> None:
    assert len(VECTOR) == 317
    assert webhook.signature(KEY, SECRET, VECTOR) == SIGNATURE
    webhook.verify(inbound(VECTOR, authorization=SIGNATURE), ACCOUNT, SECRETS, SENT)


@pytest.mark.parametrize(
    "sent",
    [
        inbound(VECTOR[:-1] + b" ", authorization=SIGNATURE),
        inbound(json.dumps(json.loads(VECTOR)).encode(), authorization=SIGNATURE),
        inbound(VECTOR, authorization=SIGNATURE.upper()),
        inbound(VECTOR, authorization=""),
        inbound(VECTOR, authorization=webhook.signature(KEY, "another", VECTOR)),
        Inbound(VECTOR, {}),
        Inbound(VECTOR, {"authorization": (SIGNATURE, SIGNATURE)}),
        inbound(VECTOR, authorization="süß"),
    ],
)
def test_what_is_not_proven_is_refused(sent: Inbound) -> None:
    with pytest.raises(NotGenuine) as refused:
        webhook.verify(sent, ACCOUNT, SECRETS, SENT)
    assert refused.value.status == 401


def test_both_secrets_hold_during_a_rotation() -> None:
    for secret in ("old", "new"):
        sent = inbound(VECTOR, authorization=webhook.signature(KEY, secret, VECTOR))
        webhook.verify(sent, ACCOUNT, {"app_key": KEY, "app_secret": ("new", "old")}, SENT)


@pytest.mark.parametrize(
    ("away", "genuine"),
    [
        (timedelta(hours=7), True),
        (timedelta(hours=7, seconds=1), False),
        (-timedelta(minutes=10), True),
        (-timedelta(minutes=10, seconds=1), False),
    ],
)
@pytest.mark.parametrize("unit", [1, 1000])
def test_the_window_of_time_in_seconds_and_milliseconds(away: timedelta, genuine: bool, unit: int) -> None:
    sent = push(timestamp=1795255203 * unit)
    now = datetime.fromtimestamp(1795255203, UTC) + away
    if genuine:
        webhook.verify(sent, ACCOUNT, SECRETS, now)
        return
    with pytest.raises(NotGenuine) as refused:
        webhook.verify(sent, ACCOUNT, SECRETS, now)
    assert (refused.value.code, refused.value.status) == ("stale", 401)


@pytest.mark.parametrize("timestamp", [0, 1, "1000"])
def test_an_absurd_time_is_stale(timestamp: Any) -> None:
    with pytest.raises(NotGenuine):
        webhook.verify(push(timestamp=timestamp), ACCOUNT, SECRETS, SENT)


def test_a_push_for_another_seller_is_403() -> None:
    mine = Account("ae-main", "aliexpress", settings={"seller_id": "2000012345"})
    webhook.verify(inbound(VECTOR), mine, SECRETS, SENT)
    other = Account("ae-main", "aliexpress", settings={"seller_id": "77"})
    with pytest.raises(NotGenuine) as refused:
        webhook.verify(inbound(VECTOR), other, SECRETS, SENT)
    assert refused.value.status == 403


def test_authentic_but_unreadable_passes_the_proof_and_fails_the_reading() -> None:
    for body in (b"{", b"\xff", b"", b'{"a":1,"a":2}', b"[]", b'{"message_type":0,"data":7}'):
        sent = inbound(body)
        webhook.verify(sent, ACCOUNT, SECRETS, SENT)
        assert len(webhook.dedupe_key(sent)) == 64
        with pytest.raises(Unreadable):
            webhook.parse(sent, ACCOUNT)


def test_a_dispute_is_a_doorbell() -> None:
    assert webhook.parse(inbound(VECTOR), ACCOUNT) == NeedsFetch("order:820000000000011")
    assert webhook.parse(order("IN_ISSUE"), ACCOUNT) == NeedsFetch("order:820")
    assert webhook.parse(order("anything", reverse_order_id=9), ACCOUNT) == NeedsFetch("order:820")


def test_ids_beyond_a_double_stay_exact() -> None:
    body = VECTOR.replace(b'"820000000000011"', b"8200000000000118209")
    assert webhook.parse(inbound(body), ACCOUNT) == NeedsFetch("order:8200000000000118209")


@pytest.mark.parametrize(
    ("status", "kind"), [("WAIT_BUYER_ACCEPT_GOODS", "order.shipped"), ("IN_CANCEL", "order.cancel_requested")]
)
def test_known_order_statuses_are_facts(status: str, kind: str) -> None:
    parsed = webhook.parse(order(status), ACCOUNT)
    assert isinstance(parsed, Facts)
    (fact,) = parsed.drafts
    assert (fact.kind, fact.order_id, fact.raw_code) == (kind, "820", status)
    assert fact.occurred_at == datetime.fromtimestamp(1795255200, UTC)


def test_the_rest_is_ignored_or_unmapped_by_name() -> None:
    assert isinstance(webhook.parse(order("FINISH"), ACCOUNT), Ignored)
    assert webhook.parse(order("brand_new"), ACCOUNT) == Unmapped("order_status:brand_new")
    assert isinstance(webhook.parse(push(message_type=8, data={"auth_expiry_time": 1}), ACCOUNT), Ignored)
    assert webhook.parse(push(message_type=55), ACCOUNT) == Unmapped("message_type:55")


def test_replies() -> None:
    assert webhook.reply("accepted").status == webhook.reply("unreadable").status == 200
    assert webhook.reply("refused", NotGenuine("no")).status == 401
    assert webhook.reply("unknown_account").status == 404
    assert webhook.reply("unavailable").status == 503
