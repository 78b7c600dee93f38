"""How far agents got is told to the admin API until it is noted, across kills and clean ends."""

import asyncio
import json
import random
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contract.policy import Decision
from contract.witness import AgentNumbers
from frontend.agents_file import read_agents
from frontend.config import FrontEndSettings
from frontend.numbering import Numbering
from frontend.publisher import UnknownError
from frontend.spool.slot import take_slot
from frontend.told import Told, ToldAgent, read_told
from frontend.witness import Witness
from tests.unit.agent_port import Port, make_im, reached, run

BEFORE, NOW = (str(UUID(int=number)) for number in (1, 2))
"""Incarnations of the archive."""
DECISION = Decision(archive=True, rule="internal-everyone", scope="internal", version=7)


def make_settings(folder: Path, admin_api_url: str | None) -> FrontEndSettings:
    """Return the settings of a front end."""
    return FrontEndSettings.model_validate(
        {
            "amqp_url": "amqp://nowhere",
            "connectors_file": folder / "none",
            "admin_api_url": admin_api_url,
            "admin_api_token": "frontend",
            "deadline_seconds": 0.5,
        }
    )


def make_numbering(folder: Path, port: Port, admin_api_url: str | None = "http://nowhere") -> Numbering:
    """Return the numbering of a front end whose slot is a folder."""
    settings = make_settings(folder, admin_api_url)
    return Numbering(settings, port, folder, None)  # type: ignore[arg-type]  # stands in


async def publish(numbering: Numbering) -> None:
    """Publish an IM."""
    async with numbering.publish_lock:
        await numbering.publish([(make_im("hello"), DECISION)])


def test_an_agent_that_ended_is_told_until_it_is_noted(tmp_path: Path) -> None:
    async def main() -> None:
        numbering = make_numbering(tmp_path, Port(None, None, UnknownError))
        first = numbering.id
        for _ in range(2):
            await publish(numbering)
        assert numbering.numbers() == [AgentNumbers(first, 2, False)]
        numbering.note_told(numbering.numbers(), NOW)
        with pytest.raises(UnknownError):
            await publish(numbering)
        await publish(numbering)
        ended = AgentNumbers(first, 2, True)
        assert numbering.numbers() == [AgentNumbers(numbering.id, 1, False), ended]
        assert read_agents(tmp_path) == {first: 2, numbering.id: 1}  # for who comes after a kill
        next_one = make_numbering(tmp_path, Port())
        assert set(next_one.numbers()) == {ended, AgentNumbers(numbering.id, 1, True)}
        next_one.note_told(next_one.numbers(), NOW)
        await next_one.publish_statements()
        assert next_one.numbers() == []
        assert read_agents(tmp_path) == {}

    asyncio.run(main())


@pytest.mark.parametrize("noted", [True, False])
def test_the_file_goes_when_all_is_said_and_told(tmp_path: Path, noted: bool) -> None:
    async def main() -> UUID:
        numbering = make_numbering(tmp_path, Port())
        await publish(numbering)
        await numbering.publish_last_statement()
        assert numbering.numbers() == [AgentNumbers(numbering.id, 1, True)]
        if noted:
            numbering.note_told(numbering.numbers(), NOW)
        return numbering.id

    agent = asyncio.run(main())
    assert read_agents(tmp_path) == ({} if noted else {agent: 1})


def test_without_an_admin_api_the_queue_alone_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        numbering = make_numbering(tmp_path, Port(), None)
        await publish(numbering)
        await numbering.publish_last_statement()
        assert not (tmp_path / "agents").exists()

    asyncio.run(main())


def leave_told(folder: Path) -> AgentNumbers:
    """Leave the slot of a front end whose agent said that it ended; the archive of before knows that."""

    async def main() -> AgentNumbers:
        numbering = make_numbering(folder, Port())
        await publish(numbering)
        await numbering.publish_last_statement()
        numbering.note_told(numbering.numbers(), BEFORE)
        return AgentNumbers(numbering.id, 1, True)

    ended = asyncio.run(main())
    assert read_agents(folder) == {}
    return ended


def test_an_agent_that_ended_is_told_again_to_an_archive_that_is_another(tmp_path: Path) -> None:
    ended = leave_told(tmp_path)
    for incarnation, told_next in ((BEFORE, []), ("", []), (NOW, [ended]), (NOW, [ended])):
        numbering = make_numbering(tmp_path, Port())
        assert numbering.numbers() == []
        numbering.note_told([], incarnation)
        assert numbering.numbers() == told_next  # not noted, so the next process tells it too
    numbering.note_told([], NOW)
    numbering.note_told(numbering.numbers(), NOW)
    assert numbering.numbers() == []
    again = make_numbering(tmp_path, Port())
    again.note_told([], NOW)
    assert again.numbers() == []


def test_what_an_admin_api_of_before_noted_is_told_again_once_it_says_where(tmp_path: Path) -> None:
    ended = leave_told(tmp_path)
    numbering = make_numbering(tmp_path, Port())
    numbering.note_told([ended], "")
    numbering.note_told([], BEFORE)
    assert numbering.numbers() == [ended]
    numbering.note_told([ended], BEFORE)
    assert numbering.numbers() == []


def test_an_agent_of_a_left_slot_is_told_again_by_who_adopts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    left = take_slot(tmp_path, "pool1", lambda _slot: None)
    ended = leave_told(left.folder)
    mine = take_slot(tmp_path, "pool1", lambda _slot: None)
    for slot in (left, mine):
        slot.release()

    async def adopt(_agent: object, _port: object) -> None:
        await reached(lambda: [each.agent for each in read_told(mine.folder)] == [ended.agent])
        await reached(lambda: read_told(left.folder) == [])

    run(adopt, folder=mine.folder)
    numbering = make_numbering(mine.folder, Port())
    numbering.note_told([], NOW)
    assert numbering.numbers() == [ended]


def test_what_is_kept_of_agents_that_ended_is_bounded(tmp_path: Path) -> None:
    now = int(time.time())
    told = Told()
    told.keep_in(tmp_path)
    told.add([ToldAgent(uuid4(), 1, BEFORE, now - 32 * 86_400), ToldAgent(uuid4(), 2, BEFORE, now)])
    assert [each.confirmed for each in read_told(tmp_path)] == [2]
    told.note({uuid4(): 3 for _ in range(10_000)}, BEFORE)
    assert [each.confirmed for each in read_told(tmp_path)] == [3] * 10_000


def test_damaged_records_of_agents_that_ended_say_nothing(tmp_path: Path) -> None:
    ended = leave_told(tmp_path)
    [whole] = read_told(tmp_path)
    assert whole.agent == ended.agent
    file = tmp_path / "told"
    content = file.read_bytes()
    for length in range(len(content)):  # as a power cut leaves it
        file.write_bytes(content[:length])
        assert read_told(tmp_path) in ([], [whole])
    for index in range(len(content) - 1):
        damaged = bytearray(content)
        damaged[index] = random.Random(index).randrange(256)
        file.write_bytes(damaged)
        assert read_told(tmp_path) in ([], [whole])
    file.unlink()
    file.mkdir()
    assert read_told(tmp_path) == []
    leave_told(tmp_path)  # it is kept nowhere, and nothing stops


def test_an_admin_api_that_says_no_incarnation_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.witness._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("frontend.witness._AGAIN_SECONDS", 0.01)
    ended = leave_told(tmp_path)
    noted = json.dumps({"incarnation": NOW}).encode()
    bodies = [b"", b"<html>", b"{}", b'{"incarnation": 7}', noted, noted]
    told: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [line.split()[1] for line in head.lower().splitlines() if b"content-length" in line]
        told.append(json.loads(await reader.readexactly(int(length)))["numbers"])
        body = bodies.pop(0)
        status = b"200 OK" if body else b"204 No Content"
        writer.write(
            b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        )
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            numbering = make_numbering(tmp_path, Port(), url)
            witness = asyncio.create_task(Witness(make_settings(tmp_path, url), numbering).run())
            await reached(lambda: not bodies)
            witness.cancel()
            await asyncio.gather(witness, return_exceptions=True)

    asyncio.run(main())
    again = [{"agent": str(ended.agent), "confirmed": 1, "ended": True}]
    assert told == [[], [], [], [], [], again]
