"""Names as long as the contract lets through: an IM of two such people is archived, recorded and found."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from pika import BasicProperties

import archiving.migrations
from archiving.cdr.records import Records, Settlement
from archiving.delivery import Delivery
from archiving.senders import Senders
from contract.address import MAX_LENGTH, parse_address
from contract.cdr import CDR_TYPE, Activity, encode_activities
from contract.conversation import conversation_of, filed_key
from contract.message import IM, encode_ims
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, make_im, running_api
from tests.integration.archiving_service import publish, running_worker
from tests.integration.test_cdr import random_text

SENDERS = Senders({}, trust_anonymous=True)


def long_address(beginning: str) -> str:
    """Return an address as long as one may be, of characters of four bytes; it can't be compressed."""
    domain = "@contoso.com"
    letters = "".join(chr(0x20000 + ord(each) % 0xA6D0) for each in random_text(MAX_LENGTH))
    address = f"sip:{beginning}{letters}"[: MAX_LENGTH - len(domain)] + domain
    return parse_address(address)


ANN, BEN = long_address("ann"), long_address("ben")
OLD_KEY = f"p2p:{ANN}|{BEN}"
"""As front ends of before made it."""


@pytest.fixture
def api(database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API, for people of contoso.com."""
    with running_api(database, tmp_path) as running:
        running.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        yield running


def ims_of_both() -> list[IM]:
    """Return an IM of an older front end, and the answer by one of today."""
    return [
        make_im("old", sender=ANN, recipients=(BEN,), conversation=OLD_KEY),
        make_im("new", sender=BEN, recipients=(ANN,), conversation=conversation_of(BEN, (ANN,))),
    ]


def test_an_im_of_two_with_long_addresses_is_archived_and_found(
    vhost: Vhost, api: AdminApi, database: ArchiveDatabase, tmp_path: Path
) -> None:
    assert len(OLD_KEY.encode()) > 3000
    with running_worker(vhost, database, tmp_path / "worker"):
        for im in ims_of_both():
            publish(vhost, [im])
        wait_for(lambda: database.rows("SELECT count(*) FROM archive.messages") == [(2,)], "both")
    assert database.rows("SELECT count(*) FROM archive.parked") == [(0,)]
    for asked in ({"user": ANN}, {"conversation": conversation_of(ANN, (BEN,))}, {"conversation": OLD_KEY}):
        found = api.compliance.get("/v1/messages", params=asked).raise_for_status().json()["messages"]
        assert sorted(each["body"] for each in found) == ["new", "old"]
        assert {each["conversation"] for each in found} == {filed_key(OLD_KEY)}


def test_what_was_parked_for_its_long_key_is_archived_by_a_replay(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    properties = '{"type": "lcs.im.v1", "user_id": "frontend~pool1"}'
    [im, _] = ims_of_both()
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        connection.execute(
            "SELECT archive.park(%s, 'index row size', %s, %s, 'pool1', NULL, NULL, 1)",
            [b"key", encode_ims([im]), properties],
        )
        connection.execute("SELECT archive.request_replay(NULL, 'an operator', 'mended')")
    with running_worker(vhost, database, tmp_path / "worker"):
        wait_for(lambda: database.rows("SELECT state FROM archive.parked") == [("replayed",)], "the replay")
    assert database.rows("SELECT body FROM archive.messages") == [("old",)]


def test_both_are_one_conversation_in_the_call_detail_records(database: ArchiveDatabase) -> None:
    records = Records(database.url("lcs_archiving"), timedelta(minutes=10))
    activities = [
        Activity(
            conversation=im.conversation, sender=im.sender, recipients=im.recipients, scope="internal",
            pool="pool1", client="c", first=im.sent_at, last=im.sent_at, archived=1,
        )
        for im in ims_of_both()
    ]  # fmt: skip
    delivery = Delivery(0, 0, BasicProperties(type=CDR_TYPE), encode_activities(activities))
    assert Settlement(delivery, SENDERS).settle(records) == 2
    records.close()
    assert database.rows("SELECT conversation, archived FROM cdr.sessions") == [(filed_key(OLD_KEY), 2)]


def test_a_long_key_that_an_older_archive_took_is_the_same_conversation(database: ArchiveDatabase) -> None:
    database.begin_anew(archiving.migrations, "0014")
    key = f"p2p:sip:{'a' * 1400}@contoso.com|sip:{'b' * 1400}@contoso.com"  # it can be compressed
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        connection.execute("SELECT archive.intern('conversations', %s)", [[key, "short"]])
    archiving.migrations.migrate(database.url("lcs_owner"))
    assert database.rows(
        "SELECT d.name FROM archive.conversations AS c JOIN archive.conversations AS d ON d.id = c.same_as"
    ) == [(filed_key(key),)]
