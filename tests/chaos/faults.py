"""Faults that befall the system as processes, under load: each leaves it whole."""

import contextlib
import random
import resource
import signal
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import httpx
import pika

from contract.message import AGENT_HEADER, COUNT_HEADER, FIRST_SEQ_HEADER, IM_TYPE, POOL_HEADER, make_id
from contract.topology import INGEST_EXCHANGE, QUEUE
from deploy.local.process import wait_for
from runtime.broker import BrokerAddress
from tests.chaos import restore
from tests.chaos.journal import SAFE
from tests.chaos.load import Load
from tests.chaos.processes import ProcessCase
from tests.chaos.proxy import Proxy

_HOUR: Final = 3600.0
_FILES: Final = 256
_STRANGERS: Final = 400
_EXTREMES: Final = (-(1 << 63), -1, 0, 1, 5, 1 << 31, (1 << 53) + 1, (1 << 63) - 3, (1 << 63) - 1)


@dataclass
class Situation:
    """What a fault befalls, and what it chooses by."""

    case: ProcessCase
    load: Load
    chance: random.Random


def restart_broker(now: Situation) -> None:
    """The broker is killed."""
    now.case.system.node.kill()
    now.case.system.node.start()


def cut(now: Situation) -> None:
    """All connections with broker and database are reset."""
    for proxy in (now.case.system.to_broker, now.case.system.to_database):
        assert proxy is not None
        proxy.cut()


def restart_front_end(now: Situation) -> None:
    """A front end is killed."""
    now.case.system.front_end().kill()
    now.case.system.restart_front_end()


def damage_spools(now: Situation) -> None:
    """The beginning of a spool, full as likely as not, is overwritten: SQLite can't open it any more."""
    now.case.system.front_end().kill()
    for path in now.case.system.slot("").glob("*/spool.sqlite"):
        with path.open("r+b") as file:
            file.write(bytes(64))
    now.case.system.restart_front_end()


def restart_worker(now: Situation) -> None:
    """The worker is killed."""
    now.case.system.end_worker()
    now.case.system.start_worker("archiving-1")


def freeze(now: Situation) -> None:
    """Worker, front end and broker stand still for a moment."""
    system = now.case.system
    for process in (system.worker(), system.front_end(2)):
        process.send(signal.SIGSTOP)
    system.node.pause()
    system.node.resume()
    for process in (system.worker(), system.front_end(2)):
        process.send(signal.SIGCONT)


def restart_database(now: Situation) -> None:
    """The database is killed."""
    now.case.system.server.kill()
    now.case.system.server.start()


def restore_archive(now: Situation) -> None:
    """The archive is restored, with other numbers for all names."""
    restore.restore_archive(now.case)


def restore_policy(now: Situation) -> None:
    """Policy is restored from a backup made two changes ago; then front ends have what it says now."""
    backup = restore.dump(now.case, "policy")
    for critical in (True, False):
        now.case.system.make_critical(critical)
    with now.case.system.session() as connection, connection.transaction():
        restore.restore(connection, backup, "policy")
    now.case.system.make_critical(now.chance.random() < 0.5)


def step_clocks(now: Situation) -> None:
    """A front end's clock is set ahead by hours, then back, then right again; no time in an id is refused."""
    for ahead in (now.chance.uniform(1, 100) * _HOUR, -now.chance.uniform(1, 250), 0):
        now.case.system.set_clock(ahead, now.chance.choice((1, 2)))
        now.load.wait_for_safe(10)
    for number in (1, 2):
        now.case.system.set_clock(0, number)


def set_clock_back(now: Situation) -> None:
    """A front end's clock is set back by hours, later forward again: the ids that it makes stay in order."""
    system, number = now.case.system, now.chance.choice((1, 2))
    system.front_end(number).kill()  # one that has run may have shown a later time before
    system.restart_front_end(number)
    url = system.urls()[number - 1]
    ids = _send(now, url, 10)
    system.set_clock(-now.chance.uniform(1, 23) * _HOUR, number)
    now.load.wait_for_answer(422, 10)  # the load's own ids are too far ahead of that clock
    ids += _send(now, url, 10)
    now.load.wait_for_safe(20)  # at the other one
    system.set_clock(0, number)
    right = make_id()
    while ids[-1] < right:
        ids += _send(now, url, 10)
    assert ids == sorted(ids), f"the ids that front end {number} made are not in order"


def take_descriptors(now: Situation) -> None:
    """Strangers hold open more connections than a front end may have descriptors."""
    process = now.case.system.front_end()
    port = int(now.case.system.urls()[0].rpartition(":")[2])
    before = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE, (_FILES, before[1]))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(_STRANGERS):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            now.load.wait_for_safe(30)
    finally:
        resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE, before)
    assert process.alive


def leave_slots(now: Situation) -> None:
    """A front end finds slots that others left: one with IMs that were answered 202, one that is no spool."""
    system = now.case.system
    system.make_critical(False)
    system.node.kill()
    system.wait_for_state("spooling")
    now.load.wait_for_answer(202, 10)
    system.front_end().kill()
    name = uuid4().hex[:8]
    system.slot("1").rename(system.slot(f"left-{name}"))
    junk = system.slot("1")  # where it starts
    junk.mkdir()
    (junk / "spool.sqlite").write_bytes(now.chance.randbytes(8192))
    system.node.start()
    system.restart_front_end()
    wait_for(lambda: not _ims_in(system.slot(f"left-{name}")), "what was left to be adopted", seconds=90)


def leave_slot_of_another_pool(now: Situation) -> None:
    """A front end finds what one of another pool left: it tells of that until one of its pool comes."""
    system, pool = now.case.system, "pool2"
    to_broker = Proxy(system.node.amqp_port)
    url = system.start_front_end_of(pool, to_broker.port)
    confirmed = _send(now, url, 10, pool, status=201)
    to_broker.close()
    spooled = _send(now, url, 10, pool, status=202)
    system.processes.pop(pool).kill()
    told = f"{len(spooled)} IMs and 1 agents wait for a front end of pool {pool!r}"
    wait_for(lambda: told in _left_beside(now), f"{told}: {system.states()}", seconds=90)
    now.load.wait_for_safe(30)
    assert not set(spooled) & set(system.archived()), "another pool's IMs were sent"
    system.start_front_end_of(pool, system.node.amqp_port)
    wait_for(
        lambda: not system.missing(confirmed + spooled),
        "what another pool's front end left to be archived",
        seconds=60,
    )
    wait_for(lambda: told not in _left_beside(now), "what waits no more to be told of no more")
    assert system.processes.pop(pool).stop() == 0


def _left_beside(now: Situation) -> list[str]:
    return [why for state in now.case.system.states() for why in state["left"].values()]


def _send(now: Situation, url: str, number: int, pool: str = "pool1", *, status: int = 0) -> list[UUID]:
    """Send IMs that bring no id until so many are safe, by ``status`` unless it is 0; return their ids."""
    journal = now.case.journal
    sent: list[UUID] = []
    headers = {"Authorization": f"Bearer {now.case.system.tokens['connector']}"}
    im = {"sender": "user1@contoso.com", "recipients": ["administrator@contoso.com"], "body": "no id"}

    def send() -> bool:
        answer = client.post("/v1/messages", json=im)
        im_id = UUID(answer.json()["id"])
        journal.apart[im_id] = ("sip:user1@contoso.com", pool)
        journal.note_sent([im_id])
        journal.note_answer(im_id, answer.status_code)
        if answer.status_code == status or (not status and answer.status_code in SAFE):
            sent.append(im_id)
        return len(sent) == number

    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        wait_for(send, f"{number} IMs made safe at {url}", seconds=60, every=0)
    return sent


def _ims_in(slot: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{slot / 'spool.sqlite'}?mode=ro", uri=True)) as spool:
        try:
            return int(spool.execute("SELECT count(*) FROM spool").fetchone()[0])
        except sqlite3.OperationalError:
            return 1  # whoever adopts it has it for himself


def forge_headers(now: Situation) -> None:
    """A front end's broker user sends messages whose headers say what cannot be."""
    url = now.case.system.address_of_front_end()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(5):
            agent = uuid4()
            now.case.journal.forged.add(agent)
            headers = {
                COUNT_HEADER: now.chance.choice(_EXTREMES),
                FIRST_SEQ_HEADER: now.chance.choice(_EXTREMES),
                AGENT_HEADER: now.chance.choice((str(agent), "nobody", "")),
                POOL_HEADER: now.chance.choice(("pool1", "pool2", "x" * 5000)),
            }
            properties = pika.BasicProperties(type=IM_TYPE, headers=headers, user_id=BrokerAddress(url).user)
            channel.basic_publish(INGEST_EXCHANGE, QUEUE, b"no IM", properties)
    now.load.wait_for_safe(20)


def slow_admin_api(now: Situation) -> None:
    """The admin API is slow, then takes everything and says nothing, then cuts all off."""
    proxy = now.case.system.to_admin
    assert proxy is not None
    try:
        proxy.delay = now.chance.uniform(0.1, 0.5)
        now.load.wait_for_safe(20)
        proxy.black_hole()
        now.load.wait_for_safe(20)
    finally:
        proxy.delay = 0
        proxy.mend()
        proxy.cut()


FAULTS: Final[dict[str, Callable[[Situation], None]]] = {
    "broker": restart_broker,
    "cut": cut,
    "front end": restart_front_end,
    "damaged spools": damage_spools,
    "worker": restart_worker,
    "freeze": freeze,
    "database": restart_database,
    "restored archive": restore_archive,
    "restored policy": restore_policy,
    "clocks": step_clocks,
    "clock set back": set_clock_back,
    "descriptors": take_descriptors,
    "slots": leave_slots,
    "slot of another pool": leave_slot_of_another_pool,
    "forged headers": forge_headers,
    "slow admin API": slow_admin_api,
}
