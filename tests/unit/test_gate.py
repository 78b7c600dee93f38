"""Every request is begun in its caller's turn, whatever it wants; strangers have one turn together."""

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from frontend.app import create_app
from frontend.config import FrontEndSettings
from frontend.listeners.connectors import Connectors
from frontend.listeners.gate import Gate
from frontend.listeners.turns import ROUND, Turns
from runtime.token import Connector, hash_token

FLOOD = 200
NOTICE = ("POST", "/v1/notices/01980000-0000-7000-8000-000000000000/delivered")


@pytest.mark.parametrize(
    ("token", "method", "path", "most"),
    [
        ("", "GET", "/metrics", 20),
        ("", "GET", "/none", 20),
        ("unknown", "POST", "/v1/messages", 20),
        ("elsewhere", "POST", "/v1/messages", 20),
        ("flood", "GET", "/metrics", 20),
        ("flood", "POST", "/v1/messages", 100),
        ("flood", *NOTICE, 100),
    ],
)
def test_a_request_waits_for_few_of_others_whatever_they_want(
    tmp_path: Path, token: str, method: str, path: str, most: int
) -> None:
    settings = FrontEndSettings(
        amqp_url="amqp://a@127.0.0.1:1/lcs", connectors_file=tmp_path, state_dir=tmp_path, pool="pool1"
    )
    connectors = [
        Connector(name=name, hash=hash_token(name), pool=pool)
        for name, pool in (("flood", "pool1"), ("one", "pool1"), ("elsewhere", "pool2"))
    ]
    answered: list[str] = []

    async def scenario() -> None:
        transport = httpx.ASGITransport(create_app(settings, connectors))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:

            async def ask(name: str, method: str, path: str) -> None:
                await client.request(method, path, headers={"Authorization": f"Bearer {name}"})
                answered.append(name)

            flood = [ask(token, method, path) for _ in range(2 * most)]
            await asyncio.gather(*flood, ask("one", *NOTICE))

    asyncio.run(scenario())
    assert answered.index("one") < most


@pytest.mark.parametrize(("method", "together"), [("POST", True), ("PUT", True), ("GET", False)])
def test_requests_that_bring_ims_share_a_round_wherever_a_listener_is(method: str, together: bool) -> None:
    connectors = Connectors("pool1", [Connector(name="one", hash=hash_token("one"), pool="pool1")])
    rounds: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        rounds.append(scope[ROUND])

    async def scenario() -> None:
        gate = Gate(app, connectors, Turns())

        async def ask() -> None:
            headers = [(b"authorization", b"Bearer one")]
            scope = {"type": "http", "method": method, "path": "/elsewhere", "headers": headers}
            await gate(scope, _nothing, _nobody)

        await asyncio.gather(*(ask() for _ in range(FLOOD)))

    asyncio.run(scenario())
    assert len(rounds) == FLOOD
    assert (len(set(rounds)) < FLOOD) == together


async def _nothing() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def _nobody(_: object) -> None:
    """Send nothing."""
