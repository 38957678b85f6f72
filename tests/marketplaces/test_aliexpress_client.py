"""Signing of our calls by the reference's vector, and what the many shapes of a reply mean."""

import pytest

from shared.http import HttpFault, InDoubtFault, NotSentFault, RefusedFault
from shared.marketplaces.aliexpress.client import NoAcknowledgement, acknowledged, sign, unwrap
from shared.marketplaces.aliexpress.issue import items

METHOD = "aliexpress.issue.solution.agree"


def test_the_signature_of_the_reference() -> None:
    params = {
        "app_key": "500001",
        "buyer_login_id": "cn1000000001",
        "format": "json",
        "issue_id": "600000000000123",
        "method": "aliexpress.issue.detail.get",
        "session": "demo-token",
        "sign_method": "sha256",
        "simplify": "true",
        "timestamp": "1795255203120",
        "v": "2.0",
    }
    expected = "F30A96B6B9D3C22CE8886104AACA7D796E1EC4B8F04C35275E6852D5C7CE3C5E"
    assert sign("demo-secret-0001", params) == expected
    assert sign("demo-secret-0001", {**params, "sign": "x", "empty": ""}) == expected
    assert sign("demo-secret-0001", params, "/aliexpress/message/send") != expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"result_object":true}',
        b'{"result":{"result_object":true}}',
        b'{"aliexpress_issue_solution_agree_response":{"result_object":true,"request_id":"r"}}',
        b'{"aliexpress_issue_solution_agree_response":{"result":{"success":true}}}',
        b'{"code":"0","request_id":"r"}',
        b'{"result":{"target":"true"}}',
    ],
)
def test_every_shape_of_a_yes(body: bytes) -> None:
    acknowledged(unwrap(body, METHOD))


@pytest.mark.parametrize(
    "body",
    [
        b'{"result_object":false}',
        b'{"result":{"success":false,"errorCode":"E","errorMessage":"plan has changed"}}',
        b'{"aliexpress_issue_solution_agree_response":{"result_object":true,"sub_msg":"plan has changed"}}',
        b'{"error_response":{"type":"ISV","code":"40","msg":"Missing","sub_code":"isv.x"}}',
        b'{"error_response":{"code":15,"msg":"Remote service error","sub_code":"isv.not-allowed"}}',
    ],
)
def test_http_200_is_no_yes(body: bytes) -> None:
    with pytest.raises(RefusedFault):
        acknowledged(unwrap(body, METHOD))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"error_response":{"code":"ApiCallLimit","msg":"too fast"}}', NotSentFault),
        (b'{"error_response":{"code":"15","msg":"Remote service error"}}', InDoubtFault),
        (b"<html>", InDoubtFault),
        (b"[]", InDoubtFault),
        (b'{"request_id":"r"}', NoAcknowledgement),
    ],
)
def test_what_cannot_be_told_or_was_not_taken(body: bytes, fault: type[HttpFault]) -> None:
    with pytest.raises(fault):
        acknowledged(unwrap(body, METHOD))


def test_bad_credentials_are_told_apart() -> None:
    with pytest.raises(RefusedFault) as refused:
        unwrap(b'{"type":"ISV","code":"IllegalAccessToken","message":"expired","request_id":"r"}', "/aliexpress/x")
    assert refused.value.status == 401


def test_lists_come_bare_and_wrapped_and_numbers_stay_exact() -> None:
    assert items({"solution_api_dto": [{"id": 1}]}) == items([{"id": 1}]) == [{"id": 1}]
    assert items({}) == items(None) == items("x") == []
    assert unwrap(b'{"a":12.10,"id":9007199254740993}', METHOD) == {"a": "12.10", "id": "9007199254740993"}
