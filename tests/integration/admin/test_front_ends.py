"""Front ends: they check in, learn the version, and the operator sees which runs which."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.admin.conftest import AdminApi

CHECK_IN: dict[str, Any] = {
    "pool": "pool1",
    "agent": str(uuid4()),
    "version": 1,
    "state": "normal",
    "since": "2026-01-31T08:00:00Z",
}


def check_in(api: AdminApi, name: str, **fields: Any) -> int:
    answer = api.frontend.post(f"/v1/front-ends/{name}/check-in", json=CHECK_IN | fields).raise_for_status()
    return int(answer.json()["version"])


def test_a_front_end_learns_the_version_and_is_shown(api: AdminApi) -> None:
    assert check_in(api, "fe1") == 1
    api.administrator.put("/v1/policy/domains/contoso.com")
    assert check_in(api, "fe2", version=2, state="blocking", since=None) == 2
    listed = api.operator.get("/v1/front-ends").json()
    assert listed["version"] == 2
    first, second = listed["front_ends"]
    assert abs(datetime.fromisoformat(first.pop("last_seen")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert first == {
        **{"name": "fe1", **CHECK_IN, "process": CHECK_IN["agent"]},
        **{"live": True, "current": False, "namesakes": 0},
    }
    assert (second["state"], second["since"], second["current"]) == ("blocking", None, True)
    assert check_in(api, "fe1", version=2, agent=str(uuid4())) == 2
    assert all(entry["current"] for entry in api.operator.get("/v1/front-ends").json()["front_ends"])


def test_one_that_is_silent_is_not_live_and_later_forgotten(api: AdminApi) -> None:
    for name in ("silent", "gone"):
        check_in(api, name)
    api.execute("UPDATE policy.front_ends SET last_seen = now() - interval '16 s' WHERE name = 'silent'")
    api.execute("UPDATE policy.front_ends SET last_seen = now() - interval '8 days' WHERE name = 'gone'")
    check_in(api, "fe1")
    listed = api.operator.get("/v1/front-ends").json()["front_ends"]
    assert [(entry["name"], entry["live"]) for entry in listed] == [("fe1", True), ("silent", False)]


def shown(api: AdminApi) -> list[tuple[str, str, int]]:
    """Return name, agent and number of namesakes of each front end."""
    listed = api.operator.get("/v1/front-ends").json()["front_ends"]
    return sorted((each["name"], each["agent"], each["namesakes"]) for each in listed)


def test_two_of_one_name_are_both_shown_and_one_that_starts_anew_is_one(api: AdminApi) -> None:
    first, second, third = (str(uuid4()) for _ in range(3))
    processes = {first: str(uuid4()), second: str(uuid4())}

    def check_in_as(agent: str, **fields: Any) -> int:
        body = CHECK_IN | {"agent": agent, **fields}
        answer = api.frontend.post("/v1/front-ends/fe/check-in", json=body).raise_for_status()
        return int(answer.json()["namesakes"])

    for known in (processes, {}):  # the second: front ends of before, that don't say which process they are
        said = {agent: {"process": process} for agent, process in known.items()}
        assert check_in_as(first, **said.get(first, {})) == 0
        assert check_in_as(second, **said.get(second, {})) == 0
        assert shown(api) == [("fe", second, 0)]  # it may be the first, started anew
        assert check_in_as(first, **said.get(first, {})) == 1
        assert shown(api) == sorted([("fe", first, 1), ("fe", second, 1)])
        assert check_in_as(second, **said.get(second, {})) == 1
        api.execute("UPDATE policy.front_ends SET last_seen = now() - interval '16 s'")
        assert check_in_as(second, **said.get(second, {})) == 0
        assert shown(api)[-1] == ("fe", second, 0)
        api.execute("DELETE FROM policy.front_ends")
    check_in_as(first, **{"process": processes[first]})
    check_in_as(third, **{"process": processes[first]})  # an agent ended, and the process goes on
    assert shown(api) == [("fe", third, 0)]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"pool": "a\0b"}, "/pool"),
        ({"pool": "\ud800"}, "/pool"),
        ({"agent": "fe1"}, "/agent"),
        ({"version": -1}, "/version"),
        ({"version": 1 << 63}, "/version"),
        ({"since": "2026-01-31T08:00:00"}, "/since"),
        ({"mood": "good"}, "/mood"),
    ],
)
def test_what_is_wrong_with_a_check_in_is_named(
    idle_api: AdminApi, fields: dict[str, Any], field: str
) -> None:
    content = json.dumps(CHECK_IN | fields)  # httpx itself would not send half of a surrogate pair
    headers = {"Content-Type": "application/json"}
    answer = idle_api.frontend.post("/v1/front-ends/fe1/check-in", content=content, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
