"""What a front end answers, and what of it is on the queue: all these tests ask one front end."""

import gzip
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from contract.message import AGENT_TYPE, make_id
from contract.topology import QUEUE
from deploy.local.broker import Broker
from tests.conftest import Vhost, declare
from tests.integration.frontend_service import IM, NDJSON, TOKEN, FrontEnd, ims_of, resident_bytes
from tests.openapi import bodies_of


@pytest.fixture(scope="module")
def running(
    broker: Broker, credentials: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Vhost, FrontEnd]]:
    """A front end without a policy, and its vhost."""
    declared = declare(broker, f"answers-{uuid4()}", credentials)
    front_end = FrontEnd(tmp_path_factory.mktemp("answers"), declared.url("frontend"))
    front_end.wait_until_ready()
    yield declared, front_end
    front_end.process.kill()
    broker.forget_vhost(declared.name)


@pytest.fixture
def vhost(running: tuple[Vhost, FrontEnd]) -> Vhost:
    """The front end's vhost, without what was sent before: but how far its agent got may still be said."""
    running[0].take(QUEUE)
    return running[0]


@pytest.fixture
def front_end(running: tuple[Vhost, FrontEnd]) -> FrontEnd:
    """The front end."""
    return running[1]


@pytest.mark.parametrize(
    ("headers", "content", "status", "why"),
    [
        ({}, b"{", 400, "invalid JSON"),
        ({}, json.dumps({"sender": "x"}).encode(), 422, "recipients"),
        ({}, json.dumps(IM | {"sender": "ftp:x@y"}).encode(), 422, "unknown scheme"),
        ({}, json.dumps(IM | {"body": "\0"}).encode(), 422, "NUL"),
        (
            {},
            b'{"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "\\udc00"}',
            400,
            "surrogate",
        ),
        ({}, json.dumps(IM | {"body": "x" * (1 << 20)}).encode(), 413, "more than the 262144 bytes"),
        ({}, json.dumps(IM | {"recipients": ["a@contoso.com"] * 10_000}).encode(), 422, "recipients"),
        ({"Content-Type": "text/xml"}, b"<im/>", 415, "application/x-ndjson"),
        ({"Authorization": ""}, b"{}", 401, "token"),
        ({"Authorization": "Bearer wrong"}, b"{}", 401, "token"),
        ({"Authorization": "Bearer other"}, b"{}", 403, "pool1"),
        (
            {},
            json.dumps(IM | {"sender": "a@else.com", "recipients": ["b@else.com"]}).encode(),
            403,
            "speaks for nobody here: not for else.com",
        ),
        ({}, json.dumps(IM | {"subject": "?"}).encode(), 422, "/subject"),
        ({}, json.dumps(IM | {"id": str(make_id(0))}).encode(), 422, "behind"),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(json.dumps(IM).encode()),
            415,
            "without Content-Encoding",
        ),
        ({"Content-Type": "application/json; charset=utf-16"}, json.dumps(IM).encode("utf-16"), 415, "UTF-8"),
        ({}, json.dumps(IM).encode("utf-16"), 400, "UTF-8"),
        ({}, json.dumps(IM).encode()[:-1] + b', "sender": "ceo@contoso.com"}', 400, "'sender' stands twice"),
        (
            {},
            b'{"\\u0073ender": "x@contoso.com", ' + json.dumps(IM).encode()[1:],
            400,
            "'sender' stands twice",
        ),
        ({}, b'{"id": null, "id": null, ' + json.dumps(IM).encode()[1:], 400, "'id' stands twice"),
        ({}, json.dumps(IM | {"content_encoding": "gzip"}).encode(), 422, "base64"),
        (
            {},
            json.dumps(IM | {"content_encoding": "a b", "encoding": "base64", "body": "aGk="}).encode(),
            422,
            "/content_enc",
        ),
    ],
)
def test_bad_input_gets_a_clear_error(
    vhost: Vhost, front_end: FrontEnd, headers: dict[str, str], content: bytes, status: int, why: str
) -> None:
    response = front_end.http.post(
        "/v1/messages", content=content, headers={"Content-Type": "application/json"} | headers
    )
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert why in response.text
    assert {delivery.properties.type for delivery in vhost.take(QUEUE)} <= {AGENT_TYPE}
    assert front_end.post(IM).status_code == httpx.codes.CREATED


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/sip", "/v1/attempts", "/v1/notices/0192d5a0-0000-7000-8000-000000000000/delivered"],
)
def test_what_a_front_end_was_not_made_to_be_asked_is_refused(front_end: FrontEnd, path: str) -> None:
    for query in ("dry_run=true", "pool=pool1&pool=pool2", "x", "%ff=1"):
        answer = front_end.http.post(f"{path}?{query}", json=IM)
        assert (answer.status_code, answer.json()["status"]) == (422, 422), query


def test_a_compressed_request_is_told_what_is_taken(front_end: FrontEnd) -> None:
    for path in ("/v1/messages", "/v1/sip"):
        answer = front_end.http.post(path, content=b"x", headers={"Content-Encoding": "br"})
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")


def test_a_byte_order_mark_is_no_part_of_what_is_said(vhost: Vhost, front_end: FrontEnd) -> None:
    bom, im = b"\xef\xbb\xbf", json.dumps(IM).encode()
    answer = front_end.http.post(
        "/v1/messages", content=bom + im, headers={"Content-Type": "application/json; charset=UTF-8"}
    )
    assert answer.status_code == httpx.codes.CREATED
    assert [one["status"] for one in front_end.stream([bom + im, im, bom + im])] == [201, 201, 400]
    assert [im.body for im in ims_of(vhost.take(QUEUE))] == ["hello"] * 3


@pytest.mark.parametrize("content_type", ["audio/x", "video/mp4", "application/sdp"])
def test_a_content_type_hides_nothing(vhost: Vhost, front_end: FrontEnd, content_type: str) -> None:
    answer = front_end.post(IM | {"content_type": content_type, "encoding": "text"})
    assert (answer.status_code, answer.json()["archived"]) == (201, True)
    [im] = ims_of(vhost.take(QUEUE))
    assert (im.content_type, im.body) == (content_type, "hello")


def test_an_id_that_comes_again_is_archived_once(vhost: Vhost, front_end: FrontEnd) -> None:
    im = IM | {"id": str(make_id())}
    first, again = front_end.post(im), front_end.post(im)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = front_end.post(im | {"body": "something else"})
    assert other.status_code == httpx.codes.CONFLICT
    assert other.json()["field"] == "/id"
    assert len(ims_of(vhost.take(QUEUE))) == 1


def test_a_client_that_sends_too_much_before_it_listens_still_hears_why(front_end: FrontEnd) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front_end.port, timeout=20)
    for _ in range(2):  # and may go on over the same connection
        body = b"x" * 20_000_000
        connection.request("POST", "/v1/messages", body, TOKEN | {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        assert b"262144" in response.read()
    connection.close()
    assert resident_bytes(front_end) < 150_000_000


def test_every_documented_example_of_a_body_is_taken(front_end: FrontEnd) -> None:
    for body in bodies_of(front_end.http.get("/openapi.json").json()):
        content = body.example if isinstance(body.example, str) else json.dumps(body.example)
        answer = front_end.http.post(body.url, content=content, headers={"Content-Type": body.media_type})
        assert answer.is_success, (body, answer.text)
        if body.media_type == NDJSON["Content-Type"]:
            assert [json.loads(line)["status"] for line in answer.text.splitlines()] == [201, 201]
