"""Money is decimal text plus ISO currency outside, whole minor units inside guards. Never a float."""

from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec
from babel.numbers import get_currency_precision, list_currencies

_LARGEST = Decimal("1e12")
_USUAL = 40


@lru_cache(maxsize=1)
def _currencies() -> frozenset[str]:
    return frozenset(list_currencies())


class Money(msgspec.Struct, frozen=True):
    """`value` is plain decimal text with the currency's own number of decimals, for example "12.50"."""

    value: str
    currency: str

    @property
    def minor(self) -> int:
        return _minor_of(self.value, self.currency)

    @staticmethod
    def of(value: Any, currency: Any) -> "Money":
        """From a marketplace's amount (text, int or Decimal). Raises ValueError for anything inexact or odd."""
        if isinstance(value, float | bool) or not isinstance(currency, str) or currency not in _currencies():
            raise ValueError("not an exact amount with an ISO currency")
        text = str(value).strip()
        return _exact(text, currency) if len(text) <= _USUAL else from_minor(_minor(text, currency), currency)

    @staticmethod
    def parse(text: str) -> "Money":
        """Configuration's form: "15.00 USD"."""
        value, _, currency = text.strip().partition(" ")
        return Money.of(value, currency.strip())


# One decision reads the same few amounts many times over: each is worked out once. Overlong text is not kept.
@lru_cache(maxsize=4096)
def _exact(text: str, currency: str) -> Money:
    return from_minor(_minor(text, currency), currency)


@lru_cache(maxsize=4096)
def _minor_of(value: str, currency: str) -> int:
    return int(Decimal(value).scaleb(get_currency_precision(currency)))


def _minor(text: str, currency: str) -> int:
    if not text.replace(".", "", 1).isascii() or not text.replace(".", "", 1).isdigit():
        raise ValueError("not a plain decimal amount")
    try:
        scaled = Decimal(text).scaleb(get_currency_precision(currency))
    except InvalidOperation as fault:
        raise ValueError("not a decimal amount") from fault
    if scaled != scaled.to_integral_value() or scaled > _LARGEST:
        raise ValueError("more decimals than the currency has, or too large")
    return int(scaled)


@lru_cache(maxsize=4096)
def from_minor(minor: int, currency: str) -> Money:
    precision = get_currency_precision(currency)
    return Money(f"{Decimal(minor).scaleb(-precision):.{precision}f}", currency)


def money_in(data: dict[str, Any], name: str) -> Money | None:
    """The money under `name` of a fact's data, where it is there and sound."""
    told = data.get(name)
    if not isinstance(told, dict):
        return None
    value, currency = told.get("value"), told.get("currency")
    if isinstance(value, str) and isinstance(currency, str) and len(value) + len(currency) <= _USUAL:
        return _told(value, currency)
    return _sound(value, currency)


def _sound(value: Any, currency: Any) -> Money | None:
    try:
        return Money.of(value, currency)
    except ValueError:
        return None


_told = lru_cache(maxsize=4096)(_sound)
