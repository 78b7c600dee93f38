"""Announcements: a change is told through the broker at once, and the API never waits for the broker."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pika

from contract.topology import POLICY_EXCHANGE
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, running_api


class Listener:
    """Listens as a front end does: on a queue of its own, bound to the fanout."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self._channel = connection.channel()
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, POLICY_EXCHANGE)

    def hear(self, *, seconds: float = 10) -> bytes:
        """Return the next announcement."""
        for method, _, body in self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=seconds):
            assert method is not None, "no announcement"
            return bytes(body)
        raise AssertionError("the consumer was cancelled")


@contextlib.contextmanager
def listening(vhost: Vhost) -> Iterator[Listener]:
    with vhost.connect("frontend") as connection:
        yield Listener(connection)


def broker_ready(api: AdminApi) -> bool:
    return bool(api.anybody.get("/readyz").json()["broker"] == "ready")


def test_each_new_version_is_told_within_a_second(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    with (
        running_api(database, tmp_path, amqp_url=vhost.url("admin-api")) as api,
        listening(vhost) as listener,
    ):
        wait_for(lambda: broker_ready(api), "the broker")
        started = time.monotonic()
        api.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        assert listener.hear() == b"2"
        assert time.monotonic() - started < 1
        api.administrator.put("/v1/policy/domains/contoso.com")  # changes nothing: nothing to tell
        api.administrator.delete("/v1/policy/domains/contoso.com").raise_for_status()
        assert listener.hear() == b"3"
        line = b'{"address":"anna@contoso.com","archive_internal":true}'
        headers = {"Content-Type": "application/x-ndjson"}
        api.administrator.patch("/v1/policy/users", content=line, headers=headers).raise_for_status()
        assert listener.hear() == b"4"


def test_changes_are_made_while_the_broker_is_down_and_told_when_it_is_back(
    own_broker: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    with running_api(database, tmp_path, amqp_url=own_broker.url("admin-api")) as api:
        wait_for(lambda: broker_ready(api), "the broker")
        own_broker.broker.stop()
        wait_for(lambda: not broker_ready(api), "the broker's end to be noticed")
        for name in ("contoso", "litware"):
            api.administrator.put(f"/v1/policy/domains/{name}.com", timeout=5).raise_for_status()
        own_broker.broker.start()
        # What was announced meanwhile may be told before anybody can listen again: a later change is heard.
        with listening(own_broker) as listener:
            wait_for(lambda: broker_ready(api), "the broker to be found again")
            api.administrator.put("/v1/policy/domains/fabrikam.com").raise_for_status()
            while (version := listener.hear()) != b"4":
                assert version == b"3"
