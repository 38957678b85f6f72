"""The seller-fulfilled returns report, flat file or XML, into one record per return. Pure. Reference A1.4.

Columns and elements get one spelling (the XML's). Only those known are taken over: a report may also name the buyer.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from shared.marketplaces.amazon.dates import day_of

Line = dict[str, str]
FIELDS = frozenset(
    """order_id order_date return_request_date return_request_status amazon_rma_id merchant_rma_id label_type label_cost
    currency_code return_carrier tracking_id label_to_be_paid_by a_to_z_claim is_prime asin merchant_sku item_name
    return_quantity return_reason_code in_policy return_type resolution invoice_number return_delivery_date order_amount
    order_quantity safet_action_reason safet_claim_id safet_claim_state safet_claim_creation_time
    safet_claim_reimbursement_amount refund_amount category order_item_id""".split()  # noqa: SIM905 - a table
)
ALIASES = {
    "seller_rma_id": "merchant_rma_id",
    "return_reason": "return_reason_code",
    "refunded_amount": "refund_amount",
    "currency": "currency_code",
    "seller_sku": "merchant_sku",
    "sku": "merchant_sku",
}
NEEDED = frozenset({"order_id", "return_request_status"})
DEEPEST = 20


class NotAReport(Exception):
    """The document is no returns report; says why, never what it holds."""


@dataclass(slots=True)
class Report:
    """`returns`: identity -> the lines of that return, by their row keys. `left_out`: rows that name no order."""

    returns: dict[str, list[Line]] = field(default_factory=dict)
    left_out: int = 0


def read_report(document: bytes, charset: str | None = None) -> Report:
    """`charset`: what the answer's header said. Raises NotAReport."""
    lines = (
        _xml(document) if document.lstrip(codecs.BOM_UTF8 + b" \t\r\n").startswith(b"<") else _flat(document, charset)
    )
    report = Report()
    rows: dict[str, dict[str, Line]] = {}
    for line in lines:
        if not line.get("order_id"):
            report.left_out += 1
            continue
        rows.setdefault(identity(line), {})[row_key(line)] = line
    report.returns = {id_: [by_key[key] for key in sorted(by_key)] for id_, by_key in rows.items()}
    return report


def identity(line: Mapping[str, str]) -> str:
    """Amazon's RMA id, else the merchant's, else order id and request date."""
    told = line.get("return_request_date", "")
    dated = f"{line['order_id']}:{day_of(told) or told}".rstrip(":")
    return line.get("amazon_rma_id") or line.get("merchant_rma_id") or dated


def row_key(line: Mapping[str, str]) -> str:
    """Within its return: the order's item, else its SKU (there is no key of a line, reference A1.4)."""
    return line.get("order_item_id") or line.get("merchant_sku") or line.get("asin") or ""


def _name(label: str) -> str:
    folded = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    return ALIASES.get(folded, folded)


def _text(document: bytes, charset: str | None) -> str:
    """By its byte order mark, else UTF-8 if it is, else as the header says, else Windows Latin: none of it is promised."""
    if document.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return document.decode("utf-16", "replace")
    for name in ("utf-8-sig", charset or "cp1252", "cp1252"):
        try:
            return document.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return document.decode("latin-1")


def _flat(document: bytes, charset: str | None) -> Iterator[Line]:
    """Tab-separated; rows may end early, and quotation marks are part of the text."""
    text = _text(document, charset).replace("\r\n", "\n").replace("\r", "\n")  # other line ends are part of the text
    head, *rows = [row for row in text.split("\n") if row.strip()] or [""]
    names = [_name(label) for label in head.split("\t")]
    if not set(names) >= NEEDED:
        raise NotAReport("the first line does not name the columns of a returns report")
    for row in rows:
        yield _line(zip(names, row.split("\t"), strict=False))


def _line(pairs: Any) -> Line:
    return {name: clean for name, text in pairs if name in FIELDS and (clean := text.replace("\0", "").strip())}


@dataclass(slots=True)
class _Element:
    name: str
    text: list[str] = field(default_factory=list)
    children: list["_Element"] = field(default_factory=list)


def _xml(document: bytes) -> Iterator[Line]:
    root = _tree(document)
    returns = list(_named(root, "return_details"))
    if root.name != "amazonenvelope" and not returns:
        raise NotAReport("an XML document without returns")
    for one in returns:
        parts = [one, *(child for child in one.children if child.name == "label_details")]
        head = {**_leaves(parts)}
        for item in [child for child in one.children if child.name == "item_details"] or [_Element("")]:
            yield {**head, **_leaves([item])}


def _leaves(elements: list[_Element]) -> Line:
    return _line((leaf.name, "".join(leaf.text)) for one in elements for leaf in one.children if not leaf.children)


def _named(element: _Element, name: str) -> Iterator[_Element]:
    for child in element.children:
        if child.name == name:
            yield child
        yield from _named(child, name)


def _tree(document: bytes) -> _Element:
    """Without a document type: no entities, no addresses."""
    top = _Element("")
    stack = [top]

    def start(tag: str, _: Any) -> None:
        if len(stack) > DEEPEST:
            raise NotAReport("an XML document nested too deep")
        element = _Element(_name(tag.rpartition(":")[2]))
        stack[-1].children.append(element)
        stack.append(element)

    def doctype(*_: Any) -> None:
        raise NotAReport("an XML document with a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = lambda text: stack[-1].text.append(text)  # noqa: PLW0108 - the top of the stack changes
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as fault:
        raise NotAReport(f"no XML ({type(fault).__name__})") from None
    return top.children[0]
