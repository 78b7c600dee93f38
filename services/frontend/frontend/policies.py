"""The policy as this front end holds it: from the admin API, kept on disk, changed within a second."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote
from uuid import UUID

import aio_pika
import httpx
import msgspec

from contract.address import address_of
from contract.broker import BrokerAddress
from contract.domain import respell_domain
from contract.policy import Policy, PolicyHeader, PolicyUser
from contract.topology import POLICY_EXCHANGE
from frontend.config import FrontEndSettings
from frontend.metrics import POLICY_VERSION
from frontend.publisher import PlainConnection, close, raise_if_cancelled

log = logging.getLogger("frontend")

_CHECK_IN_SECONDS: Final = 5.0
_SAVE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 3.0

_header_decoder = msgspec.json.Decoder(PolicyHeader)
_user_decoder = msgspec.json.Decoder(PolicyUser)
_encoder = msgspec.json.Encoder()


class CheckIn(msgspec.Struct):
    """How this front end is, as it tells the admin API."""

    pool: str
    agent: UUID
    version: int
    state: str
    since: datetime
    process: UUID


class _CheckInAnswer(msgspec.Struct):
    version: int
    namesakes: int = 0
    """Others that run under this front end's name."""


class Policies:
    """Holds the current policy; a reader sees a whole version or the one before."""

    def __init__(self, settings: FrontEndSettings, folder: Path) -> None:
        """Begin with the last snapshot in ``folder``, if there is one. Raises OSError if it can't be read."""
        self._settings = settings
        self._nodes = BrokerAddress(settings.amqp_url)
        self._snapshot = folder / "policy.ndjson"
        self._look = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._namesakes = 0
        self.current: Policy | None = None
        self.source: Literal["admin-api", "snapshot", "none"] = "none"
        if self._snapshot.exists():
            self._load()
        if self.current is None:
            log.warning("no policy yet: every IM is archived")

    @property
    def version(self) -> int:
        """Version of the current policy, 0 without one."""
        return self.current.version if self.current is not None else 0

    def _load(self) -> None:
        header, _, users = self._snapshot.read_bytes().partition(b"\n")
        try:
            changes = _user_decoder.decode_lines(users)
            self._apply(_header_decoder.decode(header), changes, _respelled(changes))
            self.source = "snapshot"
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("the last policy on disk can't be read", extra={"error": str(error)})

    async def run(self, check_in: Callable[[], CheckIn]) -> None:
        """Keep the policy current until cancelled; ``check_in`` tells how this front end is."""
        if self._settings.admin_api_url is None:
            log.warning("no LCS_ADMIN_API_URL: the policy stays as it is")
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_current(str(self._settings.admin_api_url), check_in))
            group.create_task(self._hear_notices())
            group.create_task(self._save())

    async def _keep_current(self, url: str, check_in: Callable[[], CheckIn]) -> None:
        """Check in now and then, and whenever a notice came; fetch what the check-in says is new."""
        headers = {"Authorization": f"Bearer {self._settings.admin_api_token}"}
        trouble = ""
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
            while True:
                wait = _CHECK_IN_SECONDS
                self._look.clear()
                try:
                    if await self._check_in(client, check_in()) != self.version:
                        await self._fetch(client)
                        await self._check_in(client, check_in())  # tells at once what runs here now
                    self.source, trouble = "admin-api", ""
                except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError) as error:
                    if repr(error) != trouble:  # else it is known: a long outage needs no line for every try
                        trouble = repr(error)
                        log.warning("no policy from the admin API", extra={"error": trouble[:200]})
                    wait = _RETRY_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._look.wait()

    async def _check_in(self, client: httpx.AsyncClient, check_in: CheckIn) -> int:
        response = await client.post(
            f"/v1/front-ends/{quote(self._settings.front_end, safe='')}/check-in",
            content=_encoder.encode(check_in),
            headers={"Content-Type": "application/json"},
        )
        answer = msgspec.json.decode(response.raise_for_status().content, type=_CheckInAnswer)
        if answer.namesakes and not self._namesakes:
            log.warning(
                "another front end has this name: give each its own", extra={"others": answer.namesakes}
            )
        self._namesakes = answer.namesakes
        return answer.version

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        """Fetch what changed. Hundreds of thousands of users are decoded as they come, not all at once."""
        url = "/v1/policy/snapshot"
        header: PolicyHeader | None = None
        users: list[PolicyUser] = []
        respelled: list[str] = []
        async with client.stream("GET", url, params={"since": self.version}) as response:
            response.raise_for_status()
            rest = b""
            async for chunk in response.aiter_bytes():
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                if newline and header is None:
                    line, _, lines = lines.partition(b"\n")
                    header = _header_decoder.decode(line)
                some = _user_decoder.decode_lines(lines)
                users += some
                respelled += _respelled(some)
        if header is None or rest:
            raise msgspec.DecodeError("a snapshot ended early")
        self._apply(header, users, respelled)
        self.source = "admin-api"
        self._unsaved.set()

    def _apply(self, header: PolicyHeader, changes: Iterable[PolicyUser], respelled: Iterable[str]) -> None:
        """Make a snapshot the current policy, at once; ``respelled``: its names that are not canonical."""
        users = dict(self.current.users) if self.current is not None and header.since else {}
        for user in changes:
            if user.flags:
                users[user.address] = user.flags
            else:
                users.pop(user.address, None)
        for name in respelled:  # an older admin API's, or from a snapshot of before
            address = address_of(name)
            users[address] = users.get(address, 0) | users.pop(name, 0)
        self.current = Policy(
            version=header.version,
            internal=header.internal,
            federated=header.federated,
            domains=frozenset(map(respell_domain, header.domains)),
            pools={pool.name: pool for pool in header.pools},
            users=users,
            disclaimer=header.disclaimer,
            cdr=header.cdr,
            connectors={connector.name: connector for connector in header.connectors},
        )
        POLICY_VERSION.set(header.version)
        log.info("policy applied", extra={"version": header.version, "flagged_users": len(users)})

    async def _hear_notices(self) -> None:
        """Look at once when the admin API says that there is something new; a notice lost does no harm."""
        trouble = ""
        while True:
            try:
                await self._hear_notices_once()
                trouble = ""
            except (Exception, asyncio.CancelledError) as error:  # aiormq raises either in mid-opening
                if repr(error) != trouble:  # else it is known
                    trouble = repr(error)
                    log.warning("notices of the policy can't be heard", extra={"error": trouble[:200]})
            raise_if_cancelled()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hear_notices_once(self) -> None:
        connection = await aio_pika.connect(
            self._nodes.next_url(),
            connection_class=PlainConnection,
            timeout=_CONNECT_SECONDS,
            heartbeat=10,
            client_properties={"connection_name": f"policy of front end {self._settings.front_end}"},
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                channel = await connection.channel()
                queue = await channel.declare_queue(exclusive=True, auto_delete=True)
                await queue.bind(POLICY_EXCHANGE)
                notices = queue.iterator(no_ack=True)
                await notices.consume()
            self._look.set()  # what was said meanwhile was not heard
            async for _ in notices:
                self._look.set()
        finally:
            await close(connection)

    async def _save(self) -> None:
        """Keep the current policy on disk; not for every change, and out of the event loop's way."""
        try:
            while True:
                await self._unsaved.wait()
                self._unsaved.clear()
                await asyncio.to_thread(self._write)
                await asyncio.sleep(_SAVE_SECONDS)
        finally:
            if self._unsaved.is_set():
                self._write()

    def _write(self) -> None:
        """Replace the snapshot on disk, whole or not at all."""
        policy = self.current
        assert policy is not None
        header = PolicyHeader(
            version=policy.version,
            since=0,
            internal=policy.internal,
            federated=policy.federated,
            domains=sorted(policy.domains),
            pools=list(policy.pools.values()),
            disclaimer=policy.disclaimer,
            cdr=policy.cdr,
            connectors=list(policy.connectors.values()),
        )
        users = [PolicyUser(address, flags) for address, flags in policy.users.items()]
        fresh = self._snapshot.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(_encoder.encode_lines([header, *users]))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._snapshot)
        except OSError as error:
            log.warning("the policy could not be kept on disk", extra={"error": str(error)})


def _respelled(users: Iterable[PolicyUser]) -> list[str]:
    """Return the names of flagged users that are not canonical."""
    return [user.address for user in users if user.flags and address_of(user.address) != user.address]
