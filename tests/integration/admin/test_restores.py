"""A policy that was restored: nobody keeps or overwrites what a number stands for no more."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import HttpUrl
from sqlalchemy import true

import admin_api.database
import admin_api.policy.digests
from admin_api.policy.digests import Digests
from admin_api.policy.whole_policy import load_policy
from contract.check_in import CheckIn
from contract.policy import Policy
from contract.policy_digest import digest_of, sum_of
from frontend.config import FrontEndSettings
from frontend.policy.policies import Policies
from frontend.policy.source import PolicySource
from tests.integration.admin.conftest import AdminApi

ADA, BEN = "sip:ada@contoso.com", "sip:ben@contoso.com"
TABLES = [
    "version",
    "versions",
    "global_settings",
    "domains",
    "pools",
    "users",
    "disclaimer",
    "cdr",
    "connectors",
    "front_ends",
]


class Backup:
    """A copy of the tables of policy."""

    def __init__(self, api: AdminApi) -> None:
        self._api = api
        self._schema = f"backup_{uuid4().hex}"
        copies = [f"CREATE TABLE {self._schema}.{table} AS TABLE policy.{table}" for table in TABLES]
        api.execute("; ".join([f"CREATE SCHEMA {self._schema}", *copies]))

    def restore(self) -> None:
        """Have the tables be as they were, as pg_restore does: in one transaction, without triggers."""
        statements = [
            f"DELETE FROM policy.{t}; INSERT INTO policy.{t} TABLE {self._schema}.{t}"  # noqa: S608 - ours
            for t in TABLES
        ]
        self._api.execute("SET session_replication_role = replica; " + "; ".join(statements))


class FrontEnd:
    """The policy of a front end, which looks for news when the test says."""

    def __init__(self, api: AdminApi, name: str, folder: Path) -> None:
        self._settings = FrontEndSettings(
            amqp_url="amqp://nowhere",
            connectors_file=Path("none"),
            admin_api_url=HttpUrl(api.url),
            admin_api_token="frontend",
            front_end=name,
        )
        self._slot = folder / name
        self._slot.mkdir(exist_ok=True)
        self._process = uuid4()
        self._source = PolicySource(self._settings, api.url)
        self.restart()

    def restart(self) -> None:
        """Begin with what is on the disk."""
        self.policies = Policies(self._settings, self._slot)

    async def look(self) -> None:
        """Check in, fetch what is new, keep it."""
        await self.policies._look_for_news(self._source, self._check_in)
        self.policies._keep()

    def _check_in(self) -> CheckIn:
        return CheckIn(
            pool="pool1",
            agent=uuid4(),
            process=self._process,
            version=self.policies.version,
            stamp=self.policies.stamp,
            digest=self.policies.digest,
            state="normal",
            since=None,
        )

    async def make_digest(self) -> None:
        """Make the digest of what is held now."""
        making = asyncio.create_task(self.policies._make_digests())
        while self.policies.digest is None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        making.cancel()

    async def tell(self) -> None:
        """Check in only."""
        await self._source.check_in(self._check_in())

    async def close(self) -> None:
        """End the connection."""
        await self._source.close()


@pytest.fixture
def policy_of(api: AdminApi) -> Iterator[Callable[[], Policy]]:
    """What finds the policy that the database holds."""
    service = admin_api.database.Database(api.database.url("lcs_admin"))

    def find() -> Policy:
        with service.snapshot() as session:
            policy = load_policy(session, true())
        return Policy(policy.settings, {address: flags for address, flags in policy.users.items() if flags})

    yield find
    service.close()


def flag(api: AdminApi, address: str, flags: int = 1, **headers: str) -> int:
    document = {"archive_internal": bool(flags & 1), "archive_federated": bool(flags & 2)}
    answer = api.administrator.put(f"/v1/policy/users/{address}", json=document, headers=headers)
    return answer.status_code


def run(scenario: Callable[[FrontEnd], Awaitable[None]], api: AdminApi, folder: Path) -> None:
    """Run a scenario of a front end that holds the policy of this moment."""

    async def main() -> None:
        front_end = FrontEnd(api, "fe1", folder)
        await front_end.look()
        await scenario(front_end)
        await front_end.close()

    asyncio.run(main())


def shown(api: AdminApi) -> dict[str, Any]:
    """Return how the one front end is shown to an operator."""
    [front_end] = api.operator.get("/v1/front-ends").raise_for_status().json()["front_ends"]
    return dict(front_end)


def test_a_front_end_that_ran_all_the_time_gets_what_its_number_stands_for_now(
    api: AdminApi, tmp_path: Path, policy_of: Callable[[], Policy]
) -> None:
    backup = Backup(api)
    assert flag(api, ADA) == 201

    async def scenario(front_end: FrontEnd) -> None:
        before = front_end.policies.version
        backup.restore()
        assert flag(api, BEN) == 201
        assert api.version == before, "else this is another test"
        await front_end.tell()
        assert not shown(api)["current"]
        await front_end.look()
        assert front_end.policies.current == policy_of()
        assert list(policy_of().users) == [BEN]
        assert shown(api)["current"]
        front_end.restart()
        assert front_end.policies.stamp == policy_of().settings.stamp, "as it is on the disk"

    run(scenario, api, tmp_path)


def test_a_number_that_a_front_end_has_known_is_not_used_again(api: AdminApi, tmp_path: Path) -> None:
    backup = Backup(api)
    for flags in (1, 2, 3):
        flag(api, ADA, flags)

    async def scenario(front_end: FrontEnd) -> None:
        highest = front_end.policies.version
        backup.restore()
        await front_end.look()
        assert front_end.policies.version == api.version < highest
        flag(api, BEN)
        assert api.version == highest + 1

    run(scenario, api, tmp_path)


def test_a_front_end_that_speaks_of_a_version_out_of_reach_is_not_believed(api: AdminApi) -> None:
    document = {"pool": "pool1", "agent": str(uuid4()), "version": (1 << 53) - 1, "state": "normal"}
    api.frontend.post("/v1/front-ends/fe1/check-in", json=document).raise_for_status()
    assert (flag(api, ADA), api.version) == (201, 2)


def test_an_etag_of_before_a_restore_overwrites_nothing(api: AdminApi) -> None:
    flag(api, ADA, 3)
    backup = Backup(api)
    flag(api, ADA, 1)
    user = f"/v1/policy/users/{ADA}"
    known = api.administrator.get(user).headers["ETag"]
    backup.restore()
    flag(api, ADA, 2)  # has the number of the version that is known
    assert api.administrator.get(user).json()["version"] == int(known.strip('"').partition("-")[0])
    assert flag(api, ADA, 0, **{"If-Match": known}) == 412
    line = b'{"address":"ben@contoso.com","archive_internal":true}'
    headers = {"Content-Type": "application/x-ndjson", "If-Match": known}
    assert api.administrator.patch("/v1/policy/users", content=line, headers=headers).status_code == 412
    assert flag(api, ADA, 0, **{"If-Match": api.administrator.get(user).headers["ETag"]}) == 200


def test_whoever_takes_a_version_gets_it_stamped(api: AdminApi) -> None:
    """As an admin API of before stamps does, or a hand."""
    api.execute("UPDATE policy.version SET version = version + 1")
    stamp = api.stamp(2)
    api.execute("UPDATE policy.version SET version = 2")
    assert api.stamp(2) != stamp
    assert api.operator.get("/v1/front-ends").json()["stamp"] == str(api.stamp(2))


def test_what_was_changed_by_hand_is_found_mended_and_shown(
    api: AdminApi, tmp_path: Path, policy_of: Callable[[], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_api.policy.digests, "_EVERY_SECONDS", 0)
    flag(api, ADA)
    flag(api, BEN)

    async def scenario(front_end: FrontEnd) -> None:
        await front_end.make_digest()
        await front_end.look()
        api.execute("DELETE FROM policy.users WHERE address = 'sip:ada@contoso.com'")
        api.execute("UPDATE policy.users SET archive_federated = true")
        async with asyncio.timeout(30):
            while front_end.policies.current != policy_of():  # once the admin API has made its digest
                await front_end.look()
        assert "differed_at" in shown(api)
        assert not shown(api)["current"], "not before it has said so"
        await front_end.make_digest()
        async with asyncio.timeout(30):
            while not shown(api)["current"]:
                await front_end.look()

    run(scenario, api, tmp_path)


_people = st.dictionaries(
    st.sampled_from([ADA, BEN, "sip:\u00e9 %0a@x.y", "sip:+1@[::1]"]), st.integers(1, 3)
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_people)
def test_front_end_and_database_make_the_same_digest(
    api: AdminApi, policy_of: Callable[[], Policy], people: dict[str, int]
) -> None:
    api.execute("DELETE FROM policy.users")
    for address, flags in people.items():
        row = f"'{address}', {flags & 1 > 0}, {flags > 1}, false, 1"
        api.execute(f"INSERT INTO policy.users VALUES ({row})")  # noqa: S608 - of a test
    digests, service = Digests(), admin_api.database.Database(api.database.url("lcs_admin"))
    digests.refresh(service)
    service.close()
    policy = policy_of()
    assert policy.users == people
    settings = policy.settings
    assert digests.find(settings.version, settings.stamp) == digest_of(settings, sum_of(people.items()))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("flag"), st.sampled_from([ADA, BEN]), st.integers(0, 3)),
        st.tuples(st.just("domain"), st.sampled_from(["contoso.com", "x.y"]), st.just(0)),
        st.tuples(st.just("back up"), st.just(""), st.just(0)),
        st.tuples(st.just("restore"), st.just(""), st.integers(0, 3)),
        st.tuples(st.just("look"), st.sampled_from(["fe1", "fe2"]), st.just(0)),
        st.tuples(st.just("restart"), st.sampled_from(["fe1", "fe2"]), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_was_restored_a_front_end_has_the_policy_after_its_next_check_in(
    api: AdminApi,
    policy_of: Callable[[], Policy],
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, str, int]],
) -> None:
    folder = tmp_path_factory.mktemp("slots")
    backups = [Backup(api)]

    async def main() -> None:
        front_ends = {name: FrontEnd(api, name, folder) for name in ("fe1", "fe2")}
        for kind, what, number in [*steps, ("look", "fe1", 0), ("look", "fe2", 0)]:
            if kind == "flag":
                flag(api, what, number)
            elif kind == "domain":
                known = api.administrator.delete(f"/v1/policy/domains/{what}").status_code == 204
                if not known:
                    api.administrator.put(f"/v1/policy/domains/{what}").raise_for_status()
            elif kind == "back up":
                backups.append(Backup(api))
            elif kind == "restore":
                backups[-1 - number % len(backups)].restore()
            elif kind == "restart":
                front_ends[what].restart()
            else:
                await front_ends[what].look()
                assert front_ends[what].policies.current == policy_of()
        for front_end in front_ends.values():
            await front_end.close()

    asyncio.run(main())
