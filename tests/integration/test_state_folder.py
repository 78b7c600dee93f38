"""A front end whose state folder is not as it should be: what needs the broker alone goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.process import wait_for
from tests.conftest import Vhost
from tests.integration.conftest import BrokerLine
from tests.integration.frontend_service import IM, FrontEnd, ims_of
from tests.integration.test_frontend_spool import QUEUE, Start, is_normal, state_of, write_policy

AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all")
"""Root that may open no more files than another user."""
HASTY = "import frontend.safekeeping; frontend.safekeeping._ADOPT_SECONDS = 1.0\n"
"""A patch: slots that others left are looked after soon."""
ACCEPTED, CREATED, UNAVAILABLE = httpx.codes.ACCEPTED, httpx.codes.CREATED, httpx.codes.SERVICE_UNAVAILABLE


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of the test's own."""
    folder = tmp_path / "volume"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "lcs-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    unmount = ["umount", "--lazy", str(folder)]
    subprocess.run(unmount, check=False, capture_output=True)


def _metric(front_end: FrontEnd, name: str) -> bool:
    return any(
        line.startswith(name) and line.endswith(" 1.0")
        for line in front_end.http.get("/metrics").text.splitlines()
    )


@pytest.mark.parametrize("kind", ["a file", "nobody's", "another user's", "a link to nowhere"])
def test_a_state_folder_that_cannot_be_used_costs_the_spool_and_nothing_else(
    line: BrokerLine, start: Start, tmp_path: Path, kind: str
) -> None:
    state = tmp_path / "state"
    if kind == "a file":
        state.write_text("")
    elif kind == "a link to nowhere":
        state.symlink_to(tmp_path / "gone" / "x")
        (tmp_path / "gone").write_text("")
    else:
        state.mkdir()
        state.chmod(0 if kind == "nobody's" else 0o700)
        if kind == "another user's":
            os.chown(state, 12345, 12345)
    front_end = start(line.url, patch=HASTY, under=AS_ANYBODY, LCS_STATE_DIR=str(state))
    front_end.wait_until_ready()
    assert front_end.post(IM).status_code == CREATED
    assert "state" in state_of(front_end)["disk"]
    wait_for(lambda: _metric(front_end, "lcs_frontend_disk_trouble{"), "the metric")
    assert front_end.http.get("/metrics").status_code == httpx.codes.OK

    if state.is_dir():
        os.chown(state, 0, 0)
        state.chmod(0o700)
    else:
        state.unlink()
    write_policy(state, critical=False)
    wait_for(lambda: state_of(front_end)["disk"] == "", "the state folder")
    assert front_end.process.stop() == 0
    again = start(line.url, patch=HASTY, under=AS_ANYBODY, LCS_STATE_DIR=str(state))
    line.cut()
    wait_for(lambda: state_of(again)["state"] == "spooling", "the state")
    assert again.post(IM).status_code == ACCEPTED


def test_slots_of_another_user_are_left_alone(vhost: Vhost, start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("1", "2"):
        (state / name).mkdir(parents=True)
        (state / name / "lock").touch(0o600)
        os.chown(state / name / "lock", 12345, 12345)
    os.chown(state / "2", 12345, 12345)
    (state / "2").chmod(0o700)
    (state / "lost+found").mkdir(0o700)  # as the root of a disk has it
    os.chown(state / "lost+found", 12345, 12345)
    front_end = start(vhost.url("frontend"), patch=HASTY, under=AS_ANYBODY, LCS_STATE_DIR=str(state))
    front_end.wait_until_ready()
    assert front_end.post(IM).status_code == CREATED
    assert (state / "3" / "spool.sqlite").exists()
    wait_for(lambda: {"1", "2"} <= state_of(front_end)["left"].keys(), "the slots to be told of")
    assert state_of(front_end)["left"].keys() == {"1", "2"}
    assert state_of(front_end)["state"] == "normal"


def test_nothing_is_answered_202_once_the_state_folder_has_vanished(
    vhost: Vhost, line: BrokerLine, start: Start, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    write_policy(state, critical=False)
    front_end = start(line.url, patch=HASTY, LCS_STATE_DIR=str(state))
    front_end.wait_until_ready()
    line.cut()
    wait_for(lambda: state_of(front_end)["state"] == "spooling", "the state")
    ids = {front_end.post(IM).json()["id"]}
    state.rename(tmp_path / "away")
    assert front_end.post(IM).status_code == UNAVAILABLE
    wait_for(lambda: state_of(front_end)["state"] == "blocking", "the state")
    (tmp_path / "away").rename(state)
    wait_for(lambda: state_of(front_end)["state"] == "spooling", "the state")
    answer = front_end.post(IM)
    assert answer.status_code == ACCEPTED
    ids.add(answer.json()["id"])
    front_end.process.kill()
    again = start(line.url, patch=HASTY, LCS_STATE_DIR=str(state))
    line.mend()
    wait_for(lambda: is_normal(again), "the spool to be sent")
    assert ids <= {str(im.id) for im in ims_of(vhost.take(QUEUE))}


def test_a_volume_that_goes_and_comes_ends_nobody(line: BrokerLine, start: Start, volume: Path) -> None:
    write_policy(volume, critical=False)
    front_end = start(line.url, patch=HASTY, LCS_STATE_DIR=str(volume))
    front_end.wait_until_ready()
    unmount = ["umount", "--lazy", str(volume)]
    subprocess.run(unmount, check=True)
    wait_for(lambda: state_of(front_end)["disk"] != "", "the volume to be missed")
    for _ in range(5):
        assert front_end.post(IM).status_code == CREATED
    line.cut()
    wait_for(lambda: state_of(front_end)["state"] == "blocking", "the state")
    assert front_end.post(IM).status_code == UNAVAILABLE
    assert list(volume.iterdir()) == []
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "lcs-test", str(volume)]
    subprocess.run(mount, check=True)
    (volume / "1").mkdir()
    wait_for(lambda: state_of(front_end)["state"] == "spooling", "the volume")
    assert front_end.post(IM).status_code == ACCEPTED
    shutil.rmtree(volume / "1")
    wait_for(lambda: state_of(front_end)["state"] == "blocking", "the slot to be missed")


def test_a_front_end_starts_on_a_spool_that_sqlite_cannot_open(
    vhost: Vhost, line: BrokerLine, start: Start, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    write_policy(state, critical=False)
    line.cut()
    front_end = start(line.url, patch=HASTY, LCS_STATE_DIR=str(state))
    answers = [front_end.post(IM) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {ACCEPTED}
    front_end.process.kill()
    for path in (state / "1").glob("spool.sqlite*"):
        with path.open("r+b") as file:
            file.write(os.urandom(64))
    again = start(line.url, patch=HASTY, LCS_STATE_DIR=str(state))
    assert again.post(IM).status_code == ACCEPTED
    line.mend()
    wait_for(lambda: is_normal(again), "the spool to be sent")
    sent = [str(im.id) for im in ims_of(vhost.take(QUEUE))]
    assert len(sent) == 31
    assert {answer.json()["id"] for answer in answers} <= set(sent)
    wait_for(lambda: "damaged" in state_of(again)["left"].get("1", ""), "the damage to be told of")
