"""Who a request is from and whether its route is theirs is asked before anybody reads its body."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from admin_api.access import admission, bulkheads
from admin_api.app import create_app
from admin_api.config import AdminSettings
from admin_api.http import fields
from runtime.json_text import check_names
from runtime.token import Principal, hash_token
from tests.integration.admin.conftest import NO_BROKER, ROLES
from tests.integration.admin.test_access import ADMINISTRATOR, ALLOWED, FRONTEND, PLACES
from tests.openapi import admin_document, bodies_of, resolve

CHUNK: Final = b" " * 4096
BULK: Final = 100_000
WITH_A_BODY: Final = {(method, path) for method, path, *_ in bodies_of(admin_document())}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


def make_app() -> FastAPI:
    admin_settings = AdminSettings(
        database_url="postgresql://127.0.0.1:1", amqp_url=NO_BROKER, principals_file="/", bulk_bytes=BULK
    )
    return create_app(
        admin_settings,
        {hash_token(role): Principal(name=role, hash="", roles=frozenset({role})) for role in ROLES},
    )


class Caller:
    """Sends a request and counts how much of its body is taken."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.taken = 0

    async def request(
        self, method: str, path: str, token: str | None, body: Iterable[bytes], media_type: str
    ) -> tuple[int, bytes]:
        headers = [(b"content-type", media_type.encode())]
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        chunks = iter(body)
        sent: list[Message] = []

        async def receive() -> Message:
            chunk = next(chunks, None)
            if chunk is None:
                return {"type": "http.request", "body": b"", "more_body": False}
            self.taken += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path.format(**PLACES),
            "query_string": b"",
            "headers": headers,
        }
        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def ask(
    app: FastAPI,
    route: tuple[str, str],
    token: str | None,
    body: Iterable[bytes],
    media_type: str = "application/json",
) -> tuple[int, bytes, int]:
    """Return a request's status, answer, and the bytes that were taken of its body."""
    caller = Caller(app)
    status, answer = asyncio.run(caller.request(*route, token, body, media_type))
    return status, answer, caller.taken


def endless() -> Iterator[bytes]:
    while True:
        yield CHUNK


def test_of_a_stranger_and_of_a_wrong_role_no_byte_is_read_on_any_route(app: FastAPI) -> None:
    for route, allowed in ALLOWED.items():
        for token in (None, "unknown"):
            status, _, taken = ask(app, route, token, endless())
            assert (status, taken) == (401, 0), (route, token)
        for role in set(ROLES) - allowed:
            status, _, taken = ask(app, route, role, endless())
            assert (status, taken) == (403, 0), (route, role)


LIMITS: Final = {
    ("PATCH", "/v1/policy/users"): BULK,
    ("PUT", "/v1/policy/connectors/{name}"): admission.LARGE,
    ("PUT", "/v1/policy/disclaimer"): admission.LARGE,
    ("POST", "/v1/disclaimers"): admission.LARGE,
    ("POST", "/v1/front-ends/{name}/numbers"): admission.LARGE,
}
"""Bytes of a body, on routes that take more than others."""


def test_a_body_that_may_name_a_thousand_may_be_large() -> None:
    document = admin_document()
    naming = set()
    for method, path, _, _, schema, _ in bodies_of(document):
        fields = resolve(schema, document).get("properties", {}).values()
        lengths = [resolve(field, document) for field in fields]
        if any(max(each.get("maxItems", 0), each.get("maxProperties", 0)) >= 1000 for each in lengths):
            naming.add((method, path))
    assert naming == LIMITS.keys() - {("PATCH", "/v1/policy/users")}


def test_a_body_without_end_is_refused_at_the_routes_limit(app: FastAPI) -> None:
    for route in WITH_A_BODY:
        kind = "text/csv" if route[0] == "PATCH" else "application/json"
        for role in ALLOWED[route]:
            status, answer, taken = ask(app, route, role, endless(), kind)
            limit = LIMITS.get(route, 65_536)
            assert (status, str(limit) in answer.decode()) == (413, True), route
            assert limit < taken <= limit + len(CHUNK), route


def test_a_body_that_its_route_does_not_want_is_not_kept(app: FastAPI) -> None:
    status, _, taken = ask(app, ("GET", "/v1/policy"), ADMINISTRATOR, [CHUNK])
    assert (status, taken) == (503, 0)


def test_a_body_that_comes_too_slowly_is_given_up(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_SECONDS", 0.0)
    never = asyncio.Event()

    async def drip() -> int:
        sent: list[Message] = []

        async def receive() -> Message:
            await never.wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "PUT",
            "path": "/v1/policy/cdr",
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer administrator")],
        }
        await app(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(drip()) == 408


def test_unfinished_bodies_of_one_principal_are_bounded_and_others_go_on(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_MOST_UNFINISHED", 3 * len(CHUNK))
    document = json.dumps({"archive": "nothing"}).encode()
    path = "/v1/policy/global/internal"

    async def unfold() -> list[int]:
        held = [asyncio.Event() for _ in range(4)]
        statuses = []

        async def hold(one: asyncio.Event) -> int:
            sent: list[Message] = []
            messages = iter([(CHUNK, True), (document, False)])

            async def receive() -> Message:
                body, more = next(messages)
                if not more:
                    await one.wait()
                return {"type": "http.request", "body": body, "more_body": more}

            async def send(message: Message) -> None:
                sent.append(message)

            scope = {
                "type": "http",
                "method": "PUT",
                "path": path,
                "query_string": b"",
                "headers": [(b"authorization", b"Bearer administrator")],
            }
            await app(scope, receive, send)
            return int(sent[0]["status"])

        tasks = [asyncio.create_task(hold(one)) for one in held]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        statuses += [task.result() for task in done]
        other = await Caller(app).request(
            "POST", "/v1/disclaimers/{im}/told", FRONTEND, [CHUNK, b"{}"], "application/json"
        )
        statuses.append(other[0])
        for one in held:
            one.set()
        statuses += [await task for task in tasks if task not in done]
        again = await Caller(app).request("PUT", path, ADMINISTRATOR, [CHUNK, document], "application/json")
        return [*statuses, again[0]]

    assert asyncio.run(unfold()) == [503, 422, 422, 422, 422, 422]


def test_a_large_body_is_read_in_a_thread_and_others_are_not(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def note(domain: str) -> str:
        threads.append(threading.current_thread())
        return domain

    monkeypatch.setattr(fields, "parse_domain", note)
    for count in (10, 1_000, 9_000):
        document = {"domains": [f"{n}.contoso.com" for n in range(count)]}
        route = ("PUT", "/v1/policy/connectors/{name}")
        status, *_ = ask(app, route, ADMINISTRATOR, [json.dumps(document).encode()])
        assert status == 503  # there is no database
        assert {thread is threading.main_thread() for thread in threads} == {count == 10}
        threads.clear()


def test_bodies_of_one_person_are_parsed_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkheads, "_WAIT_SECONDS", 60.0)
    lock, parsing, most = threading.Lock(), 0, list[int]()

    def note(body: bytes) -> None:
        nonlocal parsing
        assert threading.current_thread() is not threading.main_thread()
        with lock:
            parsing += 1
            most.append(parsing)
        check_names(body)
        with lock:
            parsing -= 1

    monkeypatch.setattr(admission, "check_names", note)
    document = json.dumps({"x": [{"a": 1}] * 6_000}).encode()

    async def flood() -> list[int]:
        app = make_app()
        asked = (
            Caller(app).request("PUT", "/v1/policy/cdr", ADMINISTRATOR, [document], "application/json")
            for _ in range(20)
        )
        return [status for status, _ in await asyncio.gather(*asked)]

    assert asyncio.run(flood()) == [422] * 20
    assert len(most) == 20
    assert max(most) <= 4


@pytest.mark.parametrize(
    ("path", "name", "many"),
    [
        ("/v1/policy/connectors/{name}", "domains", [1] * 10_001),
        ("/v1/policy/disclaimer", "partners", {f"{n}.example": 1 for n in range(10_001)}),
        ("/v1/policy/disclaimer", "wordings", {f"l{n}": 1 for n in range(10_001)}),
    ],
    ids=["domains", "partners", "wordings"],
)
def test_of_too_many_none_is_looked_at(app: FastAPI, path: str, name: str, many: object) -> None:
    document = json.dumps({"enabled": True, name: many}).encode()
    status, answer, _ = ask(app, ("PUT", path), ADMINISTRATOR, [document])
    problem = json.loads(answer)
    assert (status, problem["field"]) == (422, f"/{name}")
    assert "at most 10000" in problem["detail"]


nested: Final = st.sampled_from(
    [lambda n: b"[" * n, lambda n: b"[" * n + b"]" * n, lambda n: b'{"archive":' * n + b"1" + b"}" * n]
)


@settings(max_examples=25, deadline=None)
@given(nested, st.integers(0, 5_000))
def test_however_deep_a_body_is_nested_it_is_the_callers_error(
    app: FastAPI, make: Callable[[int], bytes], depth: int
) -> None:
    status, *_ = ask(app, ("PUT", "/v1/policy/global/{scope}"), ADMINISTRATOR, [make(depth)])
    assert status in (400, 422)


@settings(max_examples=25, deadline=None)
@given(st.text(), st.lists(st.integers(1, 50), max_size=5))
def test_a_body_is_handed_on_as_it_came_in_whatever_parts(app: FastAPI, text: str, cuts: list[int]) -> None:
    body = json.dumps({"archive": text}).encode()
    parts = []
    for cut in cuts:
        parts.append(body[:cut])
        body = body[cut:]
    status, answer, _ = ask(app, ("PUT", "/v1/policy/global/{scope}"), ADMINISTRATOR, [*parts, body])
    problem: dict[str, Any] = json.loads(answer)
    if text in ("none", "everyone", "per_user"):
        assert status == 503  # there is no database
    else:
        assert (status, problem["field"]) == (422, "/archive")
