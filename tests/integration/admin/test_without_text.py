"""IMs without a searchable text: a search for a text counts them, and filters find them."""

import base64
import gzip
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlmodel import Session

import admin_api.archive.messages.search
from admin_api.archive.messages.search import Keys, Search, keys_of
from contract.message import IM
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, make_im, running_api

ANNA, BOB = "sip:anna@contoso.com", "sip:bob@contoso.com"
XMPP = "application/xmpp+xml"
START_MS = 1_700_000_000_000
PICTURE = base64.b64encode(b"\x89PNG\xff").decode()
OMEMO = (
    "<message><encrypted xmlns='urn:xmpp:omemo:2'><payload>AAECAwQFBgcICQoLDA0ODw==</payload></encrypted>{}"
    "</message>"
)
PGP = "-----BEGIN PGP MESSAGE-----\n\nhQEMA1\n=aB1C\n-----END PGP MESSAGE-----"


def store(api: AdminApi, *ims: dict[str, Any]) -> list[IM]:
    agent = uuid4()
    made = [
        make_im(at_ms=START_MS + n * 60_000, agent=agent, seq=n + 1, **fields) for n, fields in enumerate(ims)
    ]
    api.store(made)
    return made


def search(api: AdminApi, **parameters: Any) -> dict[str, Any]:
    answer: dict[str, Any] = api.compliance.get("/v1/messages", params=parameters).raise_for_status().json()
    return answer


def ids(page: dict[str, Any]) -> list[str]:
    return sorted(message["id"] for message in page["messages"])


def a_picture(**fields: Any) -> dict[str, Any]:
    return {"body": PICTURE, "encoding": "base64", "content_type": "image/png"} | fields


def test_a_search_for_a_text_says_in_how_many_ims_it_could_not_look(api: AdminApi) -> None:
    ims = store(
        api,
        {"body": "sell at noon"},
        a_picture(),
        a_picture(sender=ANNA, recipients=(BOB,), conversation="c2"),
        {
            "body": OMEMO.format(""),
            "content_type": XMPP,
            "sender": BOB,
            "conversation": "c2",
        },
        {"body": OMEMO.format("<body>sell later</body>"), "content_type": XMPP},
    )
    page = search(api, text="sell")
    assert ids(page) == sorted(str(ims[place].id) for place in (0, 4))
    assert page["without_text"] == 3
    assert search(api, text="nothing like it")["without_text"] == 3
    assert search(api, text="sell", user=ANNA)["without_text"] == 1
    assert search(api, text="sell", user=BOB)["without_text"] == 2
    assert search(api, text="sell", user="sip:nobody@contoso.com")["without_text"] == 0
    assert search(api, text="sell", conversation="c2")["without_text"] == 2
    assert search(api, text="sell", user=ANNA, conversation="c1")["without_text"] == 0
    noon = ims[2].sent_at.isoformat().replace("+00:00", "Z")
    assert search(api, text="sell", to=noon)["without_text"] == 1
    assert search(api, text="sell", **{"from": noon})["without_text"] == 2
    assert search(api)["without_text"] is None  # nothing was left out
    assert api.audit(limit="2")[1]["detail"]["without_text"] == 2


def test_the_number_is_of_the_whole_search_on_each_of_its_pages(api: AdminApi) -> None:
    store(api, a_picture(), *({"body": f"number {n}"} for n in range(3)), a_picture())
    page = search(api, text="number", limit=2)
    assert (len(page["messages"]), page["without_text"]) == (2, 2)
    page = search(api, text="number", limit=2, after=page["next"])
    assert (len(page["messages"]), page["next"], page["without_text"]) == (1, None, 2)


def test_what_has_no_text_is_found_by_that(api: AdminApi) -> None:
    ims = store(api, {"body": "said"}, a_picture(), a_picture(sender=ANNA), {"body": PGP})
    assert ids(search(api, without_text=True)) == sorted(str(im.id) for im in ims[1:])
    assert ids(search(api, without_text=True, user=ANNA)) == [str(ims[2].id)]
    assert ids(search(api, without_text=False)) == [str(ims[0].id)]
    both = api.compliance.get("/v1/messages", params={"without_text": "true", "text": "said"})
    assert (both.status_code, both.json()["field"]) == (422, "text")


@pytest.mark.parametrize(
    ("fields", "encryption", "body"),
    [
        ({"body": OMEMO.format(""), "content_type": XMPP}, "omemo", None),
        ({"body": PGP}, "openpgp", None),
        ({"body": f"read this\n{PGP}"}, "openpgp", "read this\n"),
        ({"body": "?OTR:AAMDYSdr5gAB."}, "otr", None),
        (
            {
                "body": base64.b64encode(b"\x30\x80").decode(),
                "encoding": "base64",
                "content_type": "application/pkcs7-mime",
            },
            "s/mime",
            None,
        ),
    ],
)
def test_what_is_encrypted_is_shown_and_found_by_what_with(
    api: AdminApi, fields: dict[str, Any], encryption: str, body: str | None
) -> None:
    _, im = store(api, {"body": "in the clear"}, fields)
    api.store([im])  # comes again: no other content
    [found] = search(api, encryption=encryption.upper())["messages"]
    assert (found["id"], found["encryption"], found["body"]) == (str(im.id), encryption, body)
    content = base64.b64decode(found["content"])
    assert content == (base64.b64decode(im.body) if im.encoding == "base64" else im.body.encode())
    [clear] = search(api, text="in the clear")["messages"]
    assert clear["encryption"] is None


def test_what_was_compressed_is_found_by_its_text_and_given_as_it_came(api: AdminApi) -> None:
    packed = base64.b64encode(gzip.compress("Grüße aus Köln".encode())).decode()
    _, unknown = store(
        api,
        {"body": packed, "encoding": "base64", "content_encoding": "gzip"},
        {"body": packed, "encoding": "base64", "content_encoding": "br"},
    )
    page = search(api, text="aus köln")
    [found] = page["messages"]
    assert (found["content"], found["content_encoding"], found["body"]) == (packed, "gzip", "Grüße aus Köln")
    assert page["without_text"] == 1
    assert ids(search(api, without_text=True)) == [str(unknown.id)]


def test_a_number_that_takes_too_long_to_find_is_null(
    database: ArchiveDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_api.archive.messages.search, "keys_of", lambda *_: select(func.pg_sleep(60)))
    with running_api(database, tmp_path, search_seconds=1) as api:
        store(api, {"body": "said"}, a_picture())
        page = search(api, text="said")
        assert (len(page["messages"]), page["without_text"]) == (1, None)


def test_both_are_found_by_an_index(api: AdminApi) -> None:
    store(api, *({"body": f"number {n}"} for n in range(3000)), a_picture(), {"body": PGP})
    api.execute("ANALYZE archive.messages")

    def indexes_of(**asked: Any) -> set[str]:
        def make(session: Session) -> Keys:
            query = keys_of(session, Search(**asked))
            assert query is not None
            return query

        return set(re.findall(r"Scan.* using (messages_default_\w+)", api.plan_of(make)))

    assert indexes_of(without_text=True) == {"messages_default_id_idx"}
    of_user = indexes_of(without_text=True, user=["sip:yannis@contoso.com"])
    assert of_user in ({"messages_default_id_idx"}, {"messages_default_conversation_id_id_idx1"})
    assert indexes_of(encryption="openpgp") == {"messages_default_encryption_id_idx"}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["p1", "p2"]), st.booleans()), max_size=12
    )
)
def test_the_number_is_what_the_filter_gives(api: AdminApi, said: list[tuple[str, str, bool]]) -> None:
    run = uuid4().hex[:8]
    fields = [
        {"sender": f"sip:{sender}{run}@contoso.com", "conversation": conversation + run}
        | ({"body": "words"} if has_text else a_picture())
        for sender, conversation, has_text in said
    ]
    store(api, *fields)
    for asked in ({"user": f"sip:a{run}@contoso.com"}, {"conversation": f"p1{run}"}):
        page = search(api, text="words", **asked)
        assert page["without_text"] == len(search(api, without_text=True, **asked)["messages"])
        assert len(search(api, **asked)["messages"]) == page["without_text"] + len(page["messages"])
