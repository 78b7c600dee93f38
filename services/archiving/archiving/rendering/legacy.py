"""Differences of Python's codecs from the Encoding Standard, which clients follow.

See https://encoding.spec.whatwg.org. Most are bytes that a codec of Python's cannot decode: handlers of
errors do.
"""

import codecs
import re
from typing import Final

_MARK: Final = "\N{REPLACEMENT CHARACTER}"

_BIG5: Final = (
    {
        int(code, 16): char
        for code, char in re.findall(
            "([0-9A-F]{4})(.)",
            "8E69箸8E6F簆8E7E糎8EAB緒8EB4縝8ECD者8ED0耨8F57菁8F69蒨8F6E萏8FCB覦8FCC覩8FFE起906D都907A銹90DC靜90F1響"
            "91BF鼖9244蔃92AF兙92B0兛92B1兝92B2兞92C8鍮92D1瑹9447浧94CA禛95D9邗9644靝96ED瀞96FC嬨9B76爁9B78矗9B7B纇"
            "9BC6駖9BDE釔9BEC惞9BF6澶9C42輶9C53侻9C62營9C68鄄9C6B鷰9C77菏9CBC尐9CBD秣9CD0婧9D57輋9D5A筑9DC4拐9EA9恢"
            "9EEF痹9EFD汊9F60鬮9F66鼗9FCB僭9FD8弌A063蠏A077拎A0D5瑨A0DF煢A0E4牐A3E0␡A3E1€C6CF廴C6D3无C6D5癶C6D7隶"
            "C6DE〃C6DF仝FA5F倩FA66偽FABD包FAC5卄FAD5卿FB48嘅FBB8婷FBF3幵FBF9廐FC4F彘FC6C悤FCB9撐FCE2晴FCF1杞FDB7沜"
            "FDB8渝FDBB港FDF1煮FE52猪FE6F瑜FEAA瓩FEDD砉",
        )
    }
    | {0xA3C0 + number: chr(0x2400 + number) for number in range(32)}
    | dict(
        zip(
            [*range(0x877A, 0x877F), *range(0x87A1, 0x87E0)],
            "㡵𡵓𣚞𦀡㻬𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏"
            "䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋",
            strict=True,
        )
    )
)
"""Hong Kong's characters that Python's codec lacks."""

INSTEAD: Final = {
    "koi8-u": str.maketrans("╝╬", "ўЎ"),
    "big5": str.maketrans("•､‾\u223c♁☉¥¢£", "‧﹑¯\uff5e⊕⊙￥￠￡"),
    "euc-jp": str.maketrans("〜‖\u2212¢£¬", "\uff5e∥\uff0d￠￡￢"),
    "shift_jis": str.maketrans("\uf8f0\uf8f1\uf8f2\uf8f3", _MARK * 4),
    "gb18030": str.maketrans(
        "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796\ue7c7\ue81e\ue826\ue82b\ue82c\ue832"
        "\ue843\ue854\ue864",
        "\u3000︐︒︑︓︔︕︖︗︘︙ḿ龴龵龶龷龸龹龺龻",
    ),
}
"""Characters that the standard has in place of those that Python decodes to, by the standard's name."""
INSTEAD["x-user-defined"] = {byte: 0xF700 + byte for byte in range(0x80, 0x100)}
INSTEAD["gbk"] = INSTEAD["gb18030"]
INSTEAD["iso-2022-jp"] = INSTEAD["euc-jp"]


def _decode_control(error: UnicodeError) -> tuple[str, int]:
    """Windows' pages have controls (U+0080 to U+009F) where they have nothing else."""
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    return chr(byte) if byte < 0xA0 else _MARK, error.start + 1


def _decode_hebrew(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return ("\u05ba", error.start + 1) if error.object[error.start] == 0xCA else _decode_control(error)


def _decode_japanese(error: UnicodeError) -> tuple[str, int]:
    """Windows' additions to JIS X 0208, in EUC-JP and ISO-2022-JP: as in its own Shift_JIS."""
    assert isinstance(error, UnicodeDecodeError)
    pair = [byte & 0x7F for byte in error.object[error.start : error.start + 2]]
    if len(pair) == 2 and all(0x21 <= byte <= 0x7E for byte in pair):
        row, cell = pair[0] - 0x21, pair[1] - 0x21
        lead, trail = divmod(row * 94 + cell, 188)
        lead += 0x81 if lead < 0x1F else 0xC1
        trail += 0x40 if trail < 0x3F else 0x41
        text = bytes((lead, trail)).decode("cp932", "replace")
        if len(text) == 1:
            return text, error.start + 2
    return _MARK, error.start + 1


def _decode_big5(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    char = _BIG5.get(int.from_bytes(error.object[error.start : error.start + 2]))
    return (_MARK, error.start + 1) if char is None else (char, error.start + 2)


def _decode_gb(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "€" if error.object[error.start] == 0x80 else _MARK, error.start + 1


for _name, _handler in (
    ("lcs-control", _decode_control),
    ("lcs-hebrew", _decode_hebrew),
    ("lcs-japanese", _decode_japanese),
    ("lcs-big5", _decode_big5),
    ("lcs-gb", _decode_gb),
):
    codecs.register_error(_name, _handler)
