"""What the tests of the archiving agent share: an agent over a port that answers as the test says."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from contract.message import AGENT_TYPE, IM, IM_TYPE, AgentStatement, decode_ims, decode_statement
from contract.policy import NO_DISCLAIMER, Decision, GlobalSetting, Policy, PolicySettings, Pool
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.listeners.submission import read_submission
from frontend.publisher import UnknownError
from frontend.receipt import Fate, Receipt
from frontend.spool.slot import Slot
from frontend.spool.spool import Spool, SpooledIM
from runtime.token import Connector

SETTINGS = FrontEndSettings(amqp_url="amqp://nowhere", connectors_file=Path("none"))
CONNECTOR = Connector(name="c", hash="", pool="pool1", domains=frozenset({"contoso.com"}))


class Port:
    """In the publisher's place: each publish meets the next of ``fates``; when none is left, a confirm."""

    def __init__(self, *fates: type[Exception] | None) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.fates = list(fates)
        self.confirmed: list[IM] = []
        self.statements: list[AgentStatement] = []
        self.messages = 0
        self.trouble = "out of reach, says the test"
        self.gate = asyncio.Event()
        """Nothing is published while it isn't set."""
        self.gate.set()
        self.closes_after: int | None = None
        """How many AMQP messages of IMs may pass before the gate closes."""

    async def publish(self, body: bytes, _headers: object, type_: str, _id: str, *, seconds: float) -> None:
        if self.messages == self.closes_after:
            self.gate.clear()
            self.closes_after = None
        try:
            async with asyncio.timeout(seconds):
                await self.gate.wait()
        except TimeoutError:
            raise UnknownError("as the test says") from None
        fate = self.fates.pop(0) if self.fates else None
        if fate is not None:
            raise fate("as the test says")
        if type_ == IM_TYPE:
            self.messages += 1
            self.confirmed += decode_ims(body)
        elif type_ == AGENT_TYPE:
            self.statements.append(decode_statement(body))


class Policies:
    """In the policies' place."""

    disclaimer = NO_DISCLAIMER

    def __init__(self, setting: GlobalSetting = GlobalSetting.EVERYONE, *, critical: bool) -> None:
        self._setting = setting
        self.make_critical(critical)

    def keep_in(self, _slot: Path) -> None:
        """It is kept nowhere."""

    def make_critical(self, critical: bool) -> None:
        """Change the pool."""
        self.current = Policy(
            PolicySettings(
                version=7,
                since=0,
                internal=self._setting,
                federated=self._setting,
                domains=frozenset({"contoso.com"}),
                pools=tuple(Pool(name=name, critical=critical) for name in ("pool1", "pool2")),
                disclaimer=self.disclaimer,
            ),
            users={},
        )


def run(
    scenario: Callable[[Agent, Port], Awaitable[None]],
    *fates: type[Exception] | None,
    setting: GlobalSetting = GlobalSetting.EVERYONE,
    critical: bool = True,
    policies: Policies | None = None,
    folder: Path | None = None,
    **settings: Any,
) -> None:
    """Run a scenario; ``fates`` are what the first publishes meet, ``folder`` is the agent's slot."""

    async def main() -> None:
        port = Port(*fates)
        fixed: dict[str, Any] = {
            "amqp_url": "amqp://nowhere",
            "connectors_file": Path("none"),
            "deadline_seconds": 0.5,
        }
        made = FrontEndSettings(**(fixed | settings))
        slot = Slot(folder or Path(temporary))
        spool = Spool(made)
        spool.open(slot)
        agent = Agent(
            made,
            policies or Policies(setting, critical=critical),  # type: ignore[arg-type] # stands in
            port,  # type: ignore[arg-type] # stands in
            spool,
        )
        task = asyncio.create_task(agent.run())
        await asyncio.sleep(
            0
        )  # it begins: else a scenario that never waits ends before, and nothing is closed
        try:
            await asyncio.wait_for(scenario(agent, port), 10)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            slot.release()

    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main())


def encode_spooled(body: str, pool: str = "") -> bytes:
    """Return an IM as it stands in a spool."""
    decision = Decision(archive=True, rule="internal-everyone", scope="internal", version=7)
    return msgspec.json.encode(SpooledIM(make_im(body), decision, pool))


def submit(agent: Agent, body: str = "hello", im_id: UUID | None = None) -> Receipt:
    """Hand an agent an IM."""
    return agent.submit(make_im(body, im_id), CONNECTOR, agent.lane_of(CONNECTOR))


def make_im(body: str, im_id: UUID | None = None, **fields: Any) -> CheckedIM:
    """Return an IM of this moment."""
    document = {"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": body, **fields}
    if im_id is not None:
        document["id"] = str(im_id)
    return read_submission(json.dumps(document).encode(), SETTINGS)


async def outcome(receipt: Receipt) -> str:
    """Return why an IM could not be made safe, empty if the broker confirmed it."""
    fate = await fate_of(receipt)
    assert fate.kind != "spooled"
    return fate.why


async def fate_of(receipt: Receipt) -> Fate:
    """Return what became of an IM."""
    return await receipt.settled()


async def reached(condition: Callable[[], bool]) -> None:
    """Return when a condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what the tests look at has no events
            await asyncio.sleep(0.01)
