"""Snapshots: what front ends fetch is always the whole policy, however they come to it."""

import json
from threading import Event, Thread
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.policy import PolicySettings, PolicyUser
from tests.integration.admin.conftest import AdminApi

NDJSON = {"Content-Type": "application/x-ndjson"}
PEOPLE = [f"sip:{name}@contoso.com" for name in ("anna", "bob", "cleo")]


def fetch(api: AdminApi, known: PolicySettings | None = None) -> tuple[PolicySettings, dict[str, int]]:
    params = {} if known is None else {"since": str(known.version), "stamp": str(known.stamp)}
    answer = api.frontend.get("/v1/policy/snapshot", params=params).raise_for_status()
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    header, *users = answer.content.splitlines()
    decoded = [msgspec.json.decode(user, type=PolicyUser) for user in users]
    assert len({user.address for user in decoded}) == len(decoded)
    return msgspec.json.decode(header, type=PolicySettings), {user.address: user.flags for user in decoded}


def put_user(api: AdminApi, address: str, flags: int) -> None:
    document = {"archive_internal": bool(flags & 1), "archive_federated": bool(flags & 2)}
    api.administrator.put(f"/v1/policy/users/{address}", json=document).raise_for_status()


def test_a_full_snapshot_has_everything_and_no_user_without_flags(api: AdminApi) -> None:
    pool = {"archive": True, "critical": True, "archive_all_group": False}
    api.administrator.put("/v1/policy/pools/pool1", json=pool)
    api.administrator.put("/v1/policy/domains/contoso.com")
    api.administrator.put("/v1/policy/global/internal", json={"archive": "per_user"})
    for address, flags in zip(PEOPLE, (3, 0, 2), strict=True):
        put_user(api, address, flags)
    header, users = fetch(api)
    assert json.loads(msgspec.json.encode(header)) == {
        "version": 7,
        "stamp": api.operator.get("/v1/front-ends").json()["stamp"],
        "since": 0,
        "internal": "per_user",
        "federated": "everyone",
        "domains": ["contoso.com"],
        "pools": [{"name": "pool1", "unseen_media": [], **pool}],
        "disclaimer": {"enabled": False, "language": "en", "wordings": {}, "partners": {}},
        "cdr": True,
        "connectors": [],
    }
    assert users == {PEOPLE[0]: 3, PEOPLE[2]: 2}


def test_a_delta_has_only_what_changed_and_takes_flags_back(api: AdminApi) -> None:
    for address in PEOPLE:
        put_user(api, address, 1)
    known = fetch(api)[0]
    assert fetch(api, known) == (msgspec.structs.replace(known, since=known.version), {})
    put_user(api, PEOPLE[0], 0)
    api.administrator.delete(f"/v1/policy/users/{PEOPLE[1]}")
    header, users = fetch(api, known)
    version = known.version
    assert (header.since, header.version, users) == (version, version + 2, {PEOPLE[0]: 0, PEOPLE[1]: 0})


def test_a_version_that_never_was_gets_a_full_snapshot(api: AdminApi) -> None:
    put_user(api, PEOPLE[0], 1)
    known = fetch(api)[0]
    for version in (3, 1 << 40, (1 << 63) - 1):
        header, users = fetch(api, msgspec.structs.replace(known, version=version))
        assert (header.since, users) == (0, {PEOPLE[0]: 1})
    for parameter, wrong in (("since", -1), ("since", 1 << 63), ("stamp", "17")):
        answer = api.frontend.get("/v1/policy/snapshot", params={parameter: wrong})
        assert (answer.status_code, answer.json()["field"]) == (422, parameter)


@pytest.mark.parametrize("stamp", [None, uuid4()], ids=["of before stamps", "of another database"])
def test_a_version_of_that_number_with_another_stamp_gets_a_full_snapshot(
    api: AdminApi, stamp: UUID | None
) -> None:
    put_user(api, PEOPLE[0], 1)
    params = {"since": api.version} | ({} if stamp is None else {"stamp": str(stamp)})
    header, user = api.frontend.get("/v1/policy/snapshot", params=params).content.splitlines()
    assert json.loads(header)["since"] == 0
    assert json.loads(user) == [PEOPLE[0], 1]


changes = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(PEOPLE), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.sampled_from(PEOPLE), st.just(0)),
    st.tuples(st.just("bulk"), st.sampled_from(PEOPLE), st.integers(0, 3)),
    st.tuples(st.just("fetch"), st.just(""), st.just(0)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, max_size=12))
def test_deltas_add_up_to_the_full_snapshot(api: AdminApi, steps: list[tuple[str, str, int]]) -> None:
    # Examples follow each other on one database: deltas must add up from any state.
    header, held = fetch(api)
    for kind, address, flags in [*steps, ("fetch", "", 0)]:
        if kind == "put":
            put_user(api, address, flags)
        elif kind == "delete":
            api.administrator.delete(f"/v1/policy/users/{address}")
        elif kind == "bulk":
            line = {
                "address": address,
                "archive_internal": bool(flags & 1),
                "archive_federated": bool(flags & 2),
            }
            api.administrator.patch(
                "/v1/policy/users", content=json.dumps(line), headers=NDJSON
            ).raise_for_status()
        else:
            header, changed = fetch(api, header)
            held = {address: flags for address, flags in (held | changed).items() if flags}
    assert (header.version, held) == (api.version, fetch(api)[1])


def test_deltas_add_up_while_others_change_policy(api: AdminApi) -> None:
    done = Event()

    def change() -> None:
        for number in range(60):
            put_user(api, PEOPLE[number % 3], number % 4)
        done.set()

    writers = [Thread(target=change) for _ in range(2)]
    for writer in writers:
        writer.start()
    header, held = fetch(api)
    while header.version < 2 or any(writer.is_alive() for writer in writers):
        header, changed = fetch(api, header)
        held |= changed
    for writer in writers:
        writer.join()
    header, changed = fetch(api, header)
    assert {address: flags for address, flags in (held | changed).items() if flags} == fetch(api)[1]
