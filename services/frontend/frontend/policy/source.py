"""Where a front end's policy comes from: the admin API, which is told how the front end is meanwhile."""

import asyncio
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from contract.address import address_of
from contract.check_in import FIRST_FIELDS, CheckIn, CheckInAnswer
from contract.domain import respell_domain
from contract.policy import Policy, PolicySettings, PolicyUser
from contract.snapshot import decode_settings, decode_users
from frontend.config import FrontEndSettings

_ANSWER_SECONDS: Final = 10.0
"""A check-in is answered by then, to the last byte, or has failed: a slow admin API is no absent one."""
_FETCH_SECONDS: Final = 120.0
"""The same of a whole policy: a million users are 50 MB."""
_SILENT_SECONDS: Final = 10.0

_encoder = msgspec.json.Encoder()


SOURCE_ERRORS: Final = (httpx.HTTPError, TimeoutError, msgspec.DecodeError, ValueError)
"""Raised if the admin API is away, refuses, is too slow, or its answer is no policy."""


class PolicySource:
    """The admin API as a front end asks it: its methods raise ``SOURCE_ERRORS``."""

    def __init__(self, settings: FrontEndSettings, url: str) -> None:
        """Nothing connects yet."""
        self._path = f"/v1/front-ends/{quote(settings.front_end, safe='')}/check-in"
        headers = {"Authorization": f"Bearer {settings.admin_api_token}"}
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=_SILENT_SECONDS, trust_env=False
        )

    async def close(self) -> None:
        """End the connection."""
        await self._client.aclose()

    async def check_in(self, check_in: CheckIn) -> CheckInAnswer:
        """Tell how this front end is; return which policy counts."""
        document = msgspec.structs.asdict(check_in)
        async with asyncio.timeout(_ANSWER_SECONDS):
            response = await self._post(document)
            if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                response = await self._post({name: document[name] for name in FIRST_FIELDS})
        return msgspec.json.decode(response.raise_for_status().content, type=CheckInAnswer)

    async def _post(self, document: dict[str, object]) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return await self._client.post(self._path, content=_encoder.encode(document), headers=headers)

    async def fetch(self, held: Policy | None) -> Policy:
        """Return the policy that counts, fetched whole or, if one is held, as the changes since.

        Hundreds of thousands of users are decoded as they come, not all at once.
        """
        params = {"since": str(held.settings.version)} if held is not None else {}
        if held is not None and held.settings.stamp is not None:
            params["stamp"] = str(held.settings.stamp)
        settings: PolicySettings | None = None
        users: list[PolicyUser] = []
        respelled: list[str] = []
        async with (
            asyncio.timeout(_FETCH_SECONDS),
            self._client.stream("GET", "/v1/policy/snapshot", params=params) as response,
        ):
            response.raise_for_status()
            rest = b""
            async for chunk in response.aiter_bytes():
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                if newline and settings is None:
                    line, _, lines = lines.partition(b"\n")
                    settings = decode_settings(line)
                some = decode_users(lines)
                users += some
                respelled += find_respelled(some)
        if settings is None or rest:
            raise msgspec.DecodeError("a snapshot ended early")
        return apply(held, settings, users, respelled)


def apply(
    held: Policy | None, settings: PolicySettings, changes: Iterable[PolicyUser], respelled: Iterable[str]
) -> Policy:
    """Return the policy held with a snapshot's changes; ``respelled``: its names that are not canonical.

    Raises ValueError if it has the changes since another version than the one held.
    """
    users: dict[str, int] = {}
    if settings.since:
        if held is None or settings.since != held.settings.version:
            raise ValueError(f"a snapshot has what changed since version {settings.since}, not asked for")
        users |= held.users
    for user in changes:
        if user.flags:
            users[user.address] = user.flags
        else:
            users.pop(user.address, None)
    for name in respelled:  # an older admin API's, or from a snapshot of before
        address = address_of(name)
        users[address] = users.get(address, 0) | users.pop(name, 0)
    domains = frozenset(map(respell_domain, settings.domains))
    return Policy(msgspec.structs.replace(settings, since=0, domains=domains), users)


def find_respelled(users: Iterable[PolicyUser]) -> list[str]:
    """Return the names of flagged users that are not canonical."""
    return [user.address for user in users if user.flags and address_of(user.address) != user.address]
