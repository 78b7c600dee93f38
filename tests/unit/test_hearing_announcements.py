"""Announcements of a new policy are heard again, whatever the broker does while a connection is opened."""

import asyncio
from pathlib import Path

import aio_pika
import pamqp.frame
import pytest
from pamqp import commands as amqp
from pamqp.common import FieldTable

from frontend.config import FrontEndSettings
from frontend.policy import policies
from frontend.policy.policies import Policies
from frontend.publisher import Publisher
from tests.unit.agent_port import reached

_PROPERTIES: FieldTable = {"capabilities": {"publisher_confirms": True}}
_ANSWERS = {
    "Connection.StartOk": amqp.Connection.Tune(100, 131_072, 10),
    "Connection.Open": amqp.Connection.OpenOk(),
    "Channel.Open": amqp.Channel.OpenOk(),
    "Confirm.Select": amqp.Confirm.SelectOk(),
    "Queue.Declare": amqp.Queue.DeclareOk("q", 0, 0),
    "Queue.Bind": amqp.Queue.BindOk(),
    "Basic.Consume": amqp.Basic.ConsumeOk("t"),
    "Connection.Close": amqp.Connection.CloseOk(),
}


class Broker:
    """Answers whoever opens a connection, but on the first one nothing from ``stalls_at`` on."""

    def __init__(self, stalls_at: str) -> None:
        self._stalls_at = stalls_at
        self._connections = 0
        self.consumed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        stalls = False
        received = await reader.readexactly(8)
        start = amqp.Connection.Start(0, 9, _PROPERTIES, "PLAIN", "en_US")
        writer.write(pamqp.frame.marshal(start, 0))
        received = b""
        while data := await reader.read(65_536):
            received += data
            while len(received) >= 7 and len(received) >= (end := int.from_bytes(received[3:7]) + 8):
                _, channel, frame = pamqp.frame.unmarshal(received[:end])
                received = received[end:]
                stalls = stalls or (self._connections == 1 and frame.name == self._stalls_at)
                if not stalls and frame.name in _ANSWERS:
                    writer.write(pamqp.frame.marshal(_ANSWERS[frame.name], channel))
                    if frame.name == "Basic.Consume":
                        self.consumed.set()
        writer.close()


def _policies(port: int) -> Policies:
    settings = FrontEndSettings(amqp_url=f"amqp://a:b@127.0.0.1:{port}/lcs", connectors_file=Path("none"))
    return Policies(settings, Path("none"))


@pytest.mark.parametrize("step", ["Channel.Open", "Queue.Declare", "Queue.Bind", "Basic.Consume"])
def test_a_broker_that_stalls_while_a_connection_is_opened_is_asked_again(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "_CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(policies, "_RETRY_SECONDS", 0.01)

    async def main() -> None:
        broker = Broker(step)
        server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
        async with server:
            hearing = asyncio.create_task(_policies(server.sockets[0].getsockname()[1])._hear_announcements())
            try:
                await asyncio.wait_for(broker.consumed.wait(), 5)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
            assert hearing.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize("part", ["announcements", "publisher"])
def test_a_connection_that_a_library_calls_cancelled_is_made_anew(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As aiormq does when what it waits for dies."""
    monkeypatch.setattr(policies, "_RETRY_SECONDS", 0.01)
    tries = 0

    async def connect(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise asyncio.CancelledError

    monkeypatch.setattr(aio_pika, "connect", connect)

    async def main() -> None:
        publisher = Publisher("amqp://nowhere", "test")
        running = asyncio.create_task(
            _policies(1)._hear_announcements() if part == "announcements" else publisher.run()
        )
        await reached(lambda: tries >= 3 or running.done())
        assert not running.done()
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        assert running.cancelled()

    asyncio.run(main())
