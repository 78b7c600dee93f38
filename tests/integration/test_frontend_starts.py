"""What decides while a front end starts, and once the admin API has been away for long."""

import contextlib
import json
import os
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.policy import GlobalSetting, PolicySettings, Pool
from deploy.local.process import find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import running_api
from tests.integration.frontend_service import IM, FrontEnd
from tests.integration.test_frontend_policy import policy_of, wait_for_rule

Behaviour = Callable[[str, dict[str, Any], threading.Event], Iterator[bytes]]
"""What is sent to who asks for a path, a piece at a time, until an event ends it."""


class _Request(socketserver.StreamRequestHandler):
    server: "AdminInPlace"

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                length = 0
                while (header := self.rfile.readline().strip()) != b"":
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                document = json.loads(self.rfile.read(length) or "{}")
                for piece in self.server.behaviour(line.split()[1].decode(), document, self.server.ended):
                    self.wfile.write(piece)


class AdminInPlace(socketserver.ThreadingTCPServer):
    """In the admin API's place: behaves as the test says."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.behaviour = behaviour
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def in_place(behaviour: Behaviour) -> Iterator[str]:
    """Have something listen that behaves so; yields its address."""
    with AdminInPlace(behaviour) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.url
        finally:
            server.ended.set()
            server.shutdown()


def answer(body: bytes, status: int = 200) -> bytes:
    """Return an answer of HTTP."""
    return (
        b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % (
            status,
            len(body),
        )
        + body
    )


def silent(_: str, __: dict[str, Any], ended: threading.Event) -> Iterator[bytes]:
    """Say nothing."""
    ended.wait()
    yield b""


def dripping(_: str, __: dict[str, Any], ended: threading.Event) -> Iterator[bytes]:
    """Send a byte now and then, so that nobody who waits for the next byte gives up."""
    for number in answer(b" " * 1000):
        yield bytes([number])
        if ended.wait(0.2):
            return


def failing(*_: object) -> Iterator[bytes]:
    """Answer 500."""
    yield answer(b"{}", 500)


def raving(*_: object) -> Iterator[bytes]:
    """Answer what is no policy."""
    yield answer(b'{"version": "\xff')


def no_http(*_: object) -> Iterator[bytes]:
    """Speak another protocol."""
    yield b"220 mail.contoso.com ESMTP\r\n" * 3


def header_of(version: int, setting: GlobalSetting, *, critical: bool = False) -> PolicySettings:
    """Return a policy without users."""
    return PolicySettings(
        version=version,
        since=0,
        internal=setting,
        federated=setting,
        domains=frozenset({"contoso.com"}),
        pools=(Pool(name="pool1", critical=critical),),
    )


def put_on_disk(state: Path, slot: int, content: bytes | PolicySettings, *, seconds_ago: float = 60) -> Path:
    """Have a policy in a slot that was confirmed at some time."""
    path = state / str(slot) / "policy.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else msgspec.json.encode(content) + b"\n")
    os.utime(path, (time.time() - seconds_ago,) * 2)
    return path


GIVES_UP_WHEN_TOLD = (
    "import signal, frontend.policy.policies as p\n"
    "p._FIRST_SECONDS = float('inf')\n"
    "signal.signal(signal.SIGUSR1, lambda *_: setattr(p, '_FIRST_SECONDS', 0.0))\n"
)
"""A patch: an admin API that says nothing is given up at SIGUSR1, not after some seconds."""
HURRIED = (
    "import frontend.policy.policies as p\n"
    "p._CHECK_IN_SECONDS = 0.5; p._FIRST_SECONDS = p._FETCH_SECONDS = 2.0; p._RETRY_SECONDS = 0.5\n"
)
"""A patch: all that takes seconds takes few."""
SOON_TOO_OLD = HURRIED + (
    "import frontend.__main__ as main_module\n"
    "load = main_module.load_settings\n"
    "old = {'policy_max_age_seconds': 3.0}\n"  # as a setting it is 10 s at least
    "main_module.load_settings = lambda cls: load(cls).model_copy(update=old)\n"
)
"""A patch: a policy that nobody confirms is too old after seconds."""
NOBODY_OLD = header_of(7, GlobalSetting.NONE)
EVERYONE = header_of(9, GlobalSetting.EVERYONE, critical=True)


def post_until(front_end: FrontEnd, rule: str, *, seconds: float = 30) -> set[str]:
    """Send IMs until one is decided by a rule, all of which must be archived; return the rules before."""
    rules: set[str] = set()

    def decided() -> bool:
        sent = front_end.post(IM).json()
        if "rule" in sent:  # not a 503 of a broker that isn't connected yet
            assert sent["archived"], sent
            rules.add(sent["rule"])
        return bool(sent.get("rule") == rule)

    wait_for(decided, f"the rule {rule}", seconds=seconds, every=0.02)
    return rules - {rule}


def test_a_front_end_that_starts_passes_nothing_by_a_policy_of_before(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    put_on_disk(tmp_path / "fe" / "state", 1, NOBODY_OLD)
    with running_api(database, tmp_path) as api:  # by its policy everything is archived
        settings = {"LCS_ADMIN_API_URL": api.url, "LCS_ADMIN_API_TOKEN": "frontend"}
        # On a busy machine the first answer may take seconds.
        front_end = start(vhost.url("frontend"), patch=GIVES_UP_WHEN_TOLD, **settings)
        # A policy that isn't confirmed tells who is of ours; the new one says that nobody is.
        assert post_until(front_end, "federated-everyone") <= {"policy-unconfirmed"}
        assert policy_of(front_end) == {"version": 1, "source": "admin-api"}


@pytest.mark.parametrize("behaviour", [silent, dripping, failing, raving, no_http])
def test_an_admin_api_that_says_nothing_is_given_up_and_the_newest_policy_of_the_volume_counts(
    behaviour: Behaviour, vhost: Vhost, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    state = tmp_path / "fe" / "state"
    put_on_disk(state, 1, NOBODY_OLD)
    put_on_disk(state, 2, EVERYONE)
    put_on_disk(state, 3, b'{"version": 10, "cut o', seconds_ago=5)
    put_on_disk(state, 4, msgspec.json.encode(header_of(11, GlobalSetting.NONE)) + b"\n[cut o", seconds_ago=5)
    put_on_disk(state, 5, header_of(12, GlobalSetting.NONE), seconds_ago=3600)
    put_on_disk(state, 6, header_of(13, GlobalSetting.NONE), seconds_ago=-3600)  # nobody knows how old
    asked = threading.Semaphore(0)

    def behave(path: str, document: dict[str, Any], ended: threading.Event) -> Iterator[bytes]:
        asked.release()
        return behaviour(path, document, ended)

    settings = {"LCS_ADMIN_API_TOKEN": "frontend"}
    with in_place(behave) as url:
        front_end = start(vhost.url("frontend"), patch=GIVES_UP_WHEN_TOLD, LCS_ADMIN_API_URL=url, **settings)
        assert post_until(front_end, "policy-unconfirmed") == set()
        for _ in range(1 if behaviour in (silent, dripping) else 2):  # the first was answered
            assert asked.acquire(timeout=15)
        assert front_end.post(IM).json()["rule"] == "policy-unconfirmed"
        front_end.process.send(signal.SIGUSR1)
        assert post_until(front_end, "internal-everyone") <= {"policy-unconfirmed"}
        assert policy_of(front_end) == {"version": 9, "source": "snapshot"}
    assert front_end.process.log.read_text().count("a policy on disk can't be read") == 2


def test_what_is_known_to_be_outdated_never_decides(
    vhost: Vhost, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    """The check-in is answered, the policy that it names can't be fetched."""
    put_on_disk(tmp_path / "fe" / "state", 1, NOBODY_OLD)
    check_ins = 0

    def behave(path: str, *_: object) -> Iterator[bytes]:
        nonlocal check_ins
        check_ins += "check-in" in path
        yield answer(b'{"version": 9}') if "check-in" in path else answer(b"{}", 503)

    settings = {"LCS_ADMIN_API_TOKEN": "frontend"}
    with in_place(behave) as url:
        front_end = start(vhost.url("frontend"), patch=HURRIED, LCS_ADMIN_API_URL=url, **settings)
        front_end.wait_until_ready()
        wait_for(lambda: check_ins > 8, "some seconds' tries")
        assert front_end.post(IM).json()["rule"] == "policy-unconfirmed"
        assert policy_of(front_end)["source"] == "snapshot"
        assert "has yet to say" in policy_of(front_end)["detail"]


def test_a_front_end_that_ran_on_what_is_outdated_does_so_for_seconds(
    vhost: Vhost, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    """A policy that counted when it was fetched, then another does, which can't be fetched; then it can."""
    counts, lost = header_of(9, GlobalSetting.NONE), threading.Event()

    def behave(path: str, *_: object) -> Iterator[bytes]:
        if "check-in" in path:
            yield answer(b'{"version": %d}' % counts.version)
        else:
            yield answer(b"{}", 503) if lost.is_set() else answer(msgspec.json.encode(counts) + b"\n")

    settings = {"LCS_ADMIN_API_TOKEN": "frontend"}
    with in_place(behave) as url:
        front_end = start(vhost.url("frontend"), patch=HURRIED, LCS_ADMIN_API_URL=url, **settings)
        wait_for_rule(front_end, "internal-none", seconds=15)
        lost.set()
        counts = header_of(10, GlobalSetting.EVERYONE)
        wait_for_rule(front_end, "policy-unconfirmed", seconds=20)
        assert "has yet to say" in policy_of(front_end)["detail"]
        lost.clear()
        wait_for_rule(front_end, "internal-everyone", seconds=10)


def test_a_policy_too_old_decides_nothing_and_says_so(
    vhost: Vhost, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    put_on_disk(tmp_path / "fe" / "state", 1, NOBODY_OLD, seconds_ago=3600)
    put_on_disk(tmp_path / "fe" / "state", 2, NOBODY_OLD, seconds_ago=-3600)  # nobody knows how old
    settings = {"LCS_ADMIN_API_URL": "http://127.0.0.1:9", "LCS_POLICY_MAX_AGE_SECONDS": "3000"}
    front_end = start(vhost.url("frontend"), **settings)
    assert post_until(front_end, "policy-stale") == {"policy-unconfirmed"}
    assert "for too long" in policy_of(front_end)["detail"]
    assert (
        'lcs_frontend_policy_version{front_end="fe1",pool="pool1"} 0.0' in front_end.http.get("/metrics").text
    )


def test_a_front_end_that_loses_the_admin_api_for_too_long_archives_everything_until_it_is_back(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    address = ("127.0.0.1", find_free_port())
    settings = {
        "LCS_ADMIN_API_URL": f"http://{address[0]}:{address[1]}",
        "LCS_ADMIN_API_TOKEN": "frontend",
    }
    with running_api(database, tmp_path, address=address) as api:
        api.administrator.put("/v1/policy/global/federated", json={"archive": "none"}).raise_for_status()
        front_end = start(vhost.url("frontend"), patch=SOON_TOO_OLD, **settings)
        wait_for_rule(front_end, "federated-none", seconds=20)
    wait_for_rule(front_end, "policy-stale", seconds=30)
    with running_api(database, tmp_path, address=address):
        wait_for_rule(front_end, "federated-none", seconds=20)


def test_that_a_policy_still_counts_is_noted_on_disk(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    state = tmp_path / "fe" / "state"
    with running_api(database, tmp_path) as api:
        content = api.frontend.get("/v1/policy/snapshot").raise_for_status().content
        path = put_on_disk(state, 1, content, seconds_ago=3600)
        start(vhost.url("frontend"), LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend")
        wait_for(lambda: path.stat().st_mtime > time.time() - 600, "the time of the check-in")
    assert path.read_bytes() == content, "it was not written again"


def test_an_admin_api_of_before_stamps_is_understood(
    vhost: Vhost, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    def behave(path: str, document: dict[str, Any], _: threading.Event) -> Iterator[bytes]:
        if "check-in" in path:
            known = {"pool", "agent", "version", "state", "since"}
            yield answer(b'{"version": 9}') if document.keys() <= known else answer(b"{}", 422)
        else:
            policy = msgspec.to_builtins(EVERYONE)
            del policy["stamp"]
            yield answer(json.dumps(policy).encode() + b"\n")

    with in_place(behave) as url:
        front_end = start(vhost.url("frontend"), LCS_ADMIN_API_URL=url, LCS_ADMIN_API_TOKEN="frontend")
        post_until(front_end, "internal-everyone")
        assert policy_of(front_end) == {"version": 9, "source": "admin-api"}
