"""Amazon's notifications: proof by the forwarder's key, both casings and the EventBridge event, what nobody knows is kept."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.json_reader import Unreadable
from shared.marketplaces.amazon import webhook
from shared.marketplaces.amazon.envelope import folded
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, NotGenuine, Unmapped

FIXTURES = Path(webhook.__file__).parent / "fixtures"
KEYS = {"notification_key": ("the-new-key-of-the-forwarder", "the-old-key-of-the-forwarder")}
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
ACCOUNT = Account("amz", "amazon")


def told(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return body


def inbound(body: Any, key: str | list[str] | None = "the-new-key-of-the-forwarder") -> Inbound:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    keys = [] if key is None else [key] if isinstance(key, str) else key
    return Inbound(raw, {"x-api-key": keys} if keys else {})


def verify(body: Any, account: Account = ACCOUNT, key: str | list[str] | None = "the-new-key-of-the-forwarder") -> None:
    webhook.verify(inbound(body, key), account, KEYS, NOW)


def changed(name: str, **laid_over: Any) -> dict[str, Any]:
    """A fixture with keys of its inner notification changed."""
    body = told(name)
    inner = next(iter((body.get("Payload") or body.get("payload")).values()))
    inner |= laid_over
    return body


def test_either_key_will_do_during_rotation() -> None:
    verify(told("cancel_requested"))
    verify(told("cancel_requested"), key="the-old-key-of-the-forwarder")


@pytest.mark.parametrize(
    "key",
    [None, "", "the-new-key-of-the-forwarde", "the-new-key-of-the-forwarder ", "THE-NEW-KEY-OF-THE-FORWARDER", "é\ud800",
     ["the-new-key-of-the-forwarder", "the-new-key-of-the-forwarder"]],
)  # fmt: skip
def test_anything_else_is_refused(key: str | list[str] | None) -> None:
    with pytest.raises(NotGenuine) as caught:
        verify(told("cancel_requested"), key=key)
    assert caught.value.status == 401


def test_genuine_garbage_passes_the_proof_and_is_kept() -> None:
    verify(b"\xff no json")
    with pytest.raises(Unreadable):
        webhook.parse(inbound(b"\xff no json"), ACCOUNT)


FITTING = {
    "seller_id": "A1EXAMPLESELLER",
    "marketplace_id": "ATVPDKIKX0DER",
    "application_id": "amzn1.sellerapps.app.demo",
    "subscription_ids": ["sub-demo-0", "sub-demo-1"],
}


@pytest.mark.parametrize("name", ["cancel_requested", "cancel_requested_bridged"])
@pytest.mark.parametrize(
    ("setting", "other"),
    [("seller_id", "A2"), ("marketplace_id", "A1PA6795UKMFR9"), ("application_id", "x"), ("subscription_ids", ["x"])],
)
def test_what_is_configured_must_fit(name: str, setting: str, other: Any) -> None:
    verify(told(name), Account("amz", "amazon", settings=FITTING))
    with pytest.raises(NotGenuine) as caught:
        verify(told(name), Account("amz", "amazon", settings={**FITTING, setting: other}))
    assert caught.value.status == 403
    reply = webhook.reply("refused", caught.value)
    assert reply.status == 403 and json.loads(reply.body)["error"].startswith("wrong_")


def test_the_seller_of_a_transaction_stands_elsewhere() -> None:
    account = Account("amz", "amazon", settings={"seller_id": "A2", "marketplace_id": "ATVPDKIKX0DER"})
    with pytest.raises(NotGenuine, match="seller"):
        verify(told("money_moved"), account)


def test_what_a_notification_does_not_tell_is_not_held_against_it() -> None:
    verify(told("account_at_risk"), Account("amz", "amazon", settings={"seller_id": "A2"}))


@pytest.mark.parametrize(
    "name", ["cancel_requested", "cancelled_as_wished", "report_ready", "feed_fatal", "money_moved"]
)
def test_both_casings_and_the_event_around_it_mean_the_same(name: str) -> None:
    plain = told(name)
    other = recased(plain)
    assert other != plain
    event = {"version": "0", "detail-type": "X", "source": "aws.partner/x", "detail": plain}
    meanings = [webhook.parse(inbound(body), ACCOUNT) for body in (plain, other, event)]
    assert meanings[0] == meanings[1] == meanings[2]
    assert len({webhook.dedupe_key(inbound(body)) for body in (plain, other, event)}) == 1


def recased(value: Any) -> Any:
    """Every key's first letter in the other case."""
    if isinstance(value, list):
        return [recased(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key[:1].swapcase() + key[1:]: recased(inner) for key, inner in value.items()}


def test_both_casings_at_once_are_unreadable() -> None:
    with pytest.raises(Unreadable, match="both casings"):
        webhook.parse(inbound({**told("cancel_requested"), "payload": {}}), ACCOUNT)


def test_repeats_are_known_by_the_notification_s_id_whatever_the_bytes() -> None:
    spaced = Inbound(json.dumps(told("cancel_requested"), indent=7).encode(), {})
    assert webhook.dedupe_key(spaced) == webhook.dedupe_key(inbound(told("cancel_requested")))
    assert webhook.dedupe_key(spaced) == told("cancel_requested")["NotificationMetadata"]["NotificationId"]
    nameless = told("cancel_requested") | {"NotificationMetadata": {}}
    assert webhook.dedupe_key(inbound(nameless)) != webhook.dedupe_key(inbound(nameless | {"EventTime": "x"}))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "$"),
        ({"Hello": 1}, "$.notificationType"),
        (changed("cancel_requested", AmazonOrderId=None), "$.payload.amazonOrderId"),
        (changed("cancel_requested", AmazonOrderId="../../x"), "$.payload.amazonOrderId"),
        (changed("report_ready", reportId=""), "$.payload.reportId"),
        (changed("feed_fatal", feedId={}), "$.payload.feedId"),
        (changed("multi_channel_return", SellerFulfillmentOrderId=None), "$.payload.sellerFulfillmentOrderId"),
        (changed("cancel_requested", OrderChangeTrigger=None) | {"EventTime": None, "NotificationMetadata": None},
         "$.payload.orderChangeTrigger.timeOfOrderChange"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(body: Any, path: str) -> None:
    with pytest.raises(Unreadable) as caught:
        webhook.parse(inbound(body), ACCOUNT)
    assert caught.value.path == path


def test_a_report_id_may_be_a_number() -> None:
    found = webhook.parse(inbound(changed("report_ready", reportId=50000012345)), ACCOUNT)
    assert found == NeedsFetch("report:50000012345")


def test_without_finances_transactions_are_left_alone() -> None:
    account = Account("amz", "amazon", settings={"finances": False})
    assert isinstance(webhook.parse(inbound(told("money_moved")), account), Ignored)


def test_a_wish_to_cancel_that_stands_on_a_later_status_comes_before_it() -> None:
    """Whichever notification is seen first, the cancellation is known, and older news of it changes nothing."""
    early, late = (webhook.parse(inbound(told(name)), ACCOUNT) for name in ("cancel_requested", "cancelled_as_wished"))
    assert isinstance(early, Facts) and isinstance(late, Facts)
    assert [draft.kind for draft in late.drafts] == ["order.cancel_requested", "order.cancelled"]
    assert {draft.external_id for draft in (*early.drafts, *late.drafts)} == {"902-1234567-7654321"}
    assert early.drafts[0].revision < late.drafts[0].revision == late.drafts[1].revision  # type: ignore[operator]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(path.stem for path in FIXTURES.glob("*_*.json") if ".expect" not in path.name)),
    key=st.text(max_size=20) | st.sampled_from(["OrderChangeType", "Summary", "OrderChangeTrigger", "TransactionType",
                                                "RelatedIdentifiers", "FulfillmentReturnItem", "processingStatus"]),
    value=JSON,
)  # fmt: skip
def test_odd_values_anywhere_are_read_kept_or_named(name: str, key: str, value: Any) -> None:
    body = told(name)
    if not (body.get("Payload") or body.get("payload")):
        return
    inner = next(iter((body.get("Payload") or body["payload"]).values()))
    inner[key] = value
    try:
        found = webhook.parse(inbound(body), ACCOUNT)
    except Unreadable as fault:
        assert fault.path and fault.why
        return
    assert isinstance(found, Facts | Ignored | NeedsFetch | Unmapped)


def test_folding_reaches_every_level() -> None:
    assert folded({"A": [{"Bc": {"SellerSKU": 1}}], "isX": True}) == {"a": [{"bc": {"sellerSKU": 1}}], "isX": True}
