"""Finds telephone numbers, e-mail addresses, links and bank numbers in normalised text, also when they are disguised. Pure."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from linkify_it import LinkifyIt  # type: ignore[import-untyped]

from services.notifier.normalise import normalise
from services.notifier.scan import Index, possible
from services.notifier.words import ENDS, MAIL_HOSTS, any_of, number_words

Span = tuple[int, int]
REGIONS = ("CN", "US", "RU", "GB", "DE", "FR", "ES", "IT", "BR", "KR", "PL")
"""Countries whose national form of a number is recognised; international forms always are."""
_LONGER_THAN_NATIONAL = 12
"""Digits: more than a number has without its country."""
_SHORTEST_NATIONAL = 9
"""Digits: fewer than a number has with its area."""
_WITH_ZERO = ("JP", "TW")
"""Also these, where the number is written with its leading zero."""
MASK = "\x1a"
_MASKED = re.compile(f"{MASK}+")
_SHORTEST_KNOWN = 5
_DIGITS = (7, 15)
_DIGITS_OF_BANK = 13
"""Fewer digits than this in a text: no card number."""

_TLD = r"(?:com|net|org|cn|ru|io|me|info|shop|store|top|xyz|site|online|club|vip|biz|co|cc|link|app|uk|de|fr|es|eu|ly)"
_DATE = re.compile(
    r"(?<!\d)20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)|(?<!\d)(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?!\d)|(?<!\d)\d{1,2}[./](?:0?[1-9]|1[0-2])[./](?:19|20)\d\d(?!\d)|(?<!\d)\d{1,2}:\d{2}(?::\d{2})?(?!\d)"
    r"|(?<!\d)(?:19|20)\d\d\s?[-/]\s?(?:19|20)\d\d(?!\d)"
)
_AMOUNT = re.compile(
    r"(?:[$€£¥₽]|us\$|usd|eur|gbp|cny|rub|rmb)\s?\d{1,3}(?:[,\s]?\d{3})*(?:[.,]\d{1,2})?(?!\d)|(?<![\d+])\d{1,3}(?:[,\s]?\d{3})*[.,]\d{2}\s?(?:[$€£¥₽]|usd|eur|gbp|cny|rub|rmb|元)"
)
_RUN = re.compile(
    r"(?<![\da-z])\+?\(?\d(?:(?:[\s().\-/_·•*~|]|,(?!\s)){0,3}\d){6,17}(?![\da-z])|(?<!\d)\d(?:[,;]\s?\d(?!\d)){6,17}"
)
_MODEL = re.compile(r"(?<![a-z])(?!tel|mob)[a-z]{1,3}[-/]$")
_HAN_RUN = re.compile(
    r"[零〇一二三四五六七八九幺两\d](?:[\s\-,.、]{0,2}[零〇一二三四五六七八九幺两壹贰叁肆伍陆柒捌玖\d]){6,}"
)
_NO_DIGITS = bytes(code for code in range(256) if not chr(code).isdecimal())
_HAN_DIGIT = re.compile(r"[零〇一二三四五六七八九幺两]")
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST_NUMBER_WORDS = 3
_KANA_ZERO = ("ゼロ", "レイ", "マル")
_BRACKETED = r"\s?[\[({{<]\s*(?:{})\s*[\])}}>]\s?"
_RULED = r"\s?[\-_~*|/]\s?(?:{})\s?[\-_~*|/]\s?"
_MAYBE_LINK = re.compile(r"[.][a-z\u0080-\u2fff]|//|\d\.\d+\.\d+\.\d|www")
_DOT_FIRST = re.compile(r"^\.")
_MAYBE_URL = re.compile(r"/\s?/|www")
_SURE_TLD = r"(?:com|net|org|cn|ru|io|shop|store|top|xyz|site|club|vip|biz|eu)"
_MORE_TLDS = """
    app berlin boutique click club dev fashion hamburg koeln life link live london market moscow nyc online page paris shopping
    site space store tech tokyo top vip website wien world xyz онлайн рус рф сайт москва
"""
"""Those the library does not know by itself."""
_DISGUISED = re.compile(
    r"(?<![^\W_])[a-z0-9][a-z0-9\-]{2,60}"
    rf"(?:[*•·]{_SURE_TLD}\b|\.c0m\b|(?:,|\.\s)(?:com|net|org)(?=\s*(?:$|[/.!?\n])))"
    rf"|\bwww\s+[a-z0-9][a-z0-9\-]+\s+{_SURE_TLD}\b|\bwww[a-z0-9\-]{{4,}}(?:com|net|org|ru|de)\b"
    r"|(?<!\w)(?:\w\s){3,40}\.\s?c\s?o\s?m\b"
    r"|(?<!\w)(?:t|wa)\s?\.\s?me\s?/|\bbit\s?[.\-]?\s?ly\b|\btinyurl\b"
    r"|([¥$€])[a-z0-9]{9,13}\1"
)
"""An address, though not written as one; the last is the password that opens a page in a marketplace's app."""
_NO_HOST = re.compile(r"[\u3040-\u9fff]|:(?!/)")
"""What begins or ends an address though no space is there."""
_URL = re.compile(r"(?:h\s?t\s?t\s?p\s?s?|h[x*]{2}ps?)\s?:\s?/\s?/\s?[^\s]+|\bwww\s?\.\s?[^\s]+")
_IP = re.compile(r"//\[?[0-9a-f:.]+\]?")
_BANK = re.compile(r"(?<![\da-z])(?<!\d[\s\-])\d(?:[\s\-]?\d){12,18}(?![\da-z]|[\s\-]\d)")
_MAYBE_IBAN = re.compile(r"[a-z]{2}\d{2}")
_IBAN = re.compile(r"(?<![\da-z])[a-z]{2}\d{2}(?:\s?[a-z0-9]{4}){2,7}(?:\s?[a-z0-9]{1,4})?(?![\da-z])")


class Spoken(NamedTuple):
    """The patterns that need the words of all languages: how signs and digits are said."""

    mails: tuple[re.Pattern[str], ...]
    mail_marks: tuple[re.Pattern[str], ...]
    """One of them is in every text with an address."""
    maybe_dot: re.Pattern[str]
    maybe_dot_word: re.Pattern[str]
    bare_dot: re.Pattern[str]
    number: re.Pattern[str]
    joint: re.Pattern[str]
    phone: re.Pattern[str]
    id: re.Pattern[str]
    lot: re.Pattern[str]


@lru_cache(maxsize=1)
def spoken() -> Spoken:
    at, dot = any_of("at"), any_of("dot")
    at_sign = rf"(?:\s?@\s?|{_BRACKETED.format(f'at|a|艾特|{at}')}|\s*{at}\s*)"
    dot_sign = rf"(?:\s?\.\s?|{_BRACKETED.format(f'点|{dot}')}|\s+{dot}\s+|\s?点\s?|\s*ドット\s*)"
    dot_word = rf"[\[({{<]\s*(?:点|\.|{dot})|{dot}|点"
    at_host = rf"\sat\s+(?:{MAIL_HOSTS}|\S{{1,61}}(?:\s+dot\s|\s?[\[(]dot))"
    mails = (
        rf"[^\W_][\w.+\-]{{0,60}}{at_sign}[a-z0-9][\w\-]{{0,60}}(?:{dot_sign}[\w\-]{{1,60}}){{0,3}}{dot_sign}[a-z]{{2,}}",
        r"[a-z0-9][\w.+\-]{0,60}\s+at\s+[a-z0-9][\w\-]{0,60}(?:\s+dot\s+|\s?[\[(]dot[\])]\s?)[a-z]{2,}",
        rf"[a-z0-9][\w.+\-]{{0,60}}{at_sign}{MAIL_HOSTS}{ENDS}",
        rf"[a-z0-9][\w.+\-]{{0,60}}\s+at\s+{MAIL_HOSTS}{dot_sign}[a-z]{{2,}}",
        r"(?<!\w)(?:\w\s){2,40}@\s(?:\w\s){2,40}\.\s(?:\w\s?){2,6}",
        rf"[^\W_][\w.+]{{0,60}}{_RULED.format(f'at|{at}')}\w{{1,60}}{_RULED.format(f'dot|{dot}')}[a-z]{{2,}}",
    )
    return Spoken(
        tuple(map(re.compile, mails)),
        tuple(map(re.compile, ("@", at, r"[\[({<\-_~*|/]\s*at?\s*[\])}>\-_~*|/]", at_host))),
        re.compile(rf"\.(?<=\s\.)|{dot_word}"),
        re.compile(dot_word),
        re.compile(
            rf"[a-z0-9][a-z0-9\-]{{1,60}}(?:(?:\s\.\s?|\s?[\[({{<]\s*(?:dot|点|\.)\s*[\])}}>]\s?|\s+dot\s+|\s?点\s?){_TLD}"
            rf"|{_BRACKETED.format(dot)}{_TLD}|\s?ドット\s?jp"
            rf"|(?:{_RULED.format(dot)}|\s+{dot}\s+|\s?ドット\s?){_SURE_TLD})\b(?:/\S*)?"
            rf"|(?<![^\W_])[^\W_][\w\-]{{1,60}}\s+{any_of('dotted')}"
        ),
        re.compile(
            rf"(?:(?P<hundred>{any_of('hundred')})|(?P<ten>{any_of('ten')})|(?P<unit>{any_of('unit')})|(?P<digit>\+?\d))"
        ),
        re.compile(rf"[\s,.\-/()]*(?:{any_of('joint')}[\s,.:]*)*"),
        re.compile(rf"{any_of('phone_word')}[^\d.!?\n]{{0,20}}$"),
        re.compile(rf"{any_of('id_word')}[^\d.!?\n]{{0,20}}$"),
        re.compile(rf"{any_of('lot_word')}\W{{0,3}}(?:\w{{1,7}}\W{{1,3}}){{0,3}}$"),
    )


class Maybe(NamedTuple):
    """What may be found in a text, as far as one scan of it can tell."""

    date: bool
    amount: bool
    mails: tuple[re.Pattern[str], ...]
    mail_marks: tuple[re.Pattern[str], ...]
    spoken: bool
    han_digit: bool
    link: bool
    url: bool
    dot: bool
    disguised: bool
    iban: bool

    def detectors(self, digits: int) -> Iterator[str]:
        """Those that may find anything; `digits`: how many there are in the masked text."""
        if self.mails or self.spoken or self.han_digit or digits >= _DIGITS[0]:
            yield "contact"
        if self.link or self.url or self.dot or self.disguised:
            yield "link"
        if self.iban or digits >= _DIGITS_OF_BANK:
            yield "off_platform_payment"


class Signs:
    """What a text must hold for anything here to be found in it."""

    def __init__(self, index: Index) -> None:
        self._amount, self._han_digit = index.add(_AMOUNT, anywhere=True), index.add(_HAN_DIGIT)
        self._mails, self._marks = ([(p, index.add(p)) for p in each] for each in spoken()[:2])
        self._date, self._link, self._iban = map(index.gate, (_DATE, _MAYBE_LINK, _MAYBE_IBAN))
        self._spoken, self._dot_first = index.gate(_number_word()), index.gate(_DOT_FIRST)
        self._url, self._dot = index.add(_MAYBE_URL), index.add(spoken().maybe_dot_word)
        self._disguised = index.add(_DISGUISED)
        self.maybe = lru_cache(maxsize=1024)(self._maybe)

    def _maybe(self, held: int) -> Maybe:
        """`held` by the whole text; by the masked text it is the same where no letter stands beside what is masked."""
        return Maybe(
            bool(self._date & held),
            possible(self._amount, held),
            tuple(pattern for pattern, demand in self._mails if possible(demand, held)),
            tuple(pattern for pattern, demand in self._marks if possible(demand, held)),
            bool(self._spoken & held),
            possible(self._han_digit, held),
            bool(self._link & held),
            possible(self._url, held),
            bool(self._dot_first & held) or possible(self._dot, held),
            possible(self._disguised, held),
            bool(self._iban & held),
        )


def _number_word() -> re.Pattern[str]:
    words = "|".join(sorted(number_words()))
    return re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])|\+|{'|'.join(_KANA_ZERO)}")


def cut(masked: str) -> bool:
    """A letter stands beside something masked: words may begin and end there that do not in the whole text."""
    beside = (
        masked[max(0, m.start() - 1) : m.start()] + masked[m.end() : m.end() + 1] for m in _MASKED.finditer(masked)
    )
    return any(_WORD.search(two) for two in beside)


def without(text: str, known: Iterable[str]) -> str:
    """The text with the case's own numbers blotted out, every place kept."""
    for value in sorted({k.strip().lower() for k in known}, key=len, reverse=True):
        if len(value) >= _SHORTEST_KNOWN and value in text and any(c.isdigit() for c in value):
            text = _blotted(text, value)
    return text


def mask(text: str, maybe: Maybe) -> str:
    """The text with dates and amounts blotted out, every place kept."""
    if maybe.date:
        text = _DATE.sub(_blot, text)
    return _AMOUNT.sub(_blot, text) if maybe.amount else text


def digits_in(text: str) -> int:
    """Of normalised text: all digits are ASCII."""
    return len(text.encode("ascii", "ignore").translate(None, _NO_DIGITS))


def _blot(match: re.Match[str]) -> str:
    return MASK * len(match.group())


def _blotted(text: str, value: str) -> str:
    """Whole occurrences only: a longer number around it is no number of the case."""
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        alone = not (at and (text[at - 1].isdigit() or text[at - 1] == "+")) and not text[end : end + 1].isdigit()
        text = text[:at] + MASK * len(value) + text[end:] if alone else text
        at = text.find(value, end)
    return text


def mails(text: str, maybe: Maybe) -> Iterator[Span]:
    for pattern in maybe.mails if any(mark.search(text) for mark in maybe.mail_marks) else ():
        for match in pattern.finditer(text):
            yield match.span()


def phones(
    text: str, digits: int, maybe: Maybe, regions: tuple[str, ...] = REGIONS, *, trusting: bool = False
) -> Iterator[Span]:
    """`digits`: how many there are in the text. `trusting`: the case is not known, so what is called an order or tracking
    number is taken for one."""
    for match in _RUN.finditer(text) if digits >= _DIGITS[0] else ():
        trusted = trusting or not _SHORTEST_NATIONAL <= digits_in(match.group()) < _LONGER_THAN_NATIONAL
        if _is_phone(match, text, regions) and not (trusted and _is_called_id(match, text)):
            yield match.span()
    if maybe.spoken and ("+" in text or _has_number_words(text)):
        yield from _said(text)
    if maybe.han_digit:
        for match in _HAN_RUN.finditer(text):
            if _HAN_DIGIT.search(match.group()):
                yield match.span()


def _is_phone(match: re.Match[str], text: str, regions: tuple[str, ...]) -> bool:
    found = match.group()
    digits = "".join(c for c in found if c.isdigit())
    if not _DIGITS[0] <= len(digits) <= _DIGITS[1] or _MODEL.search(text[max(0, match.start() - 5) : match.start()]):
        return False
    before = text[max(0, match.start() - 40) : match.start()]
    if found.startswith("+"):
        return True
    if spoken().lot.search(before):
        return False
    if spoken().phone.search(before):
        return True
    if len(digits) < _SHORTEST_NATIONAL and found.isdigit():
        return False
    if digits.startswith("00") and _valid("+" + digits[2:], None):
        return True
    return any(_valid(digits, region) for region in (*regions, *(_WITH_ZERO if digits.startswith("0") else ())))


def _is_called_id(match: re.Match[str], text: str) -> bool:
    """Nearer to a word like `order` or `tracking` than to one like `telephone`."""
    before = text[max(0, match.start() - 40) : match.start()]
    return not match.group().startswith("+") and spoken().id.search(before) is not None


def _has_number_words(text: str) -> bool:
    known = number_words()
    said = sum(word in known for word in _WORD.findall(text))
    return said >= _FEWEST_NUMBER_WORDS or any(zero in text for zero in _KANA_ZERO)


def _said(text: str) -> Iterator[Span]:
    """Numbers said in words, in any language and with digits between: as many digits as a telephone has."""
    start = end = size = words = 0
    for match in [*spoken().number.finditer(text), None]:
        if match is not None and size and spoken().joint.fullmatch(text, end, match.start()):
            words += (1 + 2 * (text[start] == "+")) * (_WORD.search(text, end, match.start()) is not None)
            end = match.end()
        else:
            if size >= _DIGITS[0] and words >= _FEWEST_NUMBER_WORDS:
                yield (start, end)
            size = words = 0
            start, end = match.span() if match is not None else (0, 0)
        if match is not None:
            size += {"hundred": 3, "ten": 2}.get(str(match.lastgroup), 1)
            words += match.lastgroup != "digit"


@lru_cache(maxsize=4096)
def _valid(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


@lru_cache(maxsize=1)
def _linkify() -> LinkifyIt:
    found = LinkifyIt(options={"fuzzy_link": True, "fuzzy_email": False, "fuzzy_ip": True})
    found.tlds([normalise(one).folded for one in _MORE_TLDS.split()], keep_old=True)
    return found


def links(text: str, allow_hosts: tuple[str, ...], maybe: Maybe) -> Iterator[Span]:
    """Web addresses that are not https to an allowed host (or its subdomains). One without a scheme is read as https."""
    taken: list[Span] = []
    for match in (_linkify().match(_NO_HOST.sub(" ", text)) or []) if maybe.link else []:
        if match.schema == "mailto:":
            continue
        taken.append((match.index, match.last_index))
        plain_http = match.schema not in ("", "https:")
        if plain_http or not _allowed(_host(match.url), allow_hosts):
            yield (match.index, match.last_index)
    url = maybe.url and _MAYBE_URL.search(text)
    dot = maybe.dot and spoken().maybe_dot.search(text)
    for pattern, wanted in ((_URL, url), (spoken().bare_dot, dot), (_IP, url), (_DISGUISED, maybe.disguised)):
        for found in pattern.finditer(text) if wanted else ():
            if not any(start <= found.start() < end or found.start() <= start < found.end() for start, end in taken):
                yield found.span()


def _host(url: str) -> str:
    rest = url.partition("//")[2] or url
    authority = rest.replace("\\", "/").split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]
    return authority.rpartition("@")[2].partition(":")[0].strip(".")


def _allowed(host: str, allow_hosts: tuple[str, ...]) -> bool:
    return any(host == allowed or host.endswith("." + allowed) for allowed in allow_hosts)


def bank_numbers(text: str, digits: int, maybe: Maybe, *, trusting: bool = False) -> Iterator[Span]:
    """Card numbers (Luhn) and IBANs (mod 97). `digits`, `trusting`: as in `phones`."""
    for match in _BANK.finditer(text) if digits >= _DIGITS_OF_BANK else ():
        if _luhn("".join(c for c in match.group() if c.isdigit())) and not (trusting and _is_called_id(match, text)):
            yield match.span()
    for match in _IBAN.finditer(text) if maybe.iban else ():
        if _iban("".join(match.group().split())):
            yield match.span()


def _luhn(digits: str) -> bool:
    total = sum(int(d) if n % 2 == 0 else sum(divmod(2 * int(d), 10)) for n, d in enumerate(reversed(digits)))
    return total % 10 == 0


def _iban(text: str) -> bool:
    turned = text[4:] + text[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1 if turned.isalnum() and turned.isascii() else False
