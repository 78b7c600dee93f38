"""``make demo``: one IM's whole way made visible, real chat after it, and counts that must agree."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

import httpx
import msgspec

from deploy.local.chat import DOMAIN, Chat
from deploy.local.edge import LocalEdge
from deploy.local.phone import Phone
from deploy.local.process import wait_for
from deploy.local.stack import Stack

_YANNIS = f"sip:yannis@{DOMAIN}"
_ADMINISTRATOR = f"sip:administrator@{DOMAIN}"
_STREAM = 500
"""IMs in one request of the chat."""


class DisagreementError(Exception):
    """Something the demo checked is not as it must be."""


class Demo:
    """A person's tour through a running stack."""

    def __init__(self, stack: Stack) -> None:
        """The stack has been started."""
        self._stack = stack
        tokens = stack.tokens
        self._front_ends = [_client(url, tokens["connector"]) for url in stack.front_end_urls]
        self._administrator = _client(stack.admin_url, tokens["administrator"])
        self._officer = _client(stack.admin_url, tokens["compliance"])
        self._operator = _client(stack.admin_url, tokens["operator"])
        self.archived = 0
        self.not_archived = 0

    def run(self, chat: Chat) -> None:
        """Do everything; raises DisagreementError if anything is not as it must be."""
        _title("Policy: our domain is contoso.com; everybody's internal IMs are archived")
        self._put(f"/v1/policy/domains/{DOMAIN}", {})
        self._put("/v1/policy/global/internal", {"archive": "everyone"})
        self._wait_for_front_ends()
        _title("One IM: Yannis writes to Administrator")
        self._follow_one_im()
        _title("Per user: Administrator's and Yannis's archiving is switched off, then on, over REST")
        self._toggle()
        if self._stack.edge is not None:
            _title("SIP: two clients at the edge")
            self._talk_sip(self._stack.edge)
        _title(f"Chat: {chat.name}, every second person is archived")
        self._send_chat(chat)
        _title("Reading back, and the counts")
        self._check()

    def _put(self, path: str, document: Mapping[str, object]) -> None:
        self._administrator.put(path, json=document).raise_for_status()
        _say("PUT", f"{path} {msgspec.json.encode(document).decode()}")

    def _wait_for_front_ends(self) -> None:
        """Wait until every front end runs the newest policy, and say how long that took."""
        started = time.monotonic()
        wait_for(self._all_current, "all front ends to run the new policy", seconds=5)
        version = self._operator.get("/v1/front-ends").json()["version"]
        _say("applied", f"version {version} by every front end after {_ms(time.monotonic() - started)}")

    def _all_current(self) -> bool:
        listing = self._operator.get("/v1/front-ends").raise_for_status().json()
        current = {entry["name"] for entry in listing["front_ends"] if entry["current"]}
        return {f"fe{number}" for number in range(1, len(self._front_ends) + 1)} <= current

    def _send(self, front_end: httpx.Client, im: dict[str, object]) -> tuple[int, dict[str, Any]]:
        response = front_end.post("/v1/messages", json=im)
        answer: dict[str, Any] = response.json()
        if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
            raise DisagreementError(f"an IM was answered {response.status_code}: {answer}")
        self._count(bool(answer["archived"]))
        return response.status_code, answer

    def _count(self, archived: bool) -> None:
        self.archived += archived
        self.not_archived += not archived

    def _follow_one_im(self) -> None:
        im: dict[str, object] = {
            "sender": _YANNIS,
            "recipients": [_ADMINISTRATOR],
            "body": "Test Archiving Messages",
        }
        started = time.monotonic()
        status, answer = self._send(self._front_ends[0], im)
        took = time.monotonic() - started
        _say("answered", f"{status} after {_ms(took)}, deliver it: {answer['id']}")
        for step in self._trace(answer["id"]):
            detail = ", ".join(f"{name} {value}" for name, value in step["detail"].items())
            after = "" if step["took_ms"] is None else f"{step['took_ms']:+9.3f} ms"
            note = "" if step["note"] is None else f" ({step['note']})"
            _say(step["step"], f"{step['at'][11:23]} {after:>12}  {detail}{note}")
        stored = self._officer.get(f"/v1/messages/{answer['id']}").raise_for_status().json()
        _say("found", f"by the compliance officer: {stored['sender']}: {stored['body']!r}")
        if (stored["sender"], stored["recipients"], stored["body"]) != (
            *list(im.values())[:1],
            *list(im.values())[1:],
        ):
            raise DisagreementError(f"the archive says {stored}")

    def _trace(self, im_id: str) -> list[dict[str, Any]]:
        """Return the steps of an IM's way, once all are told."""
        steps: list[dict[str, Any]] = []

        def is_told() -> bool:
            nonlocal steps
            response = self._operator.get(f"/v1/messages/{im_id}/trace")
            steps = response.json()["steps"] if response.status_code == httpx.codes.OK else []
            return bool(steps) and all(step["at"] for step in steps)

        wait_for(is_told, f"every step of {im_id} to be told", seconds=10)
        return steps

    def _toggle(self) -> None:
        im: dict[str, object] = {
            "sender": _YANNIS,
            "recipients": [_ADMINISTRATOR],
            "body": "Is this archived?",
        }
        self._put("/v1/policy/global/internal", {"archive": "per_user"})
        for internal, expected in ((False, httpx.codes.OK), (True, httpx.codes.CREATED)):
            flags = {"archive_internal": internal, "archive_federated": False}
            self._put(f"/v1/policy/users/{_ADMINISTRATOR}", flags)
            self._wait_for_front_ends()
            for front_end in self._front_ends:
                status, answer = self._send(front_end, im)
                _expect(status, expected, f"archived: {answer['archived']}, {answer['rule']}")

    def _talk_sip(self, edge: LocalEdge) -> None:
        yannis, administrator = (self._phone(edge, name) for name in ("yannis", "administrator"))
        try:
            for phone in (yannis, administrator):
                _expect(phone.register(), httpx.codes.OK, f"{phone.address} registers")
            text = "Test Archiving Messages, over SIP"
            with ThreadPoolExecutor(1) as other:  # who is written to answers, and only then the sender is
                reading = other.submit(administrator.read)
                _expect(yannis.write(administrator.address, text), httpx.codes.OK, "MESSAGE to administrator")
                _say("delivered", repr(read := reading.result()))
            if read != text:
                raise DisagreementError(f"sent was {text!r}")
        finally:
            yannis.close()
            administrator.close()
        self._count(True)
        query = {"user": _YANNIS, "text": text, "limit": "1"}
        wait_for(lambda: bool(self._find(query)), "the IM in the archive", seconds=10)
        _say("found", f"by the compliance officer: {self._find(query)[0]['body']!r}")

    def _phone(self, edge: LocalEdge, name: str) -> Phone:
        return Phone(edge.address, f"{name}@{DOMAIN}", self._stack.tokens[f"sip-{name}"])

    def _find(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            self._officer.get("/v1/messages", params=query).raise_for_status().json()["messages"]
        )
        return found

    def _send_chat(self, chat: Chat) -> None:
        ims = chat.ims
        for fact in chat.describe():
            _say("left out", fact)
        people = sorted({str(im["sender"]) for im in ims})
        flags = [
            {"address": person, "archive_internal": place % 2 == 0, "archive_federated": False}
            for place, person in enumerate(people)
        ]
        self._administrator.patch(
            "/v1/policy/users",
            content=msgspec.json.Encoder().encode_lines(flags),
            headers={"Content-Type": "application/x-ndjson"},
        ).raise_for_status()
        _say("PATCH", f"/v1/policy/users: {len(people)} people")
        self._wait_for_front_ends()
        before = self.archived, self.not_archived
        started = time.monotonic()
        for front_end, part in zip(cycle(self._front_ends), _parts(ims), strict=False):
            for answer in _stream(front_end, part):
                if answer["status"] not in (httpx.codes.OK, httpx.codes.CREATED):
                    raise DisagreementError(f"an IM was answered {answer}")
                self._count(bool(answer["archived"]))
        _say("sent", f"{len(ims)} IMs through both front ends in {_ms(time.monotonic() - started)}")
        archived, not_archived = self.archived - before[0], self.not_archived - before[1]
        _say(
            "accepted",
            f"{archived + not_archived}: {archived} to archive, {not_archived} not archived by rule",
        )
        if archived + not_archived != len(ims):
            raise DisagreementError("not every IM was answered")

    def _check(self) -> None:
        expected = self.archived
        started = time.monotonic()
        wait_for(lambda: self._totals()["archived"] >= expected, f"{expected} archived IMs", seconds=30)
        totals = self._totals()
        read = sum(1 for _ in self._read_all())
        _say(
            "read",
            f"{read} IMs through the admin API, {_ms(time.monotonic() - started)} after the last was sent",
        )
        missing = f"{totals['missing']} missing, {totals['parked']} parked"
        _say("agents", f"numbered {totals['accepted']}, archived {totals['archived']}, {missing}")
        print(
            f"\n  accepted {self.archived + self.not_archived} = archived {read}"
            f" + not archived by rule {self.not_archived}"
        )
        # The stack's folder may hold what an earlier run archived: its agents' numbers say how many.
        if not (totals["accepted"] == totals["archived"] == read >= expected and totals["missing"] == 0):
            raise DisagreementError("the counts do not agree")

    def _totals(self) -> dict[str, int]:
        totals: dict[str, int] = self._operator.get("/v1/completeness").raise_for_status().json()["totals"]
        return totals

    def _read_all(self) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            parameters = {"limit": "1000"} | ({"after": cursor} if cursor else {})
            page = self._officer.get("/v1/messages", params=parameters).raise_for_status().json()
            yield from page["messages"]
            cursor = page["next"]
            if cursor is None:
                return


def _client(url: str, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
    )


def _parts(ims: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    iterator = iter(ims)
    while part := list(islice(iterator, _STREAM)):
        yield part


def _stream(front_end: httpx.Client, ims: list[dict[str, object]]) -> Iterator[dict[str, Any]]:
    """Send IMs as one NDJSON stream; yield the answers, one an IM, in order."""
    with front_end.stream(
        "POST",
        "/v1/messages",
        content=msgspec.json.Encoder().encode_lines(ims),
        headers={"Content-Type": "application/x-ndjson"},
    ) as response:
        if response.is_error:
            response.read()  # for who says what the answer was
        response.raise_for_status()
        for line in response.iter_lines():
            yield msgspec.json.decode(line)


def _expect(status: int, expected: int, what: str) -> None:
    _say("answered", f"{status} {what}")
    if status != expected:
        raise DisagreementError(f"expected {expected:d}")


def _title(text: str) -> None:
    print(f"\n{text}")


def _say(step: str, text: str) -> None:
    print(f"  {step:13} {text}")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
