"""Character sets by the names that clients use."""

import hashlib
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from webencodings.labels import LABELS

from archiving.rendering import render
from archiving.rendering.charsets import decode, find

RUSSIAN, UKRAINIAN, GREEK = "Купи в девять, тихо", "Їжак ґава є", "Αγόρασε στις εννέα"
JAPANESE, CHINESE, TAIWANESE, KOREAN = "九時に買え①カナ", "九点买入", "九點買進", "아홉 시에 사라"
HEBREW, ARABIC, TURKISH, THAI = "קנה בתשע", "اشتر في التاسعة", "Dokuzda al, şimdi ğ", "ซื้อเก้าโมง"
POLISH, GERMAN, BALTIC, NORDIC = (
    "Kup o dziewiątej, źdźbło",
    "Kauf um neun, Grüße",
    "Pirk devintą, ačiū",
    "Þú kaupir",
)
VIETNAMESE, KAZAKH = "Mua lu\u0301c chi\u0301n", "Қазақ"

TEXTS = [
    # What WHATWG names: clients mean Windows' supersets by the old standards' names.
    ("Windows-31J", JAPANESE, "cp932"),
    ("x-sjis", JAPANESE, "cp932"),
    ("Shift_JIS", JAPANESE, "cp932"),
    ("ms932", JAPANESE, "cp932"),
    ("csShiftJIS", JAPANESE, "cp932"),
    ("sjis", JAPANESE, "cp932"),
    ("gb2312", CHINESE + "镕", "gbk"),
    ("gb_2312-80", CHINESE, "gbk"),
    ("csGB2312", CHINESE, "gbk"),
    ("x-gbk", CHINESE, "gbk"),
    ("chinese", CHINESE, "gbk"),
    ("gb18030", CHINESE + "😀", "gb18030"),
    ("ks_c_5601-1987", KOREAN + "똠", "cp949"),
    ("ks_c_5601-1989", KOREAN, "cp949"),
    ("euc-kr", KOREAN + "똠", "cp949"),
    ("windows-949", KOREAN + "똠", "cp949"),
    ("korean", KOREAN, "cp949"),
    ("iso-8859-8-i", HEBREW, "iso8859_8"),
    ("logical", HEBREW, "iso8859_8"),
    ("windows-1255", HEBREW, "cp1255"),
    ("x-cp1251", RUSSIAN, "cp1251"),
    ("windows-1251", UKRAINIAN, "cp1251"),
    ("koi8-r", RUSSIAN, "koi8_r"),
    ("koi8-u", UKRAINIAN, "koi8_u"),
    ("koi8-ru", UKRAINIAN, "koi8_u"),
    ("koi", RUSSIAN, "koi8_r"),
    ("iso-8859-5", RUSSIAN, "iso8859_5"),
    ("ibm866", RUSSIAN, "cp866"),
    ("866", RUSSIAN, "cp866"),
    ("x-mac-cyrillic", UKRAINIAN, "mac_cyrillic"),
    ("x-mac-ukrainian", UKRAINIAN, "mac_cyrillic"),
    ("big5", TAIWANESE, "cp950"),
    ("x-x-big5", TAIWANESE, "cp950"),
    ("big5-hkscs", TAIWANESE + "㗎", "big5hkscs"),
    ("euc-jp", "九時に買え", "euc_jp"),
    ("x-euc-jp", "九時に買え", "euc_jp"),
    ("iso-2022-jp", "九時に買え", "iso2022_jp"),
    ("csISO2022JP", "九時に買え", "iso2022_jp"),
    ("windows-1250", POLISH, "cp1250"),
    ("x-cp1250", POLISH, "cp1250"),
    ("iso-8859-2", POLISH, "iso8859_2"),
    ("l2", POLISH, "iso8859_2"),
    ("windows-1252", GERMAN + "€", "cp1252"),
    ("iso-8859-1", GERMAN + "“€”", "cp1252"),
    ("us-ascii", GERMAN, "cp1252"),
    ("ansi_x3.4-1968", GERMAN, "cp1252"),
    ("latin1", GERMAN, "cp1252"),
    ("iso-8859-15", GERMAN + "€", "iso8859_15"),
    ("iso-8859-9", TURKISH, "cp1254"),
    ("windows-1254", TURKISH, "cp1254"),
    ("windows-1253", GREEK, "cp1253"),
    ("greek", GREEK, "iso8859_7"),
    ("sun_eu_greek", GREEK, "iso8859_7"),
    ("windows-1256", ARABIC, "cp1256"),
    ("asmo-708", ARABIC, "iso8859_6"),
    ("windows-1257", BALTIC, "cp1257"),
    ("iso-8859-13", BALTIC, "iso8859_13"),
    ("windows-1258", VIETNAMESE, "cp1258"),
    ("windows-874", THAI, "cp874"),
    ("tis-620", THAI, "cp874"),
    ("iso-8859-11", THAI, "cp874"),
    ("iso-8859-10", NORDIC, "iso8859_10"),
    ("macintosh", GERMAN, "mac_roman"),
    ("x-mac-roman", GERMAN, "mac_roman"),
    ("utf-16", GERMAN, "utf_16_le"),
    ("unicodefffe", GERMAN, "utf_16_be"),
    ("unicode-1-1-utf-8", RUSSIAN, "utf_8"),
    ("x-user-defined", "a\uf7ff", None),
    # What WHATWG decodes to a mark; who archives wants to read it.
    ("iso-2022-kr", KOREAN, "iso2022_kr"),
    ("hz-gb-2312", CHINESE, "hz"),
    # What others call them.
    ("cp932", JAPANESE, "cp932"),
    ("x-ms-cp932", JAPANESE, "cp932"),
    ("SJIS-win", JAPANESE, "cp932"),
    ("cp50220", "九時に買え", "iso2022_jp"),
    ("x-windows-iso2022jp", "九時に買え", "iso2022_jp"),
    ("eucJP-ms", "九時に買え", "euc_jp"),
    ("cp51932", "九時に買え", "euc_jp"),
    ("ujis", "九時に買え", "euc_jp"),
    ("cp936", CHINESE, "gbk"),
    ("MS936", CHINESE, "gbk"),
    ("EUC-CN", CHINESE, "gbk"),
    ("cp949", KOREAN, "cp949"),
    ("uhc", KOREAN, "cp949"),
    ("x-windows-949", KOREAN, "cp949"),
    ("johab", KOREAN, "johab"),
    ("cp950", TAIWANESE, "cp950"),
    ("Big5-ETEN", TAIWANESE, "cp950"),
    ("cp1251", RUSSIAN, "cp1251"),
    ("win-1251", RUSSIAN, "cp1251"),
    ("WIN1251", RUSSIAN, "cp1251"),
    ("ANSI", GERMAN, "cp1252"),
    ("Windows 1252", GERMAN, "cp1252"),
    ("ISO8859_15", GERMAN, "iso8859_15"),
    ("iso 8859-2", POLISH, "iso8859_2"),
    ("28592", POLISH, "iso8859_2"),
    ("20866", RUSSIAN, "koi8_r"),
    ("cp850", GERMAN, "cp850"),
    ("IBM850", GERMAN, "cp850"),
    ("ibm-852", POLISH, "cp852"),
    ("cp437", GERMAN, "cp437"),
    ("DOS-862", HEBREW, "cp862"),
    ("cp1125", UKRAINIAN.replace("ґ", ""), "cp1125"),
    ("KZ-1048", KAZAKH, "kz1048"),
    ("ptcp154", KAZAKH, "ptcp154"),
    ("x-mac-greek", GREEK, "mac_greek"),
    ("x-mac-turkish", TURKISH, "mac_turkish"),
    ("utf-7", GERMAN, "utf_7"),
    ("UNICODE-1-1-UTF-7", RUSSIAN, "utf_7"),
    ("cp65001", RUSSIAN, "utf_8"),
    ("utf8mb4", RUSSIAN, "utf_8"),
    ("utf-32be", RUSSIAN, "utf_32_be"),
    ("ucs-4le", RUSSIAN, "utf_32_le"),
    ("UCS-2", RUSSIAN, "utf_16_le"),
    ("koi8-r (Cyrillic)", RUSSIAN, "koi8_r"),
    ("'utf-8'", RUSSIAN, "utf_8"),
]  # fmt: skip


@pytest.mark.parametrize(("label", "text", "codec"), TEXTS)
def test_a_text_is_read_by_the_name_that_clients_give_its_character_set(
    label: str, text: str, codec: str | None
) -> None:
    content = b"a\xff" if codec is None else text.encode(codec)
    assert decode(content, label) == text
    assert render(f'text/plain; charset="{label}"', content).text == text
    assert find(label.upper()) == find(label)


INDEXES = {
    "ibm866": "06cdf77964082543",
    "iso-8859-10": "1772b0f004b940a8",
    "iso-8859-13": "66b3ed9c16a8ea48",
    "iso-8859-14": "9172aff23265da56",
    "iso-8859-15": "e831534555c1de67",
    "iso-8859-16": "4e803adca1ec29b2",
    "iso-8859-2": "13558c15c9628966",
    "iso-8859-3": "cd7772fe781d94ce",
    "iso-8859-4": "7351897af37664b1",
    "iso-8859-5": "cd2b9d42903a9f17",
    "iso-8859-6": "9cd5720b22849853",
    "iso-8859-7": "f57fe48a7dd12c1a",
    "iso-8859-8": "01bf85ff8fb12b64",
    "iso-8859-8-i": "01bf85ff8fb12b64",
    "koi8-r": "7814ae1770d4b931",
    "koi8-u": "2e6628cda797931f",
    "macintosh": "e83c8b5873b36b22",
    "windows-1250": "eb8493189b6a8850",
    "windows-1251": "79ea01cd11e19a55",
    "windows-1252": "fbc27cbb1a08a84c",
    "windows-1253": "5e5aa6700fa235f2",
    "windows-1254": "6446536c847079b4",
    "windows-1255": "31e7dc79f8530d24",
    "windows-1256": "9f279db880045f3c",
    "windows-1257": "4f1e31ead5ffa8fc",
    "windows-1258": "ffe8bd16ddefd367",
    "windows-874": "1881f093795a3e58",
    "x-mac-cyrillic": "e56117268e8985cf",
    "big5": "e5fe408ed1eb7b9d",  # but for two slashes, A241 and A242
    "euc-kr": "0635eaa9401689b1",
    "gb18030": "e9c01d65f79c7915",
    "gbk": "e9c01d65f79c7915",
    "shift_jis": "be27736f541e8c56",
    "euc-jp": "361e853c98cc6df9",
    "iso-2022-jp": "361e853c98cc6df9",
}
"""SHA-256 of what the standard's index-*.txt hold (May 2026): bytes in hexadecimal, character, in order."""

SINGLE = [bytes([byte]) for byte in range(0x80, 0x100)]
DOUBLE = [bytes(pair) for pair in itertools.product(range(0x81, 0xFF), range(0x40, 0xFF))]
JIS = [pair for pair in DOUBLE if min(pair) >= 0xA1]
PAIRS = {
    "big5": [pair for pair in DOUBLE if pair not in (b"\xa2\x41", b"\xa2\x42")],
    "euc-kr": DOUBLE,
    "gb18030": DOUBLE,
    "gbk": DOUBLE,
    "shift_jis": [pair for pair in DOUBLE if not (0xA0 <= pair[0] <= 0xDF or 0xF0 <= pair[0] <= 0xF9)],
    "euc-jp": JIS,
    "iso-2022-jp": JIS,
}


@pytest.mark.parametrize("name", INDEXES)
def test_each_label_of_the_standard_decodes_as_its_index(name: str) -> None:
    def text_of(code: bytes) -> str:
        if name == "iso-2022-jp":
            code = b"\x1b$B" + bytes(byte & 0x7F for byte in code) + b"\x1b(B"
        return decode(code, name)

    codes = ((code, text_of(code)) for code in PAIRS.get(name, SINGLE))
    said = (code.hex() + text for code, text in codes if name not in PAIRS or "\ufffd" not in text)
    assert hashlib.sha256("".join(said).encode()).hexdigest().startswith(INDEXES[name])


@given(st.sampled_from(sorted(LABELS)), st.binary(max_size=60))
def test_all_labels_of_an_encoding_are_one(label: str, content: bytes) -> None:
    if LABELS[label] == "replacement" and label not in {"iso-2022-kr", "csiso2022kr", "hz-gb-2312"}:
        assert find(label) is None
    else:
        assert find(label) is not None
        if LABELS[label] != "replacement":
            assert find(f" {label.upper()}\t") == find(LABELS[label])
        decode(content, label)


@pytest.mark.parametrize(
    ("content", "label", "text"),
    [
        ("Grüße".encode("utf-8-sig"), "iso-8859-1", "Grüße"),
        ("Grüße".encode("utf-16"), "utf-8", "Grüße"),
        ("Grüße".encode("utf-16-be"), "utf-16be", "Grüße"),
        (b"\xfe\xff" + "Grüße".encode("utf-16-be"), "utf-16le", "Grüße"),
        ("Grüße".encode("utf-32"), "utf-32", "Grüße"),
        (b"\x80\xe4", "gbk", "€\N{REPLACEMENT CHARACTER}"),
        (b"\xa4\xa2\xff\xa4", "euc-jp", "あ\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_byte_order_mark_counts_more_than_a_label(content: bytes, label: str, text: str) -> None:
    assert decode(content, label) == text


@pytest.mark.parametrize(
    ("content", "label", "text", "reason"),
    [
        ("Grüße".encode(), "x-nobody-knows", "Grüße", "unknown"),
        ("Grüße".encode("cp1252"), "x-nobody-knows", "Grüße", "unknown"),
        ("Grüße".encode("cp1252"), "iso-2022-cn", "Grüße", "unknown"),
        ("Grüße".encode("cp1252"), "", "Grüße", "not UTF-8"),
        ("Grüße, cut shorü".encode()[:-1], "", "Grüße, cut shor\N{REPLACEMENT CHARACTER}", "not UTF-8"),
        ("九時".encode("iso2022_jp"), "", "九時", None),
        ("Grüße".encode(), "", "Grüße", None),
        ("Grüße".encode(), "punycode", "Grüße", "unknown"),
    ],
)
def test_what_is_guessed_is_counted(content: bytes, label: str, text: str, reason: str | None) -> None:
    def guessed() -> float:
        samples = next(m for m in REGISTRY.collect() if m.name == "lcs_archiving_guessed_charsets").samples
        name = "lcs_archiving_guessed_charsets_total"
        return sum(s.value for s in samples if s.name == name and s.labels["reason"] == reason)

    before = guessed()
    assert decode(content, label) == text
    assert guessed() >= before + (reason is not None)


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        ("text/html", '<meta charset="windows-1251">Купи'.encode("cp1251"), "Купи"),
        ("text/html", "<META CHARSET=koi8-r />Купи".encode("koi8_r"), "Купи"),
        (
            "text/html",
            '<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">東京'.encode("cp932"),
            "東京",
        ),
        ("text/html", "<meta charset=iso-2022-jp>九時".encode("iso2022_jp"), "九時"),
        ("text/html; charset=utf-8", '<meta charset="koi8-r">Купи'.encode(), "Купи"),
        ("text/html", '<meta charset="utf-16">Купи'.encode(), "Купи"),
        ("text/html", '<!-- <meta charset="koi8-r"> -->Купи'.encode(), "Купи"),
        ("text/html", b"\xef\xbb\xbf" + '<meta charset="koi8-r">Купи'.encode(), "Купи"),
        ("text/html", '<meta name="x" content="y"><meta charset=big5>買進'.encode("big5"), "買進"),
        ("text/plain; CHARSET*=us-ascii'en'windows%2D1251", "Купи".encode("cp1251"), "Купи"),
        ('text/plain; x="; charset=koi8-r"; charset=windows-1251', "Купи".encode("cp1251"), "Купи"),
    ],
)
def test_a_page_may_say_its_character_set_itself(content_type: str, content: bytes, text: str) -> None:
    assert render(content_type, content).text == text


@pytest.mark.parametrize(
    "label", [*sorted(set(LABELS.values()) - {"replacement"}), "utf-7", "hz", "johab", "x"]
)
def test_noise_takes_linear_time(label: str) -> None:
    def seconds(content: bytes) -> float:
        started = time.thread_time()
        decode(content, label)
        return time.thread_time() - started

    for noise in (b"\x81\xff", b"\xff", b"\x1b$B\x80", b"+A"):
        short = min(seconds(noise * (1 << 13)) for _ in range(3))
        assert seconds(noise * (1 << 16)) < 40 * short + 0.02
