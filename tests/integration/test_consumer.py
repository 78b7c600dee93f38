"""The worker's consumer beside a real broker: whatever happens to connections and channels, IMs come."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import pytest

from contract.message import (
    IM,
    IM_TYPE,
    encode_ims,
    headers_of,
)
from contract.topology import INGEST_EXCHANGE, QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    make_ims,
    parked,
    publish,
    running_worker,
    wait_until_empty,
    wait_until_stored,
)


def test_a_broker_that_was_killed_and_started_goes_on(
    own_broker: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(300)
    publish(own_broker, ims[:100])
    with running_worker(own_broker, database, tmp_path):
        wait_until_stored(database, ims[:100])
        own_broker.broker.kill()
        own_broker.broker.start()
        publish(own_broker, ims[100:])
        wait_until_stored(database, ims)
        wait_until_empty(own_broker)


def test_a_consumer_that_gets_nothing_though_ims_wait_connects_again(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    deaf = """
from pika.adapters.blocking_connection import BlockingChannel
consume, asked = BlockingChannel.basic_consume, []
def consume_deaf(channel, queue, *arguments, **named):
    asked.append(queue)
    return consume(channel, "lcslog.parked" if len(asked) == 1 else queue, *arguments, **named)
BlockingChannel.basic_consume = consume_deaf
"""
    ims = make_ims(3)
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path, patch=deaf):
        wait_until_stored(database, ims)
        wait_until_empty(vhost)


_HOLD_CHANNEL = """
[Pid] = [proplists:get_value(pid, Each) || Each <- rabbit_channel:info_all([pid, vhost, consumer_count]),
         proplists:get_value(vhost, Each) =:= <<"VHOST">>, proplists:get_value(consumer_count, Each) > 0],
ok = sys:suspend(Pid),
true = register('VHOST', Pid).
"""
_LOSE_DELIVERY = """
Lose = fun(State) -> receive {'$gen_cast', {queue_event, _, _}} -> State after 10000 -> exit(none) end end,
sys:replace_state('VHOST', Lose, 15000),
ok = sys:resume('VHOST').
"""
"""What befalls a message that a quorum queue's leader sends to a channel's node in the moment it dies."""


def test_an_im_that_the_broker_lost_sight_of_comes_with_the_next_channel(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(2)
    with running_worker(vhost, database, tmp_path, settings={"LCS_CHANNEL_SECONDS": "5"}):
        publish(vhost, ims[:1])
        wait_until_stored(database, ims[:1])
        vhost.broker.control("eval", _HOLD_CHANNEL.replace("VHOST", vhost.name))
        publish(vhost, ims[1:])
        vhost.broker.control("eval", _LOSE_DELIVERY.replace("VHOST", vhost.name))
        wait_until_stored(database, ims)
        wait_until_empty(vhost)


def test_a_worker_that_takes_new_channels_under_load_stores_everything_once(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    sent: list[IM] = []
    agent = uuid4()
    settings = {"LCS_CHANNEL_SECONDS": "1", "LCS_LOG_LEVEL": "DEBUG"}

    def load() -> bool:
        ims = make_ims(500, agent=agent, first_seq=len(sent) + 1)
        for place in range(0, len(ims), 25):
            publish(vhost, ims[place : place + 25])
        sent.extend(ims)
        return worker.log.read_text().count("took a channel") > 3

    with running_worker(vhost, database, tmp_path, settings=settings) as worker:
        wait_for(load, "the fourth channel", seconds=60)
        wait_until_stored(database, sent)
        wait_until_empty(vhost)
    assert parked(database) == []
    assert database.rows("SELECT missing FROM archive.completeness") == [(0,)]


def test_a_connection_that_fails_as_nobody_foresaw_is_made_anew(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    failing = """
from pika import BlockingConnection
process, calls = BlockingConnection.process_data_events, []
def fail_once(connection, *arguments, **named):
    calls.append(connection)
    if len(calls) == 2:
        raise KeyError("something inside pika")
    return process(connection, *arguments, **named)
BlockingConnection.process_data_events = fail_once
"""
    ims = make_ims(3)
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path, patch=failing):
        wait_until_stored(database, ims)
        wait_until_empty(vhost)


def test_a_connection_that_is_never_of_use_is_made_anew_ever_slower(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    failing = """
from pika import BlockingConnection
def fail(*arguments, **named):
    raise KeyError("something inside pika")
BlockingConnection.process_data_events = fail
"""
    with running_worker(vhost, database, tmp_path, patch=failing):
        wait_for(lambda: b'"retry_in":2.0' in (tmp_path / "worker.log").read_bytes(), "the longest pause")


class RawProperties(pika.BasicProperties):  # type: ignore[misc]  # pika ships no types
    """Properties of which pika writes some headers, ``at``, as it would never do."""

    as_: bytes
    """Their type, for that of an integer of eight bytes."""

    def encode(self) -> list[bytes]:
        """See pika."""
        return [b"".join(super().encode()).replace(b"\x02atl", b"\x02at" + self.as_)]


@pytest.mark.parametrize(
    "headers",
    [
        {"at": 1_800_000_000_000},  # a time in milliseconds: the year 59010
        {"nested": {"at": 1_800_000_000_000}, "list": [{"at": 1 << 62}]},
    ],
)
def test_headers_that_cannot_be_read_hold_nothing_up(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, headers: dict[str, Any]
) -> None:
    ims, unknown, last = make_ims(2), make_ims(2), make_ims(1)
    for type_, some in ((IM_TYPE, ims), ("lcs.im.v99", unknown)):
        properties = RawProperties(
            type=type_, headers=headers | headers_of(some), delivery_mode=2, user_id=FRONT_END_USER
        )
        properties.as_ = b"T"
        with vhost.connect("frontend") as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(INGEST_EXCHANGE, QUEUE, encode_ims(some), properties, mandatory=True)
    publish(vhost, last)
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, ims + last)
        wait_until_empty(vhost)
    [(body, reason, first, count, _)] = parked(database)
    assert (body, first, count) == (encode_ims(unknown), 1, 2)
    assert "unknown contract" in reason
