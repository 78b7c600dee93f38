"""How far agents got is told to the admin API until it is noted, across kills and clean ends."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from contract.policy import Decision
from frontend.config import FrontEndSettings
from frontend.numbering import AgentNumbers, Numbering, read_agents
from frontend.publisher import UnknownError
from tests.unit.agent_port import Port, make_im

DECISION = Decision(archive=True, rule="internal-everyone", scope="internal", version=7)


def make_numbering(folder: Path, port: Port, admin_api_url: str | None = "http://nowhere") -> Numbering:
    """Return the numbering of a front end whose slot is a folder."""
    settings = FrontEndSettings.model_validate(
        {
            "amqp_url": "amqp://nowhere",
            "connectors_file": folder / "none",
            "admin_api_url": admin_api_url,
            "deadline_seconds": 0.5,
        }
    )
    return Numbering(settings, port, folder, None)  # type: ignore[arg-type]  # stands in


async def publish(numbering: Numbering) -> None:
    """Publish an IM."""
    async with numbering.turn:
        await numbering.publish([(make_im("hello"), DECISION)])


def test_an_agent_that_ended_is_told_until_it_is_noted(tmp_path: Path) -> None:
    async def main() -> None:
        numbering = make_numbering(tmp_path, Port(None, None, UnknownError))
        first = numbering.id
        for _ in range(2):
            await publish(numbering)
        assert numbering.numbers() == [AgentNumbers(first, 2, False)]
        numbering.note_told(numbering.numbers())
        with pytest.raises(UnknownError):
            await publish(numbering)
        await publish(numbering)
        ended = AgentNumbers(first, 2, True)
        assert numbering.numbers() == [AgentNumbers(numbering.id, 1, False), ended]
        assert read_agents(tmp_path) == {first: 2, numbering.id: 1}  # for who comes after a kill
        next_one = make_numbering(tmp_path, Port())
        assert set(next_one.numbers()) == {ended, AgentNumbers(numbering.id, 1, True)}
        next_one.note_told(next_one.numbers())
        await next_one.say()
        assert next_one.numbers() == []
        assert read_agents(tmp_path) == {}

    asyncio.run(main())


@pytest.mark.parametrize("noted", [True, False])
def test_the_file_goes_when_all_is_said_and_told(tmp_path: Path, noted: bool) -> None:
    async def main() -> UUID:
        numbering = make_numbering(tmp_path, Port())
        await publish(numbering)
        await numbering.end()
        assert numbering.numbers() == [AgentNumbers(numbering.id, 1, True)]
        if noted:
            numbering.note_told(numbering.numbers())
        return numbering.id

    agent = asyncio.run(main())
    assert read_agents(tmp_path) == ({} if noted else {agent: 1})


def test_without_an_admin_api_the_queue_alone_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        numbering = make_numbering(tmp_path, Port(), None)
        await publish(numbering)
        await numbering.end()
        assert not (tmp_path / "agents").exists()

    asyncio.run(main())
