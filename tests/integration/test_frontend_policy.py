"""A front end beside the real admin API: how a policy reaches it, and what if it doesn't."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, running_api
from tests.integration.backups import dump, execute_file
from tests.integration.frontend_service import IM, FrontEnd

USER = "/v1/policy/users/sip:yannis@contoso.com"
SOON = "import frontend.policy.policies as p; p._CHECK_IN_SECONDS = p._FIRST_SECONDS = 0.5"
"""A patch: a front end checks in twice a second, and waits no longer for an admin API that is not there."""


@pytest.fixture
def api(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API on the same broker, with a policy: who of contoso.com is archived is up to each user."""
    with running_api(database, tmp_path, amqp_url=vhost.url("admin-api")) as running:
        running.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        running.administrator.put("/v1/policy/global/internal", json={"archive": "per_user"})
        yield running


@pytest.fixture
def front_end(vhost: Vhost, api: AdminApi, start: Callable[..., FrontEnd]) -> FrontEnd:
    """A front end that runs this policy."""
    return start_with(api, vhost, start)


def start_with(api: AdminApi, vhost: Vhost, start: Callable[..., FrontEnd], *, patch: str = "") -> FrontEnd:
    """Start a front end of an admin API, wait until it runs the current policy."""
    front_end = start(
        vhost.url("frontend"), patch=patch, LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend"
    )
    wait_for(lambda: policy_of(front_end)["version"] == api.version, "the policy")
    return front_end


def policy_of(front_end: FrontEnd) -> dict[str, Any]:
    """Return what a front end says of its policy."""
    policy: dict[str, Any] = front_end.http.get("/readyz").json()["policy"]
    return policy


def set_flag(api: AdminApi, *, internal: bool) -> None:
    """Say whether yannis is archived."""
    flags = {"archive_internal": internal, "archive_federated": False}
    api.administrator.put(USER, json=flags).raise_for_status()


def wait_for_rule(front_end: FrontEnd, rule: str, *, seconds: float) -> None:
    """Return when IMs are decided by this rule."""
    wait_for(lambda: front_end.post(IM).json()["rule"] == rule, f"the rule {rule}", seconds=seconds)


def test_a_change_is_applied_at_once_and_said_so(api: AdminApi, vhost: Vhost, front_end: FrontEnd) -> None:
    wait_until_it_hears_notices(vhost)
    for flag, rule in [(True, "internal-user"), (False, "internal-no-user"), (True, "internal-user")]:
        set_flag(api, internal=flag)
        wait_for_rule(front_end, rule, seconds=3)  # without a notice: up to 5 s
    assert policy_of(front_end) == {"version": api.version, "source": "admin-api"}

    def is_shown() -> bool:
        [shown] = api.operator.get("/v1/front-ends").json()["front_ends"]
        return bool(shown["name"] == "fe1" and shown["current"] and shown["state"] == "normal")

    wait_for(is_shown, "the version to be shown", seconds=3)


def wait_until_it_hears_notices(vhost: Vhost) -> None:
    """Return when a front end's own queue is bound."""
    path = f"/api/exchanges/{vhost.path}/lcs.policy/bindings/source"
    wait_for(lambda: bool(vhost.broker.manage("GET", path)), "a front end to hear notices")


def test_notices_are_heard_again_after_the_connection_broke(
    api: AdminApi, vhost: Vhost, front_end: FrontEnd
) -> None:
    connections = f"/api/vhosts/{vhost.path}/connections"

    def broken() -> bool:
        ours = [c for c in vhost.broker.manage("GET", connections) if c.get("user") == FRONT_END_USER]
        for connection in ours:
            vhost.broker.manage("DELETE", f"/api/connections/{connection['name']}")
        return len(ours) == 3

    wait_for(broken, "all connections to be closed")
    wait_for(lambda: front_end.connections == 2, "the next one")
    wait_until_it_hears_notices(vhost)
    set_flag(api, internal=True)
    wait_for_rule(front_end, "internal-user", seconds=3)


def test_a_change_whose_notice_is_lost_is_found_by_the_next_check_in(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    with running_api(database, tmp_path) as api:  # which reaches no broker
        front_end = start_with(api, vhost, start, patch=SOON)
        api.administrator.put("/v1/policy/global/federated", json={"archive": "none"}).raise_for_status()
        wait_for_rule(front_end, "federated-none", seconds=10)


def test_many_users_arrive_whole_and_their_changes_too(
    api: AdminApi, vhost: Vhost, start: Callable[..., FrontEnd]
) -> None:
    def patch(lines: list[str]) -> None:
        headers = {"Content-Type": "text/csv"}
        text = "\n".join(["address,archive_internal", *lines])
        api.administrator.patch("/v1/policy/users", content=text, headers=headers).raise_for_status()

    patch([f"user{number}@contoso.com,true" for number in range(20_000)])
    front_end = start_with(api, vhost, start)

    def rule_of(number: int) -> str:
        rule: str = front_end.post(IM | {"sender": f"user{number}@contoso.com"}).json()["rule"]
        return rule

    assert {rule_of(number) for number in (0, 9_999, 19_999)} == {"internal-user"}
    assert rule_of(20_000) == "internal-no-user"
    patch(["user9999@contoso.com,false"])
    wait_for(lambda: rule_of(9_999) == "internal-no-user", "the change", seconds=10)
    assert rule_of(19_999) == "internal-user"


def test_a_front_end_goes_on_without_the_admin_api_and_starts_without_it(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    with running_api(database, tmp_path) as api:
        api.administrator.put("/v1/policy/global/federated", json={"archive": "none"}).raise_for_status()
        front_end = start_with(api, vhost, start)
        version = api.version
    assert front_end.post(IM).json()["rule"] == "federated-none"
    assert front_end.process.stop(signal.SIGTERM) == 0
    again = start(
        vhost.url("frontend"), patch=SOON, LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend"
    )
    wait_for_rule(again, "federated-none", seconds=10)
    assert policy_of(again) == {"version": version, "source": "snapshot"}


def test_front_ends_go_by_a_restored_policy_though_its_number_is_theirs(
    api: AdminApi, vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    front_end = start_with(api, vhost, start)
    dump(database, tmp_path / "policy.sql", "--schema=policy")
    set_flag(api, internal=True)
    wait_for_rule(front_end, "internal-user", seconds=10)
    assert front_end.process.stop(signal.SIGTERM) == 0
    execute_file(database, tmp_path / "policy.sql", "DROP SCHEMA policy CASCADE")
    federated = api.administrator.put("/v1/policy/global/federated", json={"archive": "none"})
    assert federated.json()["version"] == version_on_disk(tmp_path), "else this is another test"
    again = start_with(api, vhost, start, patch=SOON)
    wait_for_rule(again, "internal-no-user", seconds=20)
    assert again.post(IM | {"recipients": ["x@partner.com"]}).json()["rule"] == "federated-none"

    def is_current() -> bool:
        [shown] = api.operator.get("/v1/front-ends").json()["front_ends"]
        return bool(shown["current"])

    wait_for(is_current, "that to be shown", seconds=10)


def version_on_disk(folder: Path) -> int:
    """Return the version of the policy that a front end left."""
    header = (folder / "fe" / "state" / "1" / "policy.ndjson").read_bytes().partition(b"\n")[0]
    return int(json.loads(header)["version"])


def test_with_a_wrong_token_for_the_admin_api_everything_is_archived(
    api: AdminApi, vhost: Vhost, start: Callable[..., FrontEnd]
) -> None:
    front_end = start(vhost.url("frontend"), LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="wrong")
    front_end.wait_until_ready()
    wait_for(lambda: "401" in front_end.process.log.read_text(), "a word about it")
    assert front_end.post(IM).json()["rule"] == "no-policy"


def test_two_front_ends_of_one_name_are_told_so(
    api: AdminApi, vhost: Vhost, start: Callable[..., FrontEnd]
) -> None:
    both = [
        start(
            vhost.url("frontend"), name, patch=SOON, LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend"
        )
        for name in ("one", "other")
    ]
    logs = [each.process.log for each in both]
    wait_for(lambda: all("has this name" in each.read_text() for each in logs), "both to be warned")
    listed = api.operator.get("/v1/front-ends").json()["front_ends"]
    assert [(each["name"], each["live"], each["namesakes"]) for each in listed] == [("fe1", True, 1)] * 2
    both[0].process.kill()
    alone = both[1].http.get("/readyz").json()["agent"]
    # As if the other had said nothing for three check-ins.
    api.execute(
        f"UPDATE policy.front_ends SET last_seen = last_seen - interval '15 s' WHERE agent <> '{alone}'"  # noqa: S608 - ours
    )

    def is_alone() -> bool:
        listed = api.operator.get("/v1/front-ends").json()["front_ends"]
        return [each["namesakes"] for each in listed if each["agent"] == alone] == [0]

    wait_for(is_alone, "the other to be gone")
