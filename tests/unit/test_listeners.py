"""A listener more is a class and an entry: all that IMs need on their way in is there for it."""

import asyncio
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from fastapi import Request, Response
from starlette.routing import Route

import frontend.app
from frontend.config import FrontEndSettings
from frontend.listeners.listener import Listener
from frontend.listeners.reception import Reception
from frontend.listeners.submission import Submission, check_submission
from frontend.policy.file import write_policy
from frontend.spool.file import SpoolFile
from runtime.token import Connector, hash_token
from tests.unit.agent_port import Policies

PAGER = Connector(name="pager", hash=hash_token("token"), pool="pool1", domains=frozenset({"contoso.com"}))


class PagerListener(Listener):
    """Takes the text of an IM for whoever has the pager; also one that nobody asks for, from ``run``."""

    operations: ClassVar = {"/v1/pager": {"put": {"summary": "May this text be shown on the pager?"}}}
    made: ClassVar[list["PagerListener"]] = []

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self.routes = [Route("/v1/pager", self.receive, methods=["PUT"])]
        self.came = asyncio.Queue[str]()
        self.fates = asyncio.Queue[str]()
        self.stopped = False
        self.made.append(self)

    async def receive(self, request: Request) -> Response:
        connector = self._reception.connectors.identify(request)
        async with self._reception.intake.request(request, connector) as text:
            im = check_submission(self._submission_of(text.decode()), len(text), self._reception.settings)
            answer = await self._reception.take_in(im, connector, request)
        return Response(answer.rule, answer.status)

    async def run(self) -> None:
        agent, settings = self._reception.agent, self._reception.settings
        while True:
            im = check_submission(self._submission_of(await self.came.get()), 0, settings)
            receipt = agent.submit(im, PAGER, agent.lane_of(PAGER))
            self.fates.put_nowait((await receipt.settled()).kind)

    def stop(self) -> None:
        self.stopped = True

    @staticmethod
    def _submission_of(text: str) -> Submission:
        return Submission(sender="desk@contoso.com", recipients=["pager@contoso.com"], body=text)


def test_a_third_listener_hands_over_ims_through_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.app.LISTENERS", (*frontend.app.LISTENERS, PagerListener))
    policy = Policies(critical=False).current
    slot = tmp_path / "1"
    slot.mkdir()
    write_policy(slot, policy, 0)
    settings = FrontEndSettings(
        amqp_url="amqp://a@127.0.0.1:1/lcs", connectors_file=tmp_path, state_dir=tmp_path, pool="pool1"
    )

    async def scenario() -> None:
        app = frontend.app.create_app(settings, [PAGER])
        [listener] = PagerListener.made
        assert app.openapi()["paths"]["/v1/pager"] == PagerListener.operations["/v1/pager"]
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
        async with app.router.lifespan_context(app), client, asyncio.timeout(20):
            assert (await client.put("/v1/pager", content="one")).status_code == httpx.codes.UNAUTHORIZED
            client.headers["Authorization"] = "Bearer token"
            answer = await client.put("/v1/pager", content="one")
            assert (answer.status_code, answer.text) == (httpx.codes.ACCEPTED, "internal-everyone")
            listener.came.put_nowait("two")
            assert await listener.fates.get() == "spooled"
            assert not listener.stopped
            app.state.stop()
            assert listener.stopped
            refused = await client.put("/v1/pager", content="three")
            assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE

    asyncio.run(scenario())
    assert SpoolFile(slot / "spool.sqlite").count == 2


def test_the_documented_operations_are_the_routes_of_the_listeners(tmp_path: Path) -> None:
    settings = FrontEndSettings(
        amqp_url="amqp://a@127.0.0.1:1/lcs", connectors_file=tmp_path, state_dir=tmp_path, pool="pool1"
    )
    app = frontend.app.create_app(settings, [PAGER])
    there = {
        (method.lower(), route.path)
        for route in app.routes
        if isinstance(route, Route) and not route.path.startswith(("/docs", "/openapi.json"))
        for method in route.methods or ()
    }
    assert there == {(method, path) for path, item in app.openapi()["paths"].items() for method in item}
