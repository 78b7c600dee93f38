"""What the tests of the archiving service share: IMs on the queue, a worker, and what it stored."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pika

from contract.message import (
    CONTENT_TYPE,
    IM,
    IM_TYPE,
    PEOPLE_HEADER,
    encode_ims,
    headers_of,
    make_id,
    time_of,
)
from contract.topology import INGEST_EXCHANGE, QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import Process, wait_for
from tests.conftest import ArchiveDatabase, Vhost

KILL_AT = "import os, signal\ndef die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
"""Python that defines ``die``, for the ``patch`` of ``running_worker``."""


def make_ims(count: int, *, agent: UUID | None = None, first_seq: int = 1, body: str = "hello") -> list[IM]:
    """Return IMs as one archiving agent would number them."""
    agent = agent or uuid4()
    ids = [make_id() for _ in range(count)]
    return [
        IM(
            id=im_id, sent_at=time_of(im_id), sender="sip:yannis@contoso.com",
            recipients=("sip:administrator@contoso.com",), conversation="c1", scope="internal",
            content_type="text/plain", encoding="text", body=body, pool="pool1", agent=agent,
            seq=first_seq + place, policy_version=1, rule="internal-everyone",
        )
        for place, im_id in enumerate(ids)
    ]  # fmt: skip


def changed(im: IM, **fields: object) -> IM:
    """Return an IM with other values in some fields."""
    return msgspec.structs.replace(im, **fields)


def publish(
    vhost: Vhost,
    ims: Sequence[IM],
    *,
    body: bytes | None = None,
    type_: str = IM_TYPE,
    user: str = "frontend",
    named: str | None = FRONT_END_USER,
) -> None:
    """Put one AMQP message on ``lcslog`` as a front end would, confirmed; ``body`` replaces the IMs'.

    ``user`` sends it, and names the user ``named`` in it.
    """
    with vhost.connect(user) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(
            type=type_,
            content_type=CONTENT_TYPE,
            headers=headers_of(ims) | {PEOPLE_HEADER: sum(len(im.recipients) for im in ims)},
            delivery_mode=2,
            user_id=named,
        )
        channel.basic_publish(
            INGEST_EXCHANGE, QUEUE, encode_ims(ims) if body is None else body, properties, mandatory=True
        )


def worker_environment(vhost: Vhost, database: ArchiveDatabase) -> dict[str, str]:
    """Return the settings of a worker."""
    return {
        "LCS_AMQP_URL": vhost.url("archiving"),
        "LCS_DATABASE_URL": database.url("lcs_archiving"),
        "LCS_PORT": "0",
    }


HASTY = "import archiving.session\narchiving.session._MAX_PAUSE = archiving.session.DOUBT_PAUSE = 0.1\n"
"""A patch: what fails is tried again at once, not ever slower."""


@contextlib.contextmanager
def running_worker(
    vhost: Vhost,
    database: ArchiveDatabase,
    folder: Path,
    *,
    patch: str = "",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Process]:
    """Run a worker; ``patch`` is Python that runs in its process first, to break it at a chosen point."""
    program = f"{patch}\nfrom archiving.__main__ import main; import sys; sys.argv[1:] = []; main()"
    environment = worker_environment(vhost, database) | dict(settings)
    process = Process("worker", [sys.executable, "-c", program], folder, environment)
    try:
        yield process
    finally:
        process.kill()


def run_command(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``python -m archiving COMMAND`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "archiving", *command.split()],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stored_ids(database: ArchiveDatabase) -> list[UUID]:
    """Return the ids of all archived IMs, in order."""
    return [UUID(str(row[0])) for row in database.rows("SELECT id FROM archive.messages ORDER BY id")]


def wait_until_stored(database: ArchiveDatabase, ims: Sequence[IM], *, seconds: float = 30) -> None:
    """Return when exactly these IMs are archived."""
    expected = sorted(im.id for im in ims)
    wait_for(lambda: stored_ids(database) == expected, f"{len(ims)} rows", seconds=seconds)


def parked(database: ArchiveDatabase) -> list[tuple[Any, ...]]:
    """Return body, reason, first number, count and state of what is parked, in order."""
    return database.rows("SELECT body, reason, first_seq, ims, state FROM archive.parked ORDER BY id")


def finish(worker: Process, vhost: Vhost) -> None:
    """Have a worker take all that waits in ``lcslog``, end it in order, and see that it left nothing.

    What it had taken and not acknowledged would be on the queue again; so would a batch of which it still
    gathers evidence.
    """
    wait_for(lambda: vhost.depth(QUEUE) == 0, "all to be taken")
    assert worker.stop() == 0
    assert vhost.depth(QUEUE) == 0


def wait_until_empty(vhost: Vhost) -> None:
    """Return when nothing waits in ``lcslog``, acknowledged or not: for a worker that goes on.

    It is seen by an operator's own look, which is up to a second old.
    """

    def empty() -> bool:
        queue = vhost.broker.manage("GET", f"/api/queues/{vhost.path}/{QUEUE}")
        return bool(queue.get("messages_ready") == queue.get("messages_unacknowledged") == 0)

    wait_for(empty, "an empty queue", every=0.2)
