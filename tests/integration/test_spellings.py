"""An archive of before addresses were canonical: each name stays as it came, and is found as its person's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import archiving.migrations
from archiving.archive import Archive
from archiving.spellings import key_of
from contract.conversation import conversation_of, group_key, pair_key
from contract.message import IM
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, make_im, running_api

BOB, ANN = "sip:bob@contoso.com", "sip:ann@contoso.com"
JOSE, OLD_JOSE = "sip:jos\u00e9@contoso.com", "sip:jose\u0301@contoso.com"
OLD_BOBS = ("sip:%62ob@contoso.com", "sip:bob;x=y@contoso.com")
NOBODY = "sip:bo\u200bb@contoso.com"


def _im(sender: str, *recipients: str, **fields: Any) -> IM:
    """Return an IM as an older front end made it, or as one of today does."""
    fields = {"conversation": conversation_of(sender, recipients)} | fields
    return make_im(f"from {sender}", sender=sender, recipients=recipients, **fields)


OLD_IMS = [
    _im(OLD_JOSE, BOB),
    _im(OLD_BOBS[0], OLD_JOSE),
    _im(BOB, JOSE),
    _im(ANN, OLD_BOBS[1], OLD_JOSE, BOB),
    _im(NOBODY, ANN),
    _im(ANN, BOB),
    _im(OLD_JOSE, ANN, conversation="p2p:a key of the caller's"),
]


def _store_as_before(connection: psycopg.Connection, im: IM) -> None:
    """Put an IM into an archive whose names say nothing of each other."""
    connection.execute(
        "INSERT INTO archive.messages (id, sent_at, conversation_id, sender_id, recipient_ids, federated,"
        " content_type_id, body, agent_id, seq, policy_version, rule_id)"
        " SELECT %(id)s, %(sent_at)s, c.id, s.id, ARRAY(SELECT r.id::int FROM unnest(%(recipients)s::text[])"
        "   WITH ORDINALITY AS n (name, place) JOIN archive.intern('users', %(recipients)s) AS r USING (name)"
        "   ORDER BY place), false, t.id, %(body)s, archive.intern_agent(%(agent)s, 'pool1'), 1, 1, r.id"
        " FROM archive.intern('conversations', ARRAY[%(conversation)s]) AS c,"
        "  archive.intern('users', ARRAY[%(sender)s]) AS s,"
        "  archive.intern('content_types', ARRAY['text/plain']) AS t,"
        "  archive.intern('rules', ARRAY['internal-everyone']) AS r",
        {name: getattr(im, name) for name in ("id", "sent_at", "conversation", "sender", "body", "agent")}
        | {"recipients": list(im.recipients)},
    )
    connection.execute(
        "INSERT INTO archive.participants"
        " SELECT u.id, c.id FROM archive.users AS u, archive.conversations AS c"
        " WHERE u.name = ANY (%s) AND c.name = %s ON CONFLICT DO NOTHING",
        [[im.sender, *im.recipients], im.conversation],
    )


def _record_as_before(connection: psycopg.Connection, **sent: int) -> None:
    names = {"jose": JOSE, "old_jose": OLD_JOSE, "bob": BOB, "old_bob": OLD_BOBS[0], "nobody": NOBODY}
    connection.execute(
        "WITH made AS ("
        "  INSERT INTO cdr.sessions (conversation, invited, scope, pool, caller, client, started_at, last_at,"
        "                            archived, passed)"
        "  VALUES ('c', false, 'internal', 'pool1', %s, 'test', now(), now(), 1, '{}') RETURNING id)"
        " INSERT INTO cdr.parties SELECT made.id, p.name, p.n, 'x'"
        " FROM made, unnest(%s::text[], %s::int[]) AS p (name, n)",
        [names[next(iter(sent))], [names[each] for each in sent], list(sent.values())],
    )


@pytest.fixture
def api(database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API of an archive that was filled before it was brought to this version."""
    database.begin_anew(archiving.migrations, "0012")
    with psycopg.connect(database.url("lcs_owner")) as connection:
        for im in OLD_IMS:
            _store_as_before(connection, im)
        _record_as_before(connection, old_jose=2, jose=3, old_bob=1)
        _record_as_before(connection, nobody=1, bob=1)
    archiving.migrations.migrate(database.url("lcs_owner"))
    with running_api(database, tmp_path) as running:
        yield running


def _found(api: AdminApi, **asked: str) -> list[dict[str, Any]]:
    answer = api.compliance.get("/v1/messages", params={"order": "asc", **asked}).raise_for_status()
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


def _ids(messages: list[dict[str, Any]]) -> set[str]:
    return {message["id"] for message in messages}


def test_any_spelling_finds_all_ims_and_each_shows_its_own(api: AdminApi) -> None:
    theirs = {str(im.id) for im in OLD_IMS if {JOSE, OLD_JOSE} & {im.sender, *im.recipients}}
    for text in ("jos\u00e9@contoso.com", "jose\u0301@contoso.com", "xmpp:JOS%C3%89@contoso.com"):
        assert _ids(_found(api, user=text)) == theirs
    for old in (BOB, *OLD_BOBS):
        assert len(_found(api, user=old)) == 5
    shown = {message["id"]: message for message in _found(api)}
    first, second, third, group, _, plain, keyed = (shown[str(im.id)] for im in OLD_IMS)
    assert (first["sender"], first["recipients"], first["spelled"]) == (JOSE, [BOB], [OLD_JOSE, BOB])
    assert (second["sender"], second["recipients"], second["spelled"]) == (
        BOB,
        [JOSE],
        [OLD_BOBS[0], OLD_JOSE],
    )
    assert (group["recipients"], group["spelled"]) == ([BOB, JOSE], [ANN, OLD_BOBS[1], OLD_JOSE, BOB])
    assert third["spelled"] is plain["spelled"] is None
    assert len({each["conversation"] for each in (first, second, third)}) == 1
    assert group["conversation"] == group_key([ANN, BOB, JOSE])
    assert keyed["conversation"] == "p2p:a key of the caller's"


def test_any_key_finds_the_whole_conversation_that_goes_on(api: AdminApi) -> None:
    archive = Archive(api.database.url("lcs_archiving"))
    new = _im(JOSE, BOB)
    assert archive.store([new]) == 1
    archive.close()
    for key in {OLD_IMS[0].conversation, OLD_IMS[1].conversation, new.conversation}:
        assert _ids(_found(api, conversation=key)) == {str(im.id) for im in (*OLD_IMS[:3], new)}
        assert len(_found(api, conversation=key, user=BOB)) == 4


def test_a_name_that_is_no_address_any_more_is_found_as_it_is(api: AdminApi) -> None:
    [found] = _found(api, user=NOBODY)
    assert (found["sender"], found["spelled"]) == (NOBODY, None)
    refused = api.compliance.get("/v1/messages", params={"user": "sip:an\u200bn@contoso.com"})
    assert (refused.status_code, refused.json()["field"]) == (422, "user")
    [session] = api.compliance.get("/v1/cdr", params={"user": NOBODY}).raise_for_status().json()["sessions"]
    assert session["caller"] == NOBODY
    assert "look" in next(party for party in session["parties"] if party["address"] == NOBODY)


def test_an_old_im_that_comes_again_is_the_same(api: AdminApi) -> None:
    archive = Archive(api.database.url("lcs_archiving"))
    assert archive.store(OLD_IMS) == 0
    archive.close()
    assert len(_found(api)) == len(OLD_IMS)


def test_an_im_that_an_older_front_end_left_on_the_queue_is_its_persons(api: AdminApi) -> None:
    left = _im("sip:\uff42ob@contoso.com", "sip:jose\u0301@contoso.com.au")
    archive = Archive(api.database.url("lcs_archiving"))
    assert archive.store([left]) == 1
    archive.close()
    [found] = [message for message in _found(api, user=BOB) if message["id"] == str(left.id)]
    assert (found["sender"], found["spelled"]) == (BOB, [left.sender, *left.recipients])
    assert found["conversation"] == pair_key([BOB, "sip:jos\u00e9@contoso.com.au"])


def test_who_becomes_one_has_one_count_in_call_detail_records(api: AdminApi) -> None:
    found = api.compliance.get("/v1/cdr", params={"user": "jos\u00e9@contoso.com"}).raise_for_status().json()
    [session] = found["sessions"]
    assert session["caller"] == JOSE
    assert {party["address"]: party["sent"] for party in session["parties"]} == {JOSE: 5, BOB: 1}


def test_the_key_of_a_conversation_is_made_again_only_if_it_was_made_of_its_people() -> None:
    assert key_of(pair_key([OLD_JOSE, BOB]), [OLD_JOSE, BOB]) == pair_key([JOSE, BOB])
    assert key_of(pair_key([OLD_JOSE, JOSE]), [OLD_JOSE, JOSE]) == pair_key([JOSE])
    assert key_of(group_key([OLD_JOSE, JOSE, BOB]), [OLD_JOSE, JOSE, BOB]) == pair_key([JOSE, BOB])
    assert key_of(pair_key([OLD_JOSE, BOB]), [OLD_JOSE, BOB, ANN]) == pair_key([OLD_JOSE, BOB])
    assert key_of("c1", [OLD_JOSE, BOB]) == "c1"
