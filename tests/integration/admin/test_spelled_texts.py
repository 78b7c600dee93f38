"""A search for a text finds it however keyboards and clients wrote it, and however it is asked for."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import literal, select

from admin_api.archive.messages.texts import contains, fold_text, others_of
from admin_api.database import Database
from tests.integration.admin.conftest import AdminApi, make_im

FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
PIECES = (
    *("sell", " ", "100%", "a_b", "\\", "caf\u00e9", "\u00c5ngstr\u00f6m", "don\u2019t", "\u201ejetzt\u201c"),
    *(
        "\u00a0",
        "\u00ad",
        "\u200d",
        "\ufb01nance",
        "\uff37\uff29\uff24\uff25",
        "\uac01\ud558",
        "\u304c\u304e",
    ),
    *(
        "\u03bf\u03b4\u03bf\u03c2",
        "\u00bd",
        "\u2026",
        "\u2013",
        "\u202a+49\u202c",
        "\u2764\ufe0f",
        "H\u00e0 N\u1ed9i",
    ),
    *("\u05e9\u05c1\u05bc\u05b8", "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\u0915\u093c\u0940"),
)
CHANGED = [
    chr(code)
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x30000))
    if fold_text(chr(code)) != chr(code) or fold_text(f"a{chr(code)}") != f"a{chr(code)}"
]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)


@pytest.fixture(scope="module")
def service(idle_api: AdminApi) -> Iterator[Database]:
    database = Database(idle_api.database.url("lcs_admin"))
    yield database
    database.close()


def is_found(service: Database, text: str, body: str) -> bool:
    with service.transaction() as session:
        return bool(session.scalar(select(literal(1)).where(contains(literal(body), text))))


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, TEXTS, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_a_text_is_found_in_each_way_of_writing_it(
    service: Database,
    text: str,
    before: str,
    after: str,
    asked: Literal["NFC", "NFD", "NFKC", "NFKD"],
    said: Literal["NFC", "NFD", "NFKC", "NFKD"],
) -> None:
    body = f"{before} {unicodedata.normalize(said, text)} {after} sell"
    assert is_found(service, unicodedata.normalize(asked, text), body)
    assert is_found(service, fold_text(text) or "sell", body)
    assert not is_found(service, f"{text}q", body)


def test_what_nobody_sees_is_no_text_that_all_have(service: Database) -> None:
    assert not is_found(service, "\u00ad", "hello")
    assert is_found(service, "\u00ad", "hel\u00adlo")


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["", "a", "\uac00"]), st.sampled_from(CHANGED), st.sampled_from(["", "b", "\u0301"]))
def test_a_text_in_another_way_of_writing_is_told_by_its_characters(
    before: str, char: str, after: str
) -> None:
    text = before + char + after
    assert re.search(others_of(fold_text(text)), text), ascii(text)


def test_a_search_finds_what_telephones_and_rich_text_make_of_words(api: AdminApi) -> None:
    bodies = ["we don\u2019t sell", "sell\u00a0now", "cafe\u0301", "in\u00adsider", "plain"]
    api.store([make_im(body, seq=number) for number, body in enumerate(bodies, 1)])
    asked = {"don't sell": 0, "DON\u2019T": 0, "sell now": 1, "CAFÉ": 2, "insider": 3, "pl\u200bain": 4}
    for text, place in asked.items():
        found = (
            api.compliance.get("/v1/messages", params={"text": text}).raise_for_status().json()["messages"]
        )
        assert [message["body"] for message in found] == [bodies[place]], text
