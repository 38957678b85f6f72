"""CR-DH-04: the console takes a return address in English only, with district and street, not all in pinyin. Pure.

Source: DHgate's change of 2024-03-13 (reference 4.4). The words below tell whether a part is named; they are our reading.
"""

import re

_STREET = re.compile(
    r"\b(road|rd|street|st|avenue|ave|lane|alley|boulevard|blvd|drive|dr|way|highway|hwy|square)\b\.?", re.I
)
_DISTRICT = re.compile(r"\b(district|dist|county|town|township|new area|borough)\b\.?", re.I)
_PINYIN = re.compile(r"\b(lu|jie|dadao|xiang|nong|qu|xian|zhen|shi|sheng|hao|lou|dasha)\b", re.I)
_LATIN = re.compile(r"[A-Za-z0-9\s.,;:#&'()/\-+]*")
_PINYIN_HINT = "; write Road, Street, District in English instead of pinyin"


def fault(address: str) -> str | None:
    """Why the console would refuse this return address; None when it would not."""
    if not address.strip():
        return "the return address is empty"
    if not _LATIN.fullmatch(address):
        return "the return address must be written in English letters"
    missing = [name for name, words in (("district", _DISTRICT), ("street", _STREET)) if not words.search(address)]
    if not missing:
        return None
    hint = _PINYIN_HINT if _PINYIN.search(address) else ""
    return f"the return address names no {' and no '.join(missing)}{hint}"
