"""What is archived as of a pool was sent by a front end of it: the broker's word counts."""

from pathlib import Path
from uuid import uuid4

import pytest
from pika.exceptions import ChannelClosedByBroker

from contract.message import AGENT_TYPE, AgentStatement, encode_ims, encode_statement
from contract.topology import QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    changed,
    make_ims,
    parked,
    publish,
    run_command,
    running_worker,
    stored_ids,
    wait_until_empty,
    wait_until_stored,
)

OTHER = "frontend~pool2"
"""The user of another pool's front ends."""


@pytest.fixture
def other_pool(vhost: Vhost) -> Vhost:
    """A vhost where another pool's front ends have a user too."""
    vhost.add_user(OTHER)
    return vhost


def test_the_broker_takes_no_message_that_names_another_user(other_pool: Vhost) -> None:
    with pytest.raises(ChannelClosedByBroker, match="PRECONDITION_FAILED"):
        publish(other_pool, make_ims(1), user=OTHER, named=FRONT_END_USER)
    assert other_pool.depth(QUEUE) == 0


def test_an_im_that_another_pools_front_end_sends_is_parked_and_not_stored_as_this_pools(
    other_pool: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    agent = uuid4()
    good, forged = make_ims(3, agent=agent), make_ims(3, agent=agent, first_seq=4)
    honest = [changed(im, pool="pool2") for im in make_ims(2)]
    mixed = [changed(im, pool="pool2") for im in make_ims(1)] + make_ims(1, first_seq=2)
    publish(other_pool, good)
    for ims in (forged, honest, mixed):
        publish(other_pool, ims, user=OTHER, named=OTHER)
    with running_worker(other_pool, database, tmp_path):
        wait_until_stored(database, good + honest)
        wait_until_empty(other_pool)
    assert [(body, reason) for body, reason, *_ in parked(database)] == [
        (encode_ims(forged), "the broker's user 'frontend~pool2' is of pool 'pool2', not of 'pool1'"),
        (encode_ims(mixed), "the broker's user 'frontend~pool2' is of pool 'pool2', not of 'pool1'"),
    ]
    known = "SELECT pool, accepted, archived, parked FROM archive.completeness ORDER BY pool"
    assert database.rows(known) == [("pool1", 3, 3, 0), ("pool2", 2, 2, 0)], (
        "nothing is added to a pool's numbers"
    )


def test_an_agent_is_of_one_pool(other_pool: Vhost, database: ArchiveDatabase, tmp_path: Path) -> None:
    agent = uuid4()
    good = make_ims(3, agent=agent)
    hijacking = [changed(im, pool="pool2") for im in make_ims(2, agent=agent, first_seq=4)]
    publish(other_pool, good)
    with running_worker(other_pool, database, tmp_path / "one"):
        wait_until_stored(database, good)
        publish(other_pool, hijacking, user=OTHER, named=OTHER)  # who stores it knows the agent
        wait_for(lambda: len(parked(database)) == 2, "the parked")
    publish(other_pool, hijacking[:1], user=OTHER, named=OTHER)
    with running_worker(other_pool, database, tmp_path / "another"):  # who stores it does not
        wait_until_empty(other_pool)
    assert {"of pool" in reason for _, reason, *_ in parked(database)} == {True}
    assert database.rows("SELECT pool, archived, parked FROM archive.completeness") == [("pool1", 3, 0)]


def test_nobody_says_how_far_another_pools_agent_or_another_front_ends_got(
    other_pool: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    one = f"{FRONT_END_USER}~fe1"
    other_pool.add_user(one)
    ims = make_ims(2)
    publish(other_pool, ims)
    for user, pool, front_end in ((OTHER, "pool1", "fe1"), (OTHER, "pool2", "fe1"), (one, "pool1", "fe2")):
        statement = AgentStatement(
            agent=ims[0].agent, pool=pool, front_end=front_end, confirmed=99, at=ims[0].sent_at
        )
        body = encode_statement(statement)
        publish(other_pool, ims, body=body, type_=AGENT_TYPE, user=user, named=user)
    with running_worker(other_pool, database, tmp_path):
        wait_until_stored(database, ims)
        wait_until_empty(other_pool)
    assert database.rows("SELECT accepted, missing FROM archive.completeness") == [(2, 0)]
    assert len(parked(database)) == 3


def test_what_has_no_user_is_parked_until_somebody_vouches_for_it(
    other_pool: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    unnamed, forged, trusted = make_ims(2), make_ims(2), make_ims(2)
    publish(other_pool, unnamed, named=None)
    publish(other_pool, forged, user=OTHER, named=OTHER)
    with running_worker(other_pool, database, tmp_path / "one"):
        wait_for(lambda: len(parked(database)) == 2, "the parked")
    assert "no user_id" in parked(database)[0][1]
    assert stored_ids(database) == []
    replay = {"LCS_DATABASE_URL": database.url("lcs_archiving")}
    assert run_command("replay", replay).returncode == 1, "the forged stay parked"
    assert stored_ids(database) == sorted(im.id for im in unnamed)
    named = replay | {"LCS_FRONT_END_USERS": f'{{"{OTHER}": "pool1"}}'}
    assert run_command("replay", named).returncode == 0, "the cause is mended: that user is pool1's"
    publish(other_pool, trusted, named=None)
    with running_worker(other_pool, database, tmp_path / "two", settings={"LCS_TRUST_ANONYMOUS": "true"}):
        wait_until_stored(database, unnamed + forged + trusted)
