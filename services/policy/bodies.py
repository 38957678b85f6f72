"""Request bodies: read strictly, held against their types, and documented by them."""

import zoneinfo
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import Request

from shared.domain.facts import encode
from shared.domain.money import Money
from shared.errors import Invalid, Refusal, TooLarge
from shared.json_reader import MAX_BYTES, Unreadable, read

B = TypeVar("B", bound=msgspec.Struct)
_LONGEST_KEY = 200
Reason = Literal[
    "not_received", "not_as_described", "damaged", "wrong_item", "missing_parts", "defective", "counterfeit",
    "change_of_mind", "late", "customs", "returned_parcel", "other",
]  # fmt: skip
Kind = Literal["order_care", "cancellation", "return", "refund", "dispute", "claim", "review"]
SuppliedBy = Literal["buyer", "seller", "carrier"]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
Locale = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
Mail = Annotated[str, msgspec.Meta(pattern=r"^[^\s@<>,;]{1,64}@[A-Za-z0-9.-]{1,189}$")]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$", max_length=2000)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Action(_Body, frozen=True, kw_only=True):
    action: str
    params: dict[str, Any] = {}
    reason: str | None = None
    override: dict[str, Any] | None = None


class Amount(_Body, frozen=True, kw_only=True):
    value: str
    currency: str


class GivenBuyer(_Body, frozen=True, kw_only=True, omit_defaults=True):
    id: Id | None = None
    name: Id | None = None
    locale: Locale | None = None
    time_zone: str | None = None
    mail: Mail | None = None


class NewCase(_Body, frozen=True, kw_only=True):
    account: str
    kind: Kind
    external_id: Id
    order_id: Id
    reason: Reason | None = None
    amount: Amount | None = None
    buyer: GivenBuyer = GivenBuyer()
    facts: dict[str, Any] = {}

    def data(self) -> dict[str, Any]:
        """Typed facts of the opening. Raises Invalid."""
        told: dict[str, Any] = dict(self.facts)
        if self.reason is not None:
            told["reason"] = self.reason
        if self.amount is not None:
            told["amount"] = msgspec.to_builtins(_money(self.amount))
        if self.buyer.time_zone is not None and self.buyer.time_zone not in zoneinfo.available_timezones():
            raise Invalid("buyer.time_zone must be a time zone", code="bad_body")
        if buyer := msgspec.to_builtins(self.buyer):
            told["buyer"] = buyer
        return told


class Answer(_Body, frozen=True, kw_only=True):
    answer: str
    reason: str | None = None
    params: dict[str, Any] = {}


class Proof(_Body, frozen=True, kw_only=True):
    kind: Id
    supplied_by: SuppliedBy
    url: Url | None = None
    text: Text | None = None


def _money(amount: Amount) -> Money:
    try:
        return Money.of(amount.value, amount.currency)
    except ValueError as fault:
        raise Invalid(f"amount: {fault}", code="bad_amount") from None


async def body_of(request: Request, type_: type[B]) -> B:
    """Raises Invalid (422), Refusal (400: no JSON), TooLarge."""
    given = request.headers.get("content-length", "0")
    if given.isdigit() and int(given) > MAX_BYTES:
        raise TooLarge("at most 1 MB")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BYTES:
            raise TooLarge("at most 1 MB")
    return parse(bytes(raw), type_)


def parse(raw: bytes, type_: type[B]) -> B:
    try:
        value = msgspec.json.decode(encode(read(raw)))
    except Unreadable as fault:
        raise Refusal(str(fault), code="unreadable", status=400) from None
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as fault:
        raise Invalid(_without_values(str(fault)), code="bad_body") from None


def _without_values(text: str) -> str:
    """msgspec names the place and the type; an unknown enum value it repeats is cut."""
    return text if "Invalid enum value" not in text else "Invalid enum value - " + text.rpartition(" - ")[2]


def documented(type_: type[msgspec.Struct], **more: Any) -> dict[str, Any]:
    """OpenAPI of a body that we read ourselves."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    whole = _inlined(components[schema["$ref"].rpartition("/")[2]], components)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole}, **more}}}


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, components) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(components[schema["$ref"].rpartition("/")[2]], components)
    return {name: _inlined(value, components) for name, value in schema.items()}


def idempotency_key(request: Request) -> str:
    """Raises Refusal: every action carries one."""
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not keys[0].strip():
        raise Refusal("an Idempotency-Key header is needed", code="idempotency_key_missing", status=400)
    if len(keys[0]) > _LONGEST_KEY or not keys[0].isprintable():
        raise Refusal("an Idempotency-Key is at most 200 printable characters", code="bad_idempotency_key", status=400)
    return keys[0]
