"""Text as the rules read it: what only looks different is made the same, and every place leads back to the original.

One character in may give several or none out; `at` maps each place of the folded text to its place in the original.
"""

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

_CYRILLIC_GREEK = (
    "аеёорсухкмнтвіїгјѕԁԛԝһѵӏьαβεικνορτυχγωημ",
    "aeeopcyxkmhtbiirjsdqwhvlbabeikvoptuxywnu",
)
_SMALL_CAPITALS = ("ᴀʙᴄᴅᴇғɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢı", "abcdefghijklmnoprstuvwyzi")
_TRADITIONAL = (
    "評價論負險請謝煩給個們親對嗎紅補償賠優禮贈費現發單訂購買賣銷訴爭議紛糾關閉確認貨點擊簽電話號碼機聯絡係郵維掃轉賬帳匯銀線過開繞樣應實報後責騙無賴貪滾腦殘恥說謊詐媽證護駕驗額滿顆級為變調隱復賞圖寫讓還這"
    "條與從來時間內處東車門問題鄰務員業啟網頁連結產損壞傷裝廣註經動臉書慶場領劵盡會願幫勞懇託資庫檢測閱讀紙飛釘眾專據權斷選擇換貼遞運達遲審錯誤壓頭寶財風馬長離難雙隻顯顧預體髒鏈錢隨際靈響項順須類館倉備兩別"
    "剛創區協嘗園圓圍夠奧學將導層屬幣幾廠張強彈徑惡愛態慣戰戶掛採擔擾敗數於暫極構檔歡歲殺毀氣決沒況減滅熱營狀獎獨獲環當監稅種稱穩窮筆節範簡紀約細終組絕統緊編縮總繳續罵羅義聞聲職聽臨舉舊藥裏裡製複視覺觀訊記"
    "許設訪詢試該詳語誠誰課談諒講讚貝販貴賺質趕軟較載輕輪輸辦進遊違遠適遺邊鄉醫釋針鈕錄鎖陰階雖刪盜債納軌畢齊傳賊憑鬧誹謗恐嚇騷曬貶獻",
    "评价论负险请谢烦给个们亲对吗红补偿赔优礼赠费现发单订购买卖销诉争议纷纠关闭确认货点击签电话号码机联络系邮维扫转账帐汇银线过开绕样应实报后责骗无赖贪滚脑残耻说谎诈妈证护驾验额满颗级为变调隐复赏图写让还这"
    "条与从来时间内处东车门问题邻务员业启网页连结产损坏伤装广注经动脸书庆场领券尽会愿帮劳恳托资库检测阅读纸飞钉众专据权断选择换贴递运达迟审错误压头宝财风马长离难双只显顾预体脏链钱随际灵响项顺须类馆仓备两别"
    "刚创区协尝园圆围够奥学将导层属币几厂张强弹径恶爱态惯战户挂采担扰败数于暂极构档欢岁杀毁气决没况减灭热营状奖独获环当监税种称稳穷笔节范简纪约细终组绝统紧编缩总缴续骂罗义闻声职听临举旧药里里制复视觉观讯记"
    "许设访询试该详语诚谁课谈谅讲赞贝贩贵赚质赶软较载轻轮输办进游违远适遗边乡医释针钮录锁阴阶虽删盗债纳轨毕齐传贼凭闹诽谤恐吓骚晒贬献",
)
_LONGEST_WORD = 32
_KANA = tuple("".join(chr(n + step) for n in range(0x3041, 0x3097)) for step in (0, 0x60))
_LOOK_ALIKES = str.maketrans(
    {ord(a): b for one in (_CYRILLIC_GREEK, _SMALL_CAPITALS, _TRADITIONAL, _KANA) for a, b in zip(*one, strict=True)}
)
"""Cyrillic and Greek as the Latin letters they look like, traditional signs as simplified ones, hiragana as katakana."""
_SIGNS = {
    "。": ".",
    "｡": ".",
    "․": ".",
    "…": "...",
    "﹫": "@",
    "＠": "@",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "−": "-",
    "’": "'",
    "‘": "'",
    "ʼ": "'",
    "´": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "ł": "l",
}


@dataclass(frozen=True, slots=True)
class Text:
    """`plain` keeps its scripts, in `folded` look-alikes are one letter; both have the same length as `at`."""

    original: str
    plain: str
    folded: str
    at: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """From a stretch of the folded text to [from, to] in the original."""
        if not self.at or start >= end:
            return (0, len(self.original))
        return (self.at[start], self.at[end - 1] + 1)

    def place(self, span: tuple[int, int]) -> tuple[int, int]:
        """From [from, to] in the original to a stretch of the folded text."""
        start, end = bisect_left(self.at, span[0]), bisect_left(self.at, span[1])
        return (start, max(end, start + 1))


def _invisible(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind in ("Cf", "Mn", "Me", "Cs", "Co") or (kind == "Cc" and char not in "\n\t\r") or char in "ㅤᅟᅠ"


@lru_cache(maxsize=8192)
def _plain(char: str) -> str:
    """NFKC, lower case, digits of every script as 0-9, marks and invisible signs gone."""
    if char.isascii():
        return "" if _invisible(char) else char.lower()
    out = []
    for part in unicodedata.normalize("NFKC", char).lower():
        if part in _SIGNS:
            out.append(_SIGNS[part])
        elif part.isascii():
            out.append(part)
        elif (digit := unicodedata.decimal(part, None)) is not None:
            out.append(str(digit))
        elif not _invisible(part):
            out.append(_base(part))
    return "".join(out)


def _base(char: str) -> str:
    """A Latin letter without its accents; other letters as they are."""
    if char.isspace():
        return " "
    first = unicodedata.normalize("NFD", char)[0]
    return first if first.isascii() else char


class _Piece(NamedTuple):
    plain: str
    folded: str
    even: bool
    """Each character is spelled as one."""


def _spelled(original: str) -> _Piece:
    """Characters are spelled each by itself."""
    parts = [_plain(char) for char in original]
    plain = "".join(parts)
    return _Piece(plain, "".join(map(_folded, parts)), all(len(part) == 1 for part in parts))


_remembered = lru_cache(maxsize=4096)(_spelled)
"""What is between spaces comes again and again in other texts."""


def _piece(original: str) -> _Piece:
    return _remembered(original) if len(original) <= _LONGEST_WORD else _spelled(original)


@lru_cache(maxsize=8192)
def _folded(plain: str) -> str:
    return plain.translate(_LOOK_ALIKES)


def normalise(original: str) -> Text:
    if original.isascii() and original.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        plain = original.lower()
        return Text(original, plain, plain, range(len(original)))
    plains, foldeds, evens = zip(*map(_piece, original.split(" ")), strict=True)
    at: Sequence[int] = range(len(original))
    if not all(evens):
        at = tuple([place for place, char in enumerate(original) for _ in _plain(char)])
    return Text(original, " ".join(plains), " ".join(foldeds), at)


def folded(pattern: str) -> str:
    """A regular expression for folded text: its letters as the text's are, what is ASCII as it stands."""
    return "".join([char if char.isascii() else _plain(char).translate(_LOOK_ALIKES) for char in pattern])
