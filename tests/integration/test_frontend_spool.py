"""A front end of a pool that isn't critical, beside a broker that goes and comes."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from contract.message import AGENT_TYPE, decode_statement, make_id
from contract.policy import GlobalSetting, PolicySettings, PolicyUser, Pool
from deploy.local.process import find_free_port, wait_for
from tests.conftest import Vhost
from tests.integration.frontend_service import IM, FrontEnd, ims_of

QUEUE = "lcslog"
Start = Callable[..., FrontEnd]


def write_policy(state: Path, *, critical: bool, setting: GlobalSetting = GlobalSetting.EVERYONE) -> None:
    """Leave a snapshot where the front end that starts next on a state folder finds it."""
    slot = state / "1"
    slot.mkdir(parents=True)
    header = PolicySettings(
        version=5,
        since=0,
        internal=setting,
        federated=GlobalSetting.NONE,
        domains=frozenset({"contoso.com"}),
        pools=(Pool(name="pool1", critical=critical),),
    )
    users = [PolicyUser("sip:administrator@contoso.com", 1)]
    (slot / "policy.ndjson").write_bytes(b"\n".join(map(msgspec.json.encode, [header, *users])))


def state_of(front_end: FrontEnd) -> dict[str, Any]:
    """Return what a front end says of itself."""
    document: dict[str, Any] = front_end.http.get("/readyz").json()
    return document


def is_normal(front_end: FrontEnd) -> bool:
    """Whether everything spooled has been sent."""
    state = state_of(front_end)
    return bool(state["state"] == "normal" and state["spooled"] == 0)


def test_what_is_answered_202_survives_a_kill_and_is_sent_in_order(
    own_broker: Vhost, start: Start, tmp_path: Path
) -> None:
    write_policy(tmp_path / "fe" / "state", critical=False)
    front_end = start(own_broker.url("frontend"))
    front_end.wait_until_ready()
    assert front_end.post(IM | {"body": "confirmed"}).status_code == httpx.codes.CREATED
    own_broker.broker.kill()
    wait_for(lambda: state_of(front_end)["state"] == "spooling", "the state")
    assert "out of reach" in state_of(front_end)["why"]
    answer = front_end.post(IM | {"body": "0"})
    assert answer.status_code == httpx.codes.ACCEPTED
    assert (answer.json()["archived"], answer.json()["spooled"]) == (True, True)
    answers = front_end.stream(
        [json.dumps(IM | {"body": str(number), "id": str(make_id())}).encode() for number in range(1, 2000)]
    )
    assert {answer["status"] for answer in answers} == {202}
    front_end.process.kill()

    again = start(own_broker.url("frontend"))
    assert state_of(again)["spooled"] == 2000
    assert again.post(IM | {"body": "2000"}).status_code == httpx.codes.ACCEPTED
    own_broker.broker.start()
    wait_for(lambda: is_normal(again), "the spool to be sent")
    assert again.post(IM | {"body": "after"}).status_code == httpx.codes.CREATED
    assert (
        'lcs_frontend_drained_ims_total{front_end="fe1",pool="pool1"} 2001.0'
        in again.http.get("/metrics").text
    )
    stored = [im.body for im in ims_of(own_broker.take(QUEUE))]
    assert stored == ["confirmed", *map(str, range(2001)), "after"]


def test_nobody_else_can_read_what_a_front_end_keeps(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "fe" / "state"
    write_policy(state, critical=False)
    (state / "1").chmod(0o755)  # as an earlier version made it
    nowhere = f"amqp://frontend~pool1:x@127.0.0.1:{find_free_port()}/lcs"
    front_end = start(nowhere, under=["sh", "-c", 'umask 022; exec "$@"', "sh"])
    assert front_end.post(IM).status_code == httpx.codes.ACCEPTED
    assert stat.S_IMODE((state / "1").stat().st_mode) == 0o700
    kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state / "1").iterdir()}
    del kept["policy.ndjson"]  # the test's own
    assert "spool.sqlite" in kept
    assert set(kept.values()) == {0o600}


def test_a_front_end_told_to_end_while_its_spool_is_sent_says_how_far_it_got(
    own_broker: Vhost, start: Start, tmp_path: Path
) -> None:
    write_policy(tmp_path / "fe" / "state", critical=False)
    own_broker.broker.kill()
    front_end = start(own_broker.url("frontend"), LCS_PUBLISH_IMS="1")
    answers = front_end.stream([json.dumps(IM).encode()] * 5000)
    assert {answer["status"] for answer in answers} == {202}
    own_broker.broker.start()
    wait_for(lambda: state_of(front_end)["confirmed"] > 100, "the spool to be sent in part")
    assert front_end.process.stop(signal.SIGTERM) == 0
    queued = own_broker.take(QUEUE)
    [*_, statement] = [decode_statement(each.body) for each in queued if each.properties.type == AGENT_TYPE]
    ims = ims_of(queued)
    assert statement.ended
    assert [(im.agent, im.seq) for im in ims] == [(statement.agent, seq + 1) for seq in range(len(ims))]
    assert statement.confirmed == len(ims) < 5000
    again = start(own_broker.url("frontend"))
    wait_for(lambda: is_normal(again), "the rest to be sent")
    sent = {str(im.id) for im in [*ims, *ims_of(own_broker.take(QUEUE))]}
    assert sent == {answer["id"] for answer in answers}


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """A disk in a file, mounted on a folder."""
    folder.mkdir()
    _run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def test_what_was_answered_202_outlives_a_power_cut(own_broker: Vhost, start: Start, tmp_path: Path) -> None:
    """What a disk has at an instant is what a power cut leaves: not what the system still meant to write."""
    disk, left = tmp_path / "disk", tmp_path / "left"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    try:
        _run("mkfs.ext4", "-q", str(disk))
        before = mounted(disk, tmp_path / "before")
        state = before.__enter__()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a disk in a file")
    with contextlib.ExitStack() as disks:
        disks.push(before.__exit__)
        write_policy(state, critical=False)
        os.sync()
        own_broker.broker.kill()
        front_end = start(own_broker.url("frontend"), LCS_STATE_DIR=str(state))
        lines = [json.dumps(IM | {"id": str(make_id())}).encode() for _ in range(300)]
        answers = front_end.stream(lines)
        answers += [front_end.post(IM).json() for _ in range(20)]
        shutil.copyfile(disk, left)
        assert {answer["status"] for answer in answers} == {202}
        front_end.process.kill()
        after = disks.enter_context(mounted(left, tmp_path / "after"))
        again = start(own_broker.url("frontend"), "again", LCS_STATE_DIR=str(after))
        own_broker.broker.start()
        wait_for(lambda: is_normal(again), "the spool to be sent")
        again.process.stop()
    stored = {str(im.id) for im in ims_of(own_broker.take(QUEUE))}
    assert stored == {answer["id"] for answer in answers}


def test_a_broker_that_stands_still_costs_202_and_no_im_is_lost(
    own_broker: Vhost, start: Start, tmp_path: Path
) -> None:
    write_policy(tmp_path / "fe" / "state", critical=False)
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="0.5")
    front_end.wait_until_ready()
    own_broker.broker.pause()
    try:
        ids = [str(make_id()) for _ in range(5)]
        assert {front_end.post(IM | {"id": each}).status_code for each in ids} == {httpx.codes.ACCEPTED}
    finally:
        own_broker.broker.resume()
    wait_for(lambda: is_normal(front_end), "the spool to be sent")
    assert {str(im.id) for im in ims_of(own_broker.take(QUEUE))} == set(ids)


def test_in_a_critical_pool_only_what_must_be_archived_is_blocked(
    own_broker: Vhost, start: Start, tmp_path: Path
) -> None:
    write_policy(tmp_path / "fe" / "state", critical=True, setting=GlobalSetting.PER_USER)
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="0.5")
    front_end.wait_until_ready()
    own_broker.broker.kill()
    blocked = front_end.post(IM)
    assert (blocked.status_code, blocked.headers["retry-after"]) == (503, "1")
    assert front_end.post(IM | {"recipients": ["nora@contoso.com"]}).status_code == httpx.codes.OK
    readiness = front_end.http.get("/readyz")
    assert (readiness.status_code, readiness.json()["state"]) == (503, "blocking")
    assert (
        'lcs_frontend_state{front_end="fe1",pool="pool1",state="blocking"} 1.0'
        in front_end.http.get("/metrics").text
    )
    own_broker.broker.start()
    wait_for(lambda: front_end.post(IM).status_code == httpx.codes.CREATED, "the broker again")
    assert front_end.process.stop(signal.SIGTERM) == 0
