"""What holds of every answer of both services, and of the page that shows their OpenAPI documents."""

import asyncio
import copy
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import admin_api.app
import frontend.app
from admin_api.config import AdminSettings
from frontend.config import FrontEndSettings
from runtime.listening import listen_with
from runtime.safe_headers import SAFE_HEADERS
from runtime.token import Connector, Principal, hash_token
from tests.openapi import bodies_of, example_of, objects_of

_NOWHERE = "amqp://fe-pool1@127.0.0.1:1/lcs"
_SAFE = {name.decode(): value.decode() for name, value in SAFE_HEADERS}
_ROLES = frozenset({"administrator", "compliance", "operator", "frontend"})


def _admin_api(folder: Path) -> FastAPI:
    settings = AdminSettings(
        database_url="postgresql://127.0.0.1:1/lcslog", amqp_url=_NOWHERE, principals_file=folder / "none"
    )
    token = hash_token("token")
    return admin_api.app.create_app(settings, {token: Principal(name="a", hash=token, roles=_ROLES)})


def _front_end(folder: Path) -> FastAPI:
    settings = FrontEndSettings(
        amqp_url=_NOWHERE, connectors_file=folder / "none", state_dir=folder / "state", pool="pool1"
    )
    connector = Connector(
        name="c", hash=hash_token("token"), pool="pool1", domains=frozenset({"contoso.com"})
    )
    return frontend.app.create_app(settings, [connector])


async def _fail(_: Any) -> Response:
    raise RuntimeError("nobody foresaw this")


async def _stream(_: Any) -> Response:
    return StreamingResponse(iter([b"a", b"b"]))


@pytest.fixture(params=[_admin_api, _front_end], ids=["admin-api", "front end"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> FastAPI:
    make: Callable[[Path], FastAPI] = request.param
    made = make(tmp_path)
    made.router.routes += [Route("/fail", _fail), Route("/stream", _stream)]
    return made


class Client:
    """Asks a service as it listens; its parts don't run."""

    def __init__(self, app: FastAPI) -> None:
        served: Any = listen_with(app, "127.0.0.1", 0).app
        transport = httpx.ASGITransport(served, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://service")
        self._runner = asyncio.Runner()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Return the answer. ``body``: becomes JSON."""
        return self._runner.run(self._http.request(method, path, json=body, headers=headers))

    def close(self) -> None:
        """End."""
        self._runner.close()


@pytest.fixture
def client(app: FastAPI) -> Iterator[Client]:
    client = Client(app)
    yield client
    client.close()


def _requests(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield method and path of every operation, of what is no operation, and of what there is not."""
    for path, operations in app.openapi()["paths"].items():
        for method in (*operations, "trace"):
            yield method.upper(), re.sub(r"\{[^}]*\}", "x", path)
    for path in (
        "/docs",
        "/docs/start.js",
        "/docs/swagger-ui.css",
        "/openapi.json",
        "/nowhere",
        "/fail",
        "/stream",
    ):
        yield "GET", path


def test_no_answer_is_kept_guessed_framed_or_run(app: FastAPI, client: Client) -> None:
    statuses = set()
    headers = [{}, {"Authorization": "Bearer token", "Content-Type": "text/x"}]
    for method, path in _requests(app):
        for sent in headers:
            answer = client.ask(method, path, **sent)
            statuses.add(answer.status_code)
            wanted = dict(_SAFE)
            if path == "/docs":
                wanted["content-security-policy"] = answer.headers["content-security-policy"]
            assert {name: ", ".join(answer.headers.get_list(name)) for name in _SAFE} == wanted, (
                method,
                path,
            )
    assert {200, 401, 404, 405, 500} <= statuses


def test_every_status_is_documented(app: FastAPI, client: Client) -> None:
    bodies = [
        {},
        {"Authorization": "Bearer token"},
        {"Authorization": "Bearer token", "Content-Encoding": "x"},
    ]
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            for sent in bodies:
                answer = client.ask(method.upper(), re.sub(r"\{[^}]*\}", "x", path), **sent)
                described = operation["responses"].get(str(answer.status_code))
                assert described is not None, (method, path, answer.status_code)
                kind = answer.headers.get("content-type", "").partition(";")[0]
                assert kind in (described.get("content") or {"": None}), (method, path, kind)


def test_no_object_in_a_body_has_a_field_that_nobody_knows_or_of_another_type(
    app: FastAPI, client: Client
) -> None:
    document = app.openapi()
    asked = 0
    for method, _, url, media_type, schema, _ in bodies_of(document):
        if media_type == "application/json":
            for place in objects_of(schema, document):
                fields = _object_at(place, example_of(schema, document))
                wrong = {name: "0" if type(value) is int else 0 for name, value in fields.items()}
                for name, value in (wrong | {"colour": "red"}).items():
                    body = copy.deepcopy(example_of(schema, document))
                    _object_at(place, body)[name] = value
                    answer = client.ask(method, url, body, Authorization="Bearer token")
                    assert answer.status_code == 422, (method, url, place, name, answer.text)
                    assert answer.json()["field"].startswith("/".join(("", *place, name))), answer.text
                    asked += 1
    assert asked


def _object_at(place: tuple[str, ...], body: Any) -> dict[str, Any]:
    for name in place:
        body = body[int(name) if isinstance(body, list) else name]
    found: dict[str, Any] = body
    return found


def test_a_path_with_a_slash_more_is_another_path(app: FastAPI, client: Client) -> None:
    for method, path in _requests(app):
        assert client.ask(method, f"{path}/").status_code != 307, (method, path)


def test_what_is_not_allowed_says_what_is(client: Client) -> None:
    answer = client.ask("DELETE", "/healthz")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.headers["content-type"] == "application/problem+json"


class _Links(HTMLParser):
    """The addresses that a page loads, and whether it has a script or a style of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline = False
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inline |= any(name == "style" or name.startswith("on") for name, _ in attrs)
        self._in = tag

    def handle_data(self, data: str) -> None:
        self.inline |= self._in in ("script", "style") and bool(data.strip())


def test_the_documentation_comes_from_the_service_alone(client: Client) -> None:
    page = client.ask("GET", "/docs")
    links = _Links()
    links.feed(page.text)
    types = {}
    for link in links.loaded:
        url = httpx.URL("http://service/docs").join(link)
        assert url.host == "service"
        types[link] = client.ask("GET", url.path).raise_for_status().headers["content-type"].partition(";")[0]
    assert sorted(types.values()) == ["image/png", "text/css", "text/javascript", "text/javascript"]
    assert not links.inline
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {source for sources in policy.values() for source in sources.split()} == {
        "'self'",
        "'none'",
        "data:",
    }
    assert policy["img-src"] == "'self' data:"
    assert client.ask("GET", "/redoc").status_code == 404


def test_the_page_keeps_no_token_and_asks_nobody(client: Client) -> None:
    script = client.ask("GET", "/docs/start.js").text
    assert "persistAuthorization: false" in script
    assert "validatorUrl: null" in script
    assert 'url: "openapi.json"' in script
