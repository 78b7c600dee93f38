"""The same IM by two front ends: stored once, counted by both, and no difference in the reconciliation."""

from datetime import timedelta
from uuid import uuid4

import msgspec
import psycopg

from archiving.archive import Archive
from contract.cdr import Activity
from contract.message import IM
from tests.conftest import ArchiveDatabase
from tests.integration.archiving_service import make_ims


def _activity(im: IM) -> Activity:
    return Activity(
        conversation=im.conversation,
        sender=im.sender,
        recipients=im.recipients,
        scope=im.scope,
        pool=im.pool,
        client="c",
        first=im.sent_at,
        last=im.sent_at,
        archived=1,
    )


def test_an_im_by_two_front_ends_agrees_with_its_records_until_it_is_deleted(
    database: ArchiveDatabase,
) -> None:
    archive = Archive(database.url("lcs_archiving"))
    ims = make_ims(3)
    again = msgspec.structs.replace(ims[0], agent=uuid4(), seq=1)
    for batch in (ims, [ims[0]], [again], [again], [ims[1], again]):  # what comes again is counted once
        archive.store(batch)
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        told = msgspec.json.encode([_activity(im) for im in [*ims, again]]).decode()
        connection.execute("SELECT cdr.log_activities(gen_random_uuid(), %s::jsonb, '30 minutes')", [told])

        def differing() -> tuple[object, ...] | None:
            return connection.execute(
                "SELECT sum(recorded), sum(archived), sum(differing) FROM cdr.reconcile(%s, %s)",
                [ims[0].sent_at - timedelta(hours=1), ims[-1].sent_at + timedelta(hours=1)],
            ).fetchone()

        assert differing() == (4, 4, 0)
        connection.execute("DELETE FROM archive.messages WHERE id = %s", [ims[0].id])
        assert differing() == (4, 2, 1)  # what is not there counts for nobody
    archive.close()
