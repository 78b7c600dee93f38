"""That partners were told is recorded; nothing waits for what is refused, or for who is away."""

import asyncio
import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import HttpUrl

from contract.policy import Disclaimer
from frontend.config import FrontEndSettings
from frontend.listeners.submission import read_submission
from frontend.policy import notice_records
from frontend.policy.decisions import Decisions
from frontend.policy.disclaimers import Disclaimers
from frontend.receipt import CONFIRMED, Receipt
from tests.unit.agent_port import CONNECTOR, SETTINGS, Policies, reached


class AdminApi:
    """Answers each request with a status, after ``seconds``, and notes the claims."""

    def __init__(self) -> None:
        self.status = 200
        self.refused: dict[str, int] = {}
        """Statuses for claims of some conversations."""
        self.seconds = 0.0
        self.answers = asyncio.Event()
        """Nothing is answered while it isn't set."""
        self.answers.set()
        self.drips = False
        """Whether its answers begin and never end, byte by byte."""
        self.claims: list[Any] = []
        self.taken: set[str] = set()
        """Conversations of claims that it answered 200."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower().splitlines()
                length = next(line for line in head if line.startswith(b"content-length"))
                self.claims.append(json.loads(await reader.readexactly(int(length.partition(b":")[2]))))
                await asyncio.sleep(self.seconds)
                await self.answers.wait()
                conversation = self.claims[-1]["conversation"]
                status = self.refused.get(conversation, self.status)
                if status == 200:
                    self.taken.add(conversation)
                while self.drips:
                    writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 1000000\r\n\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.05)
                body = b'{"partners":[]}'
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()


class Told(Policies):
    """A policy with a disclaimer."""

    disclaimer = Disclaimer(enabled=True, wordings={"en": "Is archived."})


async def _tell(told: Disclaimers, policies: Told, number: int) -> None:
    """Have a partner told."""
    assert len((await _claim(told, policies, number)).notices) == 1


async def _claim(told: Disclaimers, policies: Told, number: int, connector: str = "c") -> Receipt:
    """Bring an IM to a partner; return what is answered."""
    document = {
        "sender": "a@contoso.com", "recipients": [f"p{number}@partner.example"], "body": "hello",
    }  # fmt: skip
    im = read_submission(json.dumps(document).encode(), SETTINGS)
    receipt = Receipt(im.id, Decisions("pool1").decide(policies.current, im, CONNECTOR), CONFIRMED)
    accompanied = told.accompany(im, receipt, connector)
    await accompanied.settled()
    return accompanied


async def _started(api: AdminApi) -> tuple[asyncio.Server, Disclaimers, Told, "asyncio.Task[None]"]:
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = FrontEndSettings(
        amqp_url="amqp://nowhere",
        connectors_file=Path("none"),
        admin_api_url=HttpUrl(f"http://127.0.0.1:{port}"),
        admin_api_token="frontend",
    )
    policies = Told(critical=True)
    told = Disclaimers(settings, policies)  # type: ignore[arg-type] # stands in
    running = asyncio.create_task(told.run())
    await asyncio.sleep(0.01)
    return server, told, policies, running


def test_a_front_end_that_ends_records_what_is_left_if_it_is_taken() -> None:
    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.status = 503
            for number in range(3):
                await _tell(told, policies, number)
            await reached(lambda: len(api.claims) == 2)  # the claim itself, and the first try to record it
            await asyncio.sleep(0.05)
            api.status = 200
            api.claims.clear()
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=3)
            assert done
            assert len(api.claims) == 3

    asyncio.run(main())


@pytest.mark.parametrize("status", [503, 404])
def test_a_front_end_that_ends_does_not_wait_for_an_admin_api_that_is_away(status: int) -> None:
    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.status = status
            for number in range(3):
                await _tell(told, policies, number)
            await reached(lambda: len(api.claims) == 2)
            await asyncio.sleep(0.05)
            api.claims.clear()
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=3)
            assert done
            assert len(api.claims) == 1  # that it is away is known then

    asyncio.run(main())


def test_a_front_end_that_ends_does_not_wait_long_for_a_slow_admin_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notice_records, "_AWAY_SECONDS", 0.5)

    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.status = 503
            await _tell(told, policies, 0)
            for number in range(1, 20):
                await _tell(told, policies, number)
            api.status, api.seconds = 200, 0.2
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=3)
            assert done

    asyncio.run(main())


def test_no_im_waits_for_an_admin_api_whose_answer_never_ends() -> None:
    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.drips = True
            async with asyncio.timeout(5):
                await _tell(told, policies, 0)
            running.cancel()
            await asyncio.wait({running}, timeout=8)
            api.drips = False

    asyncio.run(main())


def _conversation(number: int) -> str:
    return f"p2p:sip:a@contoso.com|sip:p{number}@partner.example"


@pytest.mark.parametrize("status", [400, 422, 500, 503])
def test_a_claim_that_is_refused_for_ever_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(notice_records, "_AWAY_SECONDS", 0.01)

    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.status = 503
            for number in range(5):
                await _tell(told, policies, number)
            api.refused, api.status = {_conversation(0): status, _conversation(2): status}, 200
            await reached(lambda: api.taken == {_conversation(number) for number in (1, 3, 4)})
            running.cancel()
            await asyncio.wait({running}, timeout=3)

    asyncio.run(main())


@pytest.mark.parametrize("status", [422, 500])
def test_what_never_can_be_recorded_is_given_up_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    monkeypatch.setattr(notice_records, "_AWAY_SECONDS", 0.001)

    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            before = _figure("lcs_frontend_notices_lost_total")
            api.refused = {_conversation(0): status}
            await _tell(told, policies, 0)
            for number in range(1, 100):
                if _figure("lcs_frontend_notices_waiting") == 0:
                    break
                api.status = 503  # so that its partner is told, and another's claim waits and is taken
                await _tell(told, policies, number)
                api.status = 200
                await reached(partial(_is_taken, api, number))
            assert _figure("lcs_frontend_notices_lost_total") == before + 1
            assert _figure("lcs_frontend_notices_waiting") == 0
            assert "not recorded who was told" in caplog.text
            running.cancel()
            await asyncio.wait({running}, timeout=3)

    asyncio.run(main())


def _is_taken(api: AdminApi, number: int) -> bool:
    return _conversation(number) in api.taken


def _figure(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


def test_a_connector_has_so_many_claims_asked_at_once_and_another_s_goes_beside_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notice_records, "_CLAIM_SECONDS", 20.0)

    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.answers.clear()
            flood = [asyncio.create_task(_claim(told, policies, number, "flood")) for number in range(60)]
            await reached(lambda: len(api.claims) >= 20)
            one = asyncio.create_task(_claim(told, policies, 60, "one"))
            await reached(lambda: api.claims[-1]["connector"] == "one")
            assert len(api.claims) == 21
            api.answers.set()
            await asyncio.gather(*flood, one)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_what_one_connector_has_waiting_is_not_lost_to_another_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice_records, "_MAX_WAITING", 10)
    monkeypatch.setattr(notice_records, "_AWAY_SECONDS", 0.2)

    async def main() -> None:
        api = AdminApi()
        server, told, policies, running = await _started(api)
        async with server:
            api.status = 503
            await _claim(told, policies, 0, "one")
            for number in range(1, 20):
                await _claim(told, policies, number, "flood")
            api.claims.clear()
            api.status = 200
            await reached(lambda: any(claim["connector"] == "one" for claim in api.claims))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
