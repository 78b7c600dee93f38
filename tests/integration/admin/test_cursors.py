"""Where a page begins is the end of the page before it: of another question it is none."""

import itertools
from typing import Any

import httpx
import pytest

from tests.integration.admin.conftest import AdminApi

START, SECOND, END = (f"2026-03-01T08:00:0{second}Z" for second in range(3))
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"actor": "ada"},
    {"actor": "bob"},
    {"action": "policy.domain.put"},
    {"action": "archive.read"},
    {"target": "contoso.com"},
    {"target": "sip:of-bulk@contoso.com"},
    {"weakened": "true"},
    {"weakened": "false"},
    {"from": SECOND},
    {"to": SECOND},
    {"from": START, "to": END},
)


@pytest.fixture(scope="module")
def trail(idle_api: AdminApi) -> AdminApi:
    """A trail of two records for each way in which they may differ, and of one bulk change."""
    idle_api.execute(
        "INSERT INTO policy.audit (at, actor, role, action, target, weakened)"
        " SELECT timestamptz '2026-03-01T08:00:00Z' + n * interval '1 second', actor, 'administrator',"
        "  action, target, weakened"
        " FROM (VALUES ('ada'), ('bob')) AS a (actor),"
        "  (VALUES ('policy.domain.put'), ('archive.read')) AS b (action),"
        "  (VALUES ('contoso.com'), ('users')) AS c (target), (VALUES (true), (false)) AS d (weakened),"
        "  generate_series(0, 1) AS n;"
        " INSERT INTO policy.audit_users (audit_id, part, addresses, before, after)"
        " SELECT id, 0, '{sip:of-bulk@contoso.com,sip:then@contoso.com}', '{0,0}', '{1,1}'"
        " FROM policy.audit WHERE target = 'users'"
    )
    return idle_api


def ask(client: httpx.Client, path: str, asked: dict[str, Any]) -> httpx.Response:
    return client.get(path, params=asked)


@pytest.mark.parametrize("who", ["compliance", "administrator"])
def test_a_page_of_the_trail_begins_with_a_record_that_is_asked_for(trail: AdminApi, who: str) -> None:
    client: httpx.Client = getattr(trail, who)
    until = {"to": END}  # each look is a record
    found = {}
    for place, asked in enumerate(FILTERS):
        records = ask(client, "/v1/audit", until | asked).raise_for_status().json()["records"]
        found[place] = [record["id"] for record in records]
    every = sorted(set(itertools.chain.from_iterable(found.values())))
    for place, asked in enumerate(FILTERS):
        for number in every:
            answer = ask(client, "/v1/audit", until | asked | {"after": number})
            if number in found[place]:
                rest = [record["id"] for record in answer.raise_for_status().json()["records"]]
                assert rest == found[place][found[place].index(number) + 1 :], (asked, number)
            else:
                assert (answer.status_code, answer.json()["field"]) == (422, "after"), (asked, number)


def test_a_page_of_a_bulk_change_begins_with_somebody_of_it(trail: AdminApi) -> None:
    [record, *_] = ask(trail.compliance, "/v1/audit", {"target": "users", "to": END}).json()["records"]
    path = f"/v1/audit/{record['id']}/changes"
    page = ask(trail.compliance, path, {"limit": 1}).raise_for_status().json()
    rest = ask(trail.compliance, path, {"after": page["next"]}).raise_for_status().json()
    assert [change["address"] for change in rest["changes"]] == ["sip:then@contoso.com"]
    for other in ("sip:zoe@contoso.com", "sip:a@contoso.com", "then"):
        answer = ask(trail.compliance, path, {"after": other})
        assert (answer.status_code, answer.json()["field"]) == (422, "after")


def test_a_page_of_sessions_begins_within_the_times_asked_for(idle_api: AdminApi) -> None:
    for asked in ({"from": SECOND}, {"to": SECOND}, {"from": SECOND, "to": END}):
        for at, within in (
            (START, "from" not in asked),
            (SECOND, "from" in asked),
            (END, asked == {"from": SECOND}),
        ):
            answer = ask(idle_api.compliance, "/v1/cdr", asked | {"after": f"{at},7"})
            if within:
                assert answer.status_code == 200, (asked, at)
            else:
                assert (answer.status_code, answer.json()["field"]) == (422, "after"), (asked, at)
