"""Every answer has an id that logs name; the security log names whoever is refused, not without end."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from starlette.routing import Route

from contract.message import make_id
from runtime.current_request import CURRENT, ServedRequest, note_caller, note_unknown
from runtime.listening import listen_with
from runtime.logs import _JsonFormatter
from runtime.problem import Problem, add_problem_handlers
from runtime.requests import NameRequests
from runtime.security import SecurityLog
from runtime.token import hash_token


class Lines(logging.Handler):
    """Log lines as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_JsonFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture(scope="module")
def lines() -> Iterator[list[dict[str, Any]]]:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


def serve(*requests: httpx.Request, client: tuple[str, int] = ("192.0.2.7", 4711)) -> list[httpx.Response]:
    """Answer requests with an application that refuses."""
    app = FastAPI()
    security = SecurityLog("test")
    app.add_middleware(NameRequests, security)
    add_problem_handlers(app)

    @app.get("/login/{name:path}")
    async def login(name: str) -> None:
        note_unknown(hash_token(name))
        raise Problem(401, "not known here")

    @app.get("/access")
    async def access() -> None:
        note_caller("the operator")
        logging.getLogger("admin-api").info("looked")
        raise Problem(403, "not for you")

    @app.get("/fail")
    async def fail() -> None:
        raise ValueError("a mistake")

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport) as asking:
            answers = [await asking.send(request) for request in requests]
        security.sum_up()
        return answers

    return asyncio.run(ask())


def get(path: str, **headers: str) -> httpx.Request:
    return httpx.Request("GET", f"http://here{path}", headers=headers)


def test_every_answer_has_an_id_of_its_own_whatever_the_caller_calls_it() -> None:
    paths = ["/access", "/login/a", "/fail", "/nowhere", "/access"]
    answers = serve(*(get(path, **{"X-Request-ID": "forged"}) for path in paths))
    assert [answer.status_code for answer in answers] == [403, 401, 500, 404, 403]
    named = [answer.headers.get_list("X-Request-ID") for answer in answers]
    assert all(len(ids) == 1 and UUID(ids[0]).version == 7 for ids in named)
    assert len({ids[0] for ids in named}) == len(paths)
    assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in answers)


def test_every_line_written_while_a_request_is_served_names_it(lines: list[dict[str, Any]]) -> None:
    lines.clear()
    access, fail = serve(get("/access"), get("/fail"))
    ids = {line["event"]: line["request"] for line in lines if line["service"] != "httpx"}
    assert ids["looked"] == ids["refused"] == access.headers["X-Request-ID"]
    assert ids["a request could not be served"] == fail.headers["X-Request-ID"]
    assert fail.headers["X-Request-ID"] in fail.json()["detail"]


def test_a_refusal_names_who_from_where_and_why(lines: list[dict[str, Any]]) -> None:
    lines.clear()
    before = (
        REGISTRY.get_sample_value("lcs_security_refusals_total", {"service": "test", "kind": "login"}) or 0
    )
    serve(get("/access"), get("/login/secret"))
    access, login = (line for line in lines if line["service"] == "security")
    common = {"service": "security", "event": "refused", "by": "test", "client": "192.0.2.7", "port": 4711}
    assert (
        access.items()
        >= (
            common | {"kind": "access", "caller": "the operator", "route": "/access", "why": "not for you"}
        ).items()
    )
    assert (
        login.items() >= (common | {"kind": "login", "method": "GET", "route": "/login/{name:path}"}).items()
    )
    assert hash_token("secret").startswith(login["token"])
    assert len(login["token"]) == len("sha256:") + 8
    assert "secret" not in json.dumps(login)
    after = REGISTRY.get_sample_value("lcs_security_refusals_total", {"service": "test", "kind": "login"})
    assert after == before + 1


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([401, 403]), st.integers(0, 50), st.integers(1, 400), st.integers(1, 30)),
        max_size=4,
    )
)
def test_however_many_are_refused_lines_are_few_and_none_is_uncounted(
    floods: list[tuple[int, int, int, int]],
) -> None:
    came = [
        (host, status)
        for status, first, hosts, times in floods
        for host in range(first, first + hosts)
        for _ in range(times)
    ]
    handler = Lines()
    logging.getLogger("security").addHandler(handler)

    async def refuse() -> None:
        security = SecurityLog("test")
        for host, status in came:
            security.refuse({"type": "http", "method": "GET", "client": (str(host), 1)}, status)
        security.sum_up()
        assert len(handler.lines) <= 300 + 302
        security.sum_up()

    asyncio.run(refuse())
    logging.getLogger("security").removeHandler(handler)
    assert sum(line.get("more", 1) for line in handler.lines) == len(came)
    for kind, status in (("login", 401), ("access", 403)):
        counted = sum(line.get("more", 1) for line in handler.lines if line["kind"] == kind)
        assert counted == sum(1 for _, each in came if each == status)


def test_no_known_caller_hides_behind_strangers_noise(lines: list[dict[str, Any]]) -> None:
    lines.clear()

    async def refuse() -> None:
        security = SecurityLog("test")
        for host in range(1000):
            security.refuse({"type": "http", "method": "GET", "client": (f"noise {host}", 1)}, 401)
        token = CURRENT.set(ServedRequest(make_id(), caller="mallory"))
        for number in range(1000):
            scope = {"type": "http", "method": "GET", "client": (f"192.0.2.{number}", 1)}
            security.refuse(scope, 403, "not for you")
        CURRENT.reset(token)
        security.sum_up()

    asyncio.run(refuse())
    known = [line for line in lines if line["service"] == "security" and line["kind"] == "access"]
    assert {line["caller"] for line in known} == {"mallory"}
    assert [line["client"] for line in known][:300] == [f"192.0.2.{number}" for number in range(300)]
    assert sum(line.get("more", 1) for line in known) == 1000


@pytest.mark.parametrize("im", ["v", "1", "notices", "e", "delivered"])
def test_a_caller_has_no_say_in_how_a_route_is_called(im: str, lines: list[dict[str, Any]]) -> None:
    lines.clear()
    app = FastAPI()
    app.add_middleware(NameRequests, SecurityLog("test"))
    add_problem_handlers(app)

    async def refuse(_: Request) -> None:
        raise Problem(401, "not known here")

    app.router.routes.append(Route("/v1/notices/{im}/delivered", refuse, methods=["POST"]))

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as asking:
            await asking.post(f"http://here/v1/notices/{im}/delivered")

    asyncio.run(ask())
    assert [line["route"] for line in lines if line["service"] == "security"] == [
        "/v1/notices/{im}/delivered"
    ]


@given(st.text(), st.text())
def test_what_callers_write_never_makes_a_line_of_its_own(name: str, detail: str) -> None:
    record = logging.makeLogRecord({"name": "security", "msg": "refused", "caller": name, "why": detail})
    line = _JsonFormatter().format(record)
    assert len(line.splitlines()) <= 1 or "\n" not in line
    assert json.loads(line)["why"] == detail


@pytest.mark.parametrize(
    ("proxies", "client"),
    [("", "127.0.0.1"), ("10.0.0.1", "127.0.0.1"), ("10.0.0.1,127.0.0.0/8", "198.51.100.9")],
)
def test_only_a_proxy_that_is_named_says_who_calls(
    proxies: str, client: str, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if proxies:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    app = FastAPI()
    app.add_middleware(NameRequests, SecurityLog("test"))
    add_problem_handlers(app)

    @app.get("/")
    async def refuse() -> None:
        raise Problem(401, "not known here")

    served = listen_with(app, "127.0.0.1", 0)
    served.load()

    async def ask() -> None:
        transport = httpx.ASGITransport(served.loaded_app, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport) as asking:
            await asking.get("http://here/", headers={"X-Forwarded-For": "203.0.113.66, 198.51.100.9"})

    lines.clear()
    asyncio.run(ask())
    assert [line["client"] for line in lines if line["service"] == "security"] == [client]
