"""A trial finds what ends the process that stores it, and nothing else guilty."""

import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from pika.spec import BasicProperties

import archiving.trial
from archiving.archive import Archive
from archiving.delivery import Delivery
from archiving.evidence import NoVerdictError
from archiving.trial import find_killers
from contract.message import IM, IM_TYPE, encode_ims, headers_of
from deploy.credentials import FRONT_END_USER
from tests.conftest import ArchiveDatabase
from tests.integration.archiving_service import changed, make_ims, parked, stored_ids

IN_CHILD = "import os, sys, time\nif sys.orig_argv[-1:] == ['trial']:\n"
"""Python that runs first in a child process alone."""
MANY = 40
DIE_AT = (
    "    import archiving.batch as batch\n"
    "    decode = batch.decode_ims\n"
    "    batch.decode_ims = lambda body: {} if b'killer' in body else decode(body)\n"
)


class Trials:
    """Runs trials of messages, with children that are broken in some way."""

    def __init__(self, database: ArchiveDatabase, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.database = database
        self._folder = folder
        self._patch = patch
        patch.setenv("LCS_DATABASE_URL", database.url("lcs_archiving"))
        patch.setenv("PYTHONPATH", str(folder))

    def break_children(self, how: str) -> None:
        """Have Python run in each child before all else; empty: they are whole again."""
        (self._folder / "sitecustomize.py").write_text(IN_CHILD + (how or "    pass\n"))

    def run(self, ims: Sequence[IM]) -> list[tuple[int, str]]:
        """Try each IM as a message; return the numbers of those found guilty, and how they end a process."""
        deliveries = [
            Delivery(
                0, place, BasicProperties(type=IM_TYPE, headers=headers_of([im]), user_id=FRONT_END_USER),
                encode_ims([im]),
            )
            for place, im in enumerate(ims)
        ]  # fmt: skip
        archive = Archive(self.database.url("lcs_archiving"))
        try:
            guilty = find_killers(deliveries, lambda _: archive.rehearse())
        finally:
            archive.close()
        return [(delivery.tag, how) for delivery, how in guilty]


@pytest.fixture
def trials(database: ArchiveDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Trials on a database of the test's own."""
    return Trials(database, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "how",
    [
        "    sys.exit(1)\n",
        "    os.kill(os.getpid(), 9)\n",
        "    sys.modules['psycopg'] = None\n",
        "    os.environ['LCS_DATABASE_URL'] = 'postgresql://lcs_archiving:wrong@127.0.0.1:1/lcslog'\n"
        "    import archiving.trial; archiving.trial._AWAY_SECONDS = 0.1\n",
        "    import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 26, 1 << 26))\n",
        "    print('done'); sys.exit(0)\n",
        "executable",
    ],
    ids=["fails", "killed", "broken", "secret", "memory", "talks", "executable"],
)
def test_a_child_that_cannot_begin_finds_nobody_guilty(
    trials: Trials, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ims = make_ims(MANY)
    with monkeypatch.context() as patch:
        if how == "executable":
            patch.setattr(sys, "executable", "/nonexistent/python")
        else:
            trials.break_children(how)
        with pytest.raises(NoVerdictError):
            trials.run(ims)
    assert parked(trials.database) == []
    trials.break_children("")
    assert trials.run(ims) == []
    assert stored_ids(trials.database) == sorted(im.id for im in ims)


@pytest.mark.parametrize("places", [{17}, {0, MANY - 1}, {10, 11}])
def test_true_killers_among_many_are_found(trials: Trials, places: set[int]) -> None:
    trials.break_children(DIE_AT.format("os._exit(9)"))
    ims = make_ims(MANY)
    for place in places:
        ims[place] = changed(ims[place], body="killer")
    assert trials.run(ims) == [(place, "exit code 9") for place in sorted(places)]
    good = [im for place, im in enumerate(ims) if place not in places]
    assert stored_ids(trials.database) == sorted(im.id for im in good)


def test_one_that_hangs_is_found(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving.trial, "_SECONDS", 10.0)
    trials.break_children(DIE_AT.format("time.sleep(600)"))
    ims = make_ims(3)
    ims[1] = changed(ims[1], body="killer")
    assert trials.run(ims) == [(1, "silent for 10 s")]
    assert stored_ids(trials.database) == sorted([ims[0].id, ims[2].id])


def test_one_that_waits_for_a_lock_is_not_guilty(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving.trial, "_SECONDS", 8.0)
    trials.break_children(
        "    from archiving.archive import Archive\n"
        "    Archive.rehearse = lambda *_, **__: None\n"  # it begins, and then the lock is there
    )
    ims = make_ims(2)
    with psycopg.connect(trials.database.url("postgres")) as lock:
        lock.execute("LOCK TABLE archive.agents IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(NoVerdictError, match="lock"):
            trials.run(ims)
    assert trials.run(ims) == []
    assert parked(trials.database) == []


@pytest.mark.parametrize("signal", [9, 15])
def test_one_death_is_no_verdict(trials: Trials, tmp_path: Path, signal: int) -> None:
    once = tmp_path / "once"
    trials.break_children(
        DIE_AT.format(f"os.kill(os.getpid(), {signal}) if not os.path.exists({str(once)!r})"
                      f" and open({str(once)!r}, 'w') else decode(body)")
    )  # fmt: skip
    ims = make_ims(20)
    ims[5] = changed(ims[5], body="killer")
    if signal == 15:  # somebody ended it
        with pytest.raises(NoVerdictError):
            trials.run(ims)
    assert trials.run(ims) == []
    assert stored_ids(trials.database) == sorted(im.id for im in ims)


def test_a_death_between_messages_is_no_verdict(trials: Trials) -> None:
    trials.break_children(
        "    import archiving.trial as trial\n"
        "    say, said = trial._report, []\n"
        "    def broken(line):\n"
        "        say(line); said.append(line)\n"
        "        if len(said) == 6: os.kill(os.getpid(), 9)\n"
        "    trial._report = broken\n"
    )
    ims = make_ims(20)
    with pytest.raises(NoVerdictError):
        trials.run(ims)
    assert parked(trials.database) == []
    assert len(stored_ids(trials.database)) == 3
