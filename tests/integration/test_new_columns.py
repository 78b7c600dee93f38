"""A later migration may add a column of any type to any table: whoever does not know it goes on."""

from base64 import b64encode
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
from pika.spec import BasicProperties

from archiving.archive import Archive, BatchEntry
from archiving.cdr.records import Records
from archiving.delivery import Delivery
from archiving.parked.parking import Parked
from archiving.ranges import NumberRange, ranges_of
from archiving.rerendering import render_again
from archiving.rows import join_rows
from archiving.senders import Senders
from archiving.storing import replay_all
from contract.cdr import CDR_TYPE, Activity, encode_activities
from contract.message import IM, IM_TYPE, AgentStatement, encode_ims, make_id, time_of
from tests.conftest import ArchiveDatabase
from tests.integration.archiving_service import changed, make_ims

_TYPES = {
    "smallint": "7",
    "bigint": "7",
    "numeric(6,2)": "7.25",
    "double precision": "7.5",
    "boolean": "true",
    "text": "'seven'",
    "varchar(8)": "'seven'",
    "bytea": r"'\x07'",
    "uuid": "'00000000-0000-0000-0000-000000000007'",
    "inet": "'10.0.0.7'",
    "jsonb": """'{"seven": 7}'""",
    "date": "'2007-07-07'",
    "timestamptz": "'2007-07-07 07:07:07Z'",
    "interval": "'7 days'",
    "int8multirange": "'{[7,8)}'",
    "integer[]": "'{7}'",
    "text[]": "'{seven}'",
    "uuid[]": "'{00000000-0000-0000-0000-000000000007}'",
    "timestamptz[]": "'{2007-07-07 07:07:07Z}'",
}
"""Types that a column may have, and a default of each."""
_PLACES = dict(enumerate(_TYPES))
_UNTOUCHED = " AND ".join(
    f"nullable_{place} IS NULL AND given_{place} = {_TYPES[type_]}::{type_}"
    for place, type_ in _PLACES.items()
)
_FILLED = {
    "archive": "agents batches content_types conversations disowned duplicates eras incarnation messages"
    " parked parked_numbers participants pools publishes reading renderings rules unordered users witnesses",
    "cdr": "activities messages parties sessions",
    "policy": "audit disclaimers_sent version versions",
}
"""The tables that functions write to."""
_NOW = datetime.now(UTC)


def test_ims_are_stored_with_all_they_say_beside_a_new_column_of_any_type(database: ArchiveDatabase) -> None:
    with closing(Archive(database.url("lcs_archiving"))) as at_work:  # through all migrations to come
        generated = (
            "ALTER TABLE archive.messages ADD COLUMN twice bigint GENERATED ALWAYS AS (seq * 2) STORED"
        )
        _execute(database, "lcs_owner", generated)
        for place in _PLACES:
            _add_columns(database, "archive.messages", places=[place])
            with closing(Archive(database.url("lcs_archiving"))) as fresh:
                for archive in (at_work, fresh):
                    appended, stored, later = _full_ims(3)
                    _append(archive, appended)
                    assert archive.store([appended, stored]) == 1  # the one that comes again counts once
                    assert archive.store([appended, stored, later]) == 1
    found = database.rows(
        f"SELECT count(*), count(*) FILTER (WHERE {_UNTOUCHED}),"  # noqa: S608 - names of our own
        " count(*) FILTER (WHERE stored_at > now() - interval '1 hour'),"
        " count(DISTINCT (conversation_id, sender_id, recipient_ids, federated, content_type_id, body,"
        " content, content_encoding, encryption, policy_version, rule_id, received_at, spelled)),"
        " count(*) FILTER (WHERE twice = seq * 2 AND xact IS NOT NULL) FROM archive.messages"
    )
    ims = 6 * len(_TYPES)
    assert found == [(ims, ims, ims, 1, ims)]
    assert database.rows(
        "SELECT DISTINCT sender, recipients, conversation, scope, content_type, body, content,"
        " content_encoding, encryption, pool, policy_version, rule, received_at, spelled"
        " FROM archive.archived_messages"
    ) == [
        ("sip:yannis@contoso.com", ["sip:administrator@contoso.com"], "c1", "internal", "text/html", "hello",
         b"<p>hello</p>", None, None, "pool1", 1, "internal-everyone", _NOW,
         ["sip:Yannis@contoso.com", "sip:administrator@contoso.com"])
    ]  # fmt: skip


def test_a_worker_that_knows_new_columns_fills_them_also_in_batches_that_are_known_in_part(
    database: ArchiveDatabase,
) -> None:
    _add_columns(database, "archive.messages")
    released = (
        "id sent_at conversation_id sender_id recipient_ids federated content_type_id body agent_id seq"
    )
    named = (*released.split(), "policy_version", "rule_id", *(f"nullable_{place}" for place in _PLACES))
    columns = ", ".join(named)
    row = (
        f"INSERT INTO pg_temp.batch ({columns})"  # noqa: S608 - names of our own
        f" VALUES (%s, %s, 1, 1, '{{1}}', false, 1, 'hello', 1, 1, 1, 1, {', '.join(_TYPES.values())})"
    )
    known, new = make_ims(2)
    with psycopg.connect(database.url("lcs_archiving"), autocommit=True) as newer:
        newer.execute("SELECT archive.open_batch(%s::text[])", [list(named)])
        for batch in ([known], [known, new]):
            with newer.transaction():
                for im in batch:
                    newer.execute(row.encode(), [im.id, im.sent_at])
                logged = newer.execute(
                    "SELECT inserted FROM archive.log_messages(%s, '{}', '{}', '{}')", [len(batch)]
                )
                assert logged.fetchone() == (1,)
    filled = " AND ".join(f"nullable_{place} = given_{place}" for place in _PLACES)
    assert database.rows(f"SELECT count(*) FROM archive.messages WHERE {filled}") == [(2,)]  # noqa: S608


def test_all_functions_fill_their_tables_beside_new_columns_of_all_types(database: ArchiveDatabase) -> None:
    for schema, tables in _FILLED.items():
        for table in tables.split():
            _add_columns(database, f"{schema}.{table}")
    _fill_archive(database)
    _fill_cdr(database)
    _fill_policy(database)
    for schema, tables in _FILLED.items():
        for table in tables.split():
            untouched = database.rows(
                f"SELECT count(*) > 0, coalesce(bool_and({_UNTOUCHED}), false)"  # noqa: S608 - our names
                f" FROM {schema}.{table}"
            )
            assert untouched == [(True, True)], table


def _add_columns(database: ArchiveDatabase, table: str, places: Iterable[int] = _PLACES) -> None:
    """Add for each type one that may be null, and one with a default, as a later migration would."""
    with psycopg.connect(database.url("lcs_owner")) as connection:
        for place in places:
            type_ = _PLACES[place]
            connection.execute(
                f"ALTER TABLE {table} ADD COLUMN nullable_{place} {type_},"
                f" ADD COLUMN given_{place} {type_} NOT NULL DEFAULT {_TYPES[type_]}".encode()
            )


def _full_ims(count: int) -> list[IM]:
    spelled = ("sip:Yannis@contoso.com", "sip:administrator@contoso.com")
    body = b64encode(b"<p>hello</p>").decode()
    full = {"content_type": "text/html", "encoding": "base64", "body": body}
    return [changed(im, **full, received_at=_NOW, spelled=spelled) for im in make_ims(count)]


def _append(archive: Archive, *ims: IM) -> None:
    entry = BatchEntry(str(uuid4()), 1, len(ims), None, None, "[[1, 1, 1, 1.5, null, 2.5]]")
    archive.append(join_rows(archive.numbers.pack(ims)), archive.account(ranges_of(ims)), entry)


def _fill_archive(database: ArchiveDatabase) -> None:
    first, second, third = make_ims(3)
    far_id = make_id(int(datetime(2031, 5, 15, tzinfo=UTC).timestamp() * 1000))
    far = changed(first, id=far_id, sent_at=time_of(far_id), seq=4)
    with closing(Archive(database.url("lcs_archiving"))) as archive:
        _append(archive, first)
        numbers = NumberRange(first.agent, first.pool, 5, 5)
        assert archive.store([first, second, far, *_full_ims(1)], parked=[numbers]) == 3
        assert archive.store([changed(first, agent=uuid4())]) == 0
        archive.rehearse([first])
        archive.log_agent(
            AgentStatement(agent=first.agent, pool="pool1", front_end="fe1", confirmed=9, at=_NOW)
        )
        archive.park(Parked(encode_ims([third]), BasicProperties(type=IM_TYPE), "some reason", None))
        archive.request_replay("ada", "why")
        assert replay_all(archive, Senders({}, trust_anonymous=True)) == (1, 0)
        archive.park(Parked(encode_ims([far]), BasicProperties(type=IM_TYPE), "some reason", None))
        archive.log_reading(0)
        archive.forget_traces(36_500, 10)
    assert render_again(database.url("lcs_archiving"), "ada").looked_at == 1
    _execute(database, "lcs_owner", "SELECT archive.ensure_partitions('2031-05-15Z')")
    assert database.rows("SELECT count(*) FROM archive.messages_2031_05") == [(1,)]
    _execute(
        database,
        "lcs_archiving",
        "SELECT archive.note_spellings('users', ARRAY['sip:ADA@contoso.com'], ARRAY['sip:ada@contoso.com'])",
    )
    _execute(
        database,
        "lcs_admin",
        f"SELECT archive.log_witness('fe1', 'pool1', ARRAY['{first.agent}']::uuid[], ARRAY[9], ARRAY[false])",
        f"SELECT archive.disown_agent('{first.agent}', 'ada', 'why')",
        "SELECT archive.read_horizon()",
    )


def _fill_cdr(database: ArchiveDatabase) -> None:
    with closing(Records(database.url("lcs_archiving"), timedelta(minutes=5))) as records:
        for minutes in ([60, 61, 62], [63], [0, 58], [57]):  # later ones come out of order
            told = [
                Activity(
                    conversation="c1", sender="sip:ada@contoso.com", recipients=("sip:ben@contoso.com",),
                    scope="internal", pool="pool1", client="test", archived=1, passed={"rule": 1},
                    first=_NOW + timedelta(minutes=after), last=_NOW + timedelta(minutes=after),
                )
                for after in minutes
            ]  # fmt: skip
            properties = BasicProperties(type=CDR_TYPE, message_id=str(uuid4()))
            told_as = Delivery(0, 0, properties, encode_activities(told))
            assert records.store_all([told_as], Senders({}, trust_anonymous=True)) == len(told)
        records.end_idle()
    assert database.rows("SELECT messages FROM cdr.session_list ORDER BY id") == [(12,), (2,)]
    _execute(database, "lcs_admin", "SELECT cdr.reconcile(now(), now() + interval '1 day')")


def _fill_policy(database: ArchiveDatabase) -> None:
    claim = (
        "SELECT policy.claim_disclaimers('c1', '{}', 'edge', 'fe1', now(), 1, ARRAY['sip:{}@fabrikam.com'],"
        " ARRAY['en'], ARRAY['archived'], interval '1 hour')"
    )
    told, retracted = make_id(), make_id()
    _execute(
        database,
        "lcs_admin",
        claim.format(told, "bob"),
        claim.format(retracted, "eve"),
        f"SELECT policy.confirm_disclaimers('{told}', 'edge', now())",
        f"SELECT policy.retract_disclaimers('{retracted}', 'ada', 'connector', 'edge')",
        "UPDATE policy.version SET version = version + 1",
        "SELECT policy.open_bulk()",
        "INSERT INTO bulk (line, address, archive_internal) VALUES (1, 'sip:bob@contoso.com', true)",
        "SELECT policy.compare_bulk()",
    )


def _execute(database: ArchiveDatabase, role: str, *statements: str) -> None:
    with psycopg.connect(database.url(role)) as connection:
        for statement in statements:
            connection.execute(statement.encode())
