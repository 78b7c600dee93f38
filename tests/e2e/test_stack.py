"""What the whole stack promises, in both its forms."""

import base64
import gzip
import http.client
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.process import wait_for
from runtime.token import hash_token
from tests.e2e.systems import System


class Office:
    """A test's own people in a running stack, all of contoso.com, and those who look after it."""

    def __init__(self, system: System) -> None:
        self.name = uuid.uuid4().hex[:12]
        self.front_ends = [_client(url, system.tokens["connector"]) for url in system.front_end_urls]
        self.administrator = _client(system.admin_url, system.tokens["administrator"])
        self.officer = _client(system.admin_url, system.tokens["compliance"])
        self.operator = _client(system.admin_url, system.tokens["operator"])
        self._system = system

    def person(self, name: str) -> str:
        """Return somebody's address."""
        return f"sip:{name}-{self.name}@contoso.com"

    def im(self, body: str = "Shall we meet at ten?", **fields: object) -> dict[str, object]:
        """Return an IM from yannis to ada."""
        return {
            "sender": self.person("yannis"),
            "recipients": [self.person("ada")],
            "conversation": self.name,
            "body": body,
            **fields,
        }

    def put(self, path: str, **document: object) -> None:
        """Change policy."""
        self.administrator.put(path, json=document).raise_for_status()

    def archive_internal(self, setting: str) -> None:
        """Set whose IMs within contoso.com are archived, and wait until that is so everywhere."""
        self.put("/v1/policy/domains/contoso.com")
        self.put("/v1/policy/global/internal", archive=setting)
        wait_for(self.is_applied, "every front end to run the new policy", seconds=10)

    def make_critical(self, critical: bool) -> None:
        """Set the pool's critical mode; don't wait."""
        self.put("/v1/policy/pools/pool1", archive=True, critical=critical, archive_all_group=False)

    def flag(self, person: str, *, archive: bool) -> None:
        """Set a person's flag; don't wait."""
        self.put(f"/v1/policy/users/{person}", archive_internal=archive, archive_federated=False)

    def is_applied(self) -> bool:
        """Whether every front end that runs says it runs the newest policy."""
        listing = self.operator.get("/v1/front-ends").raise_for_status().json()["front_ends"]
        return self._system.front_ends() <= {entry["name"] for entry in listing if entry["current"]}

    def archived(self) -> list[dict[str, Any]]:
        """Return all archived IMs of this office, oldest first."""
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            query = {"conversation": self.name, "connector": "connector", "order": "asc", "limit": "1000"}
            page = self.officer.get("/v1/messages", params=query | after).raise_for_status().json()
            found += page["messages"]
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    def is_complete(self) -> bool:
        """Whether every IM that any agent numbered is in the archive."""
        totals = self.operator.get("/v1/completeness").raise_for_status().json()["totals"]
        return bool(totals["missing"] == totals["parked"] == 0 and totals["accepted"] == totals["archived"])

    def close(self) -> None:
        """Close all connections."""
        for client in (*self.front_ends, self.administrator, self.officer, self.operator):
            client.close()


def _client(url: str, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
    )


@pytest.fixture
def office(system: System) -> Iterator[Office]:
    office = Office(system)
    yield office
    office.close()


def test_an_accepted_im_is_found_in_the_archive_as_it_was_sent(office: Office) -> None:
    office.archive_internal("everyone")
    for front_end in office.front_ends:
        answer = front_end.post("/v1/messages", json=office.im("Test Archiving Messages ☎\r\n"))
        assert (answer.status_code, answer.json()["archived"]) == (201, True)
    wait_for(lambda: len(office.archived()) == len(office.front_ends), "the IMs in the archive")
    key = f"connector:connector:{office.name}"
    for im in office.archived():
        assert im.items() >= office.im("Test Archiving Messages ☎\r\n", conversation=key).items()
        assert im.items() >= {"scope": "internal", "pool": "pool1", "rule": answer.json()["rule"]}.items()
        assert office.officer.get(f"/v1/messages/{im['id']}").json() == im


def test_what_is_archived_can_be_read_or_says_that_it_can_t(office: Office) -> None:
    office.archive_internal("everyone")

    def send(content: bytes, content_type: str, **fields: str) -> None:
        body = base64.b64encode(content).decode()
        im = office.im(body, encoding="base64", content_type=content_type, **fields)
        assert office.front_ends[0].post("/v1/messages", json=im).status_code == 201

    part = b"--x\r\nContent-Transfer-Encoding: base64\r\n\r\nYnV5IGF0IG5pbmU=\r\n--x--"
    send(gzip.compress("Поезд".encode()), "text/plain", content_encoding="gzip")
    send("Поезд".encode("cp1251"), "text/plain; charset=windows-1251")
    send(part, "multipart/mixed; boundary=x")
    send(b"\x30\x80\xff", "application/pkcs7-mime")
    send(b"\x89PNG\xff", "image/png")
    wait_for(lambda: len(office.archived()) == 5, "five IMs in the archive", seconds=20)

    def search(**filters: str) -> dict[str, Any]:
        query = {"user": office.person("ada"), **filters}
        page: dict[str, Any] = office.officer.get("/v1/messages", params=query).raise_for_status().json()
        return page

    assert len(search(text="поезд")["messages"]) == 2
    assert len(search(text="buy at nine")["messages"]) == 1
    assert search(text="поезд")["without_text"] == 2
    assert len(search(without_text="true")["messages"]) == 2
    assert len(search(encryption="s/mime")["messages"]) == 1


def test_an_im_that_policy_does_not_archive_is_not_in_the_archive(office: Office) -> None:
    office.flag(office.person("grace"), archive=True)
    office.archive_internal("per_user")
    answer = office.front_ends[0].post("/v1/messages", json=office.im())
    assert (answer.status_code, answer.json()["archived"]) == (200, False)
    later = office.front_ends[0].post("/v1/messages", json=office.im(sender=office.person("grace")))
    assert later.status_code == 201
    wait_for(lambda: bool(office.archived()), "the IM after it in the archive")
    assert [im["id"] for im in office.archived()] == [later.json()["id"]]
    assert office.officer.get(f"/v1/messages/{answer.json()['id']}").status_code == 404


@pytest.mark.parametrize(("archive", "status"), [(True, 201), (False, 200)])
def test_a_user_s_flag_is_applied_by_every_front_end_within_a_second(
    office: Office, archive: bool, status: int
) -> None:
    office.flag(office.person("ada"), archive=not archive)
    office.archive_internal("per_user")
    office.flag(office.person("ada"), archive=archive)
    wait_for(office.is_applied, "every front end to run the new policy", seconds=1)
    for front_end in office.front_ends:
        assert {front_end.post("/v1/messages", json=office.im()).status_code for _ in range(4)} == {status}


def test_a_stream_is_answered_in_order_and_a_bad_line_does_not_stop_it(office: Office) -> None:
    office.archive_internal("everyone")
    lines = [json.dumps(office.im(f"IM {number}")) for number in range(1000)]
    lines[10] = "{"
    lines[500] = json.dumps(office.im(recipients=[]))
    answer = office.front_ends[0].post(
        "/v1/messages", content="\n".join(lines), headers={"Content-Type": "application/x-ndjson"}
    )
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert [place for place, each in enumerate(answers) if each["status"] != 201] == [10, 500]
    assert len(answers) == len(lines)
    wait_for(lambda: len(office.archived()) == 998, "the stream in the archive")
    bodies = {im["id"]: im["body"] for im in office.archived()}
    accepted = ((place, each) for place, each in enumerate(answers) if each["status"] == 201)
    assert all(bodies[each["id"]] == f"IM {place}" for place, each in accepted)


def test_a_stream_is_answered_while_it_is_still_sent(office: Office, system: System) -> None:
    office.archive_internal("everyone")
    connection = http.client.HTTPConnection(urlsplit(system.front_end_urls[0]).netloc, timeout=10)
    connection.putrequest("POST", "/v1/messages")
    connection.putheader("Authorization", f"Bearer {system.tokens['connector']}")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    _send_chunk(connection, json.dumps(office.im()).encode() + b"\n")
    response = connection.getresponse()
    assert json.loads(response.readline())["status"] == 201
    _send_chunk(connection, json.dumps(office.im()).encode() + b"\n")
    assert json.loads(response.readline())["status"] == 201
    _send_chunk(connection, b"")
    assert response.read() == b""
    connection.close()


def _send_chunk(connection: http.client.HTTPConnection, chunk: bytes) -> None:
    connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))


def test_an_im_s_trace_tells_every_step_with_its_time(office: Office) -> None:
    office.archive_internal("everyone")
    answer = office.front_ends[0].post("/v1/messages", json=office.im()).json()

    def trace() -> dict[str, Any]:
        found = office.operator.get(f"/v1/messages/{answer['id']}/trace")
        document: dict[str, Any] = found.json() if found.status_code == 200 else {"steps": [{"at": None}]}
        return document

    wait_for(lambda: all(step["at"] for step in trace()["steps"]), "every step to be told")
    document = trace()
    assert document["trace_id"] == answer["id"].replace("-", "")
    assert document["deliveries"] == 1
    at = {step["step"]: step["at"] for step in document["steps"]}
    assert [step for step in at if step != "confirmed"] == [
        "accepted", "decided", "published", "consumed", "committed", "acknowledged",
    ]  # fmt: skip
    assert at["decided"] <= at["published"] <= at["confirmed"]
    assert at["published"] <= at["consumed"] <= at["committed"] <= at["acknowledged"]
    detail = {step["step"]: step["detail"] for step in document["steps"]}
    assert detail["decided"]["rule"] == "internal-everyone"
    assert detail["accepted"]["pool"] == "pool1"
    assert office.person("yannis") not in json.dumps(document)
    query = {"action": "archive.trace", "target": answer["id"]}
    [record, *_] = office.officer.get("/v1/audit", params=query).json()["records"]
    assert record["actor"] == "operator"


def test_no_log_holds_what_was_said_or_a_token(office: Office, system: System) -> None:
    office.archive_internal("everyone")
    secret = f"the merger is off {office.name}"
    ids = {
        front_end.post("/v1/messages", json=office.im(secret)).json()["id"] for front_end in office.front_ends
    }
    lines = "\n".join(
        [json.dumps(office.im(secret)), "{" + secret, json.dumps(office.im(secret, sender=secret))]
    )
    office.front_ends[0].post(
        "/v1/messages", content=lines, headers={"Content-Type": "application/x-ndjson"}
    ).raise_for_status()
    wait_for(lambda: ids < {im["id"] for im in office.archived()}, "the IMs in the archive")
    logs = system.logs()
    assert "consuming" in logs
    for hidden in (secret, *system.tokens.values()):
        assert hidden not in logs


def test_killed_workers_lose_nothing_and_store_nothing_twice(office: Office, system: System) -> None:
    office.archive_internal("everyone")
    ids = []
    for number in range(40):
        if number == 20:
            system.kill_workers()
        lines = "\n".join(json.dumps(office.im(f"IM {number}-{place}")) for place in range(50))
        answer = office.front_ends[number % len(office.front_ends)].post(
            "/v1/messages", content=lines, headers={"Content-Type": "application/x-ndjson"}
        )
        answers = [json.loads(line) for line in answer.text.splitlines()]
        assert {each["status"] for each in answers} == {201}
        ids += [each["id"] for each in answers]
    system.start_workers()
    wait_for(lambda: len(office.archived()) >= len(ids), "every accepted IM in the archive")
    assert sorted(im["id"] for im in office.archived()) == sorted(ids)
    wait_for(office.is_complete, "completeness without holes")


def test_more_front_ends_and_workers_share_the_work(office: Office, system: System) -> None:
    before = system.front_ends()
    system.grow()
    assert len(system.front_ends() - before) == 1
    office.archive_internal("everyone")
    ids = []
    for number in range(20):
        for url in system.front_end_urls:  # a connection each, for a proxy to spread
            with _client(url, system.tokens["connector"]) as front_end:
                answer = front_end.post("/v1/messages", json=office.im(f"IM {number}"))
            assert answer.status_code == 201
            ids.append(answer.json()["id"])
    wait_for(lambda: len(office.archived()) >= len(ids), "the IMs in the archive")
    assert sorted(im["id"] for im in office.archived()) == sorted(ids)
    wait_for(office.is_complete, "completeness without holes")


@pytest.mark.parametrize("critical", [True, False])
def test_without_the_broker_what_must_be_archived_is_refused_or_spooled_and_the_rest_flows_on(
    office: Office, system: System, critical: bool
) -> None:
    office.make_critical(critical)
    office.flag(office.person("grace"), archive=True)
    office.archive_internal("per_user")
    must_be_archived = office.im(sender=office.person("grace"), id=_new_id())
    system.stop_broker()
    try:
        answer = office.front_ends[0].post("/v1/messages", json=must_be_archived)
        if critical:
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        else:
            assert (answer.status_code, answer.json()["spooled"]) == (202, True)
        assert office.front_ends[0].post("/v1/messages", json=office.im()).status_code == 200
    finally:
        system.start_broker()
        office.make_critical(False)

    def is_accepted() -> bool:
        status = office.front_ends[0].post("/v1/messages", json=must_be_archived).status_code
        return status == 201 if critical else status in (201, 202)

    wait_for(is_accepted, "the front end to find the broker again", seconds=60)
    wait_for(lambda: bool(office.archived()), "the IM in the archive")
    assert [im["id"] for im in office.archived()] == [must_be_archived["id"]]
    wait_for(office.is_complete, "completeness without holes")


def _new_id() -> str:
    """Return a UUIDv7 of now (RFC 9562, section 5.7)."""
    random = uuid.uuid4().int & ~(0xFFFFFFFFFFFF << 80) & ~(0xF << 76)
    return str(uuid.UUID(int=random | time.time_ns() // 1_000_000 << 80 | 7 << 76))


def test_what_is_queued_and_spooled_who_may_sign_in_and_where_all_is_outlive_a_restart(
    office: Office, system: System
) -> None:
    office.archive_internal("everyone")
    addresses = [*system.front_end_urls, system.admin_url]
    system.kill_workers()
    queued = office.front_ends[0].post("/v1/messages", json=office.im("queued"))
    assert queued.status_code == 201
    system.stop_broker()
    spooled = office.front_ends[-1].post("/v1/messages", json=office.im("spooled"))
    assert spooled.status_code == 202
    added = f"by-hand-{office.name}"
    system.add_principal({"name": added, "hash": hash_token(added), "roles": ["compliance"]})
    system.restart()
    assert [*system.front_end_urls, system.admin_url] == addresses
    wait_for(lambda: len(office.archived()) >= 2, "both IMs in the archive", seconds=60)
    assert {im["id"] for im in office.archived()} == {queued.json()["id"], spooled.json()["id"]}
    wait_for(office.is_complete, "completeness without holes")
    with _client(system.admin_url, added) as officer:
        assert officer.get(f"/v1/messages/{queued.json()['id']}").status_code == 200
