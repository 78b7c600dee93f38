"""Completeness: what was accepted and is not archived shows, by number."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from archiving.archive import Archive
from archiving.ranges import NumberRange
from contract.message import MAX_SEQ, AgentStatement
from tests.integration.admin.conftest import AdminApi, make_im


def store(api: AdminApi, agent: UUID, *seqs: int, pool: str = "pool1", parked: tuple[int, ...] = ()) -> None:
    archive = Archive(api.database.url("lcs_archiving"))
    archive.store(
        [make_im(agent=agent, seq=seq, pool=pool) for seq in seqs],
        [NumberRange(agent, pool, seq, seq) for seq in parked],
    )
    archive.close()


def ask(api: AdminApi, **parameters: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.operator.get("/v1/completeness", params=parameters).raise_for_status().json()
    return answer


def test_an_empty_archive_is_complete(api: AdminApi) -> None:
    answer = ask(api)
    assert set(answer["totals"].values()) == {0}
    assert (answer["agents"], answer["read_until"]) == ([], None)


def test_missing_numbers_are_told_and_agents_with_holes_come_first(api: AdminApi) -> None:
    holes, whole = uuid4(), uuid4()
    store(api, holes, 1, 2, 5, 9, parked=(6,))
    store(api, whole, 1, 2, 3, pool="pool2")
    archive = Archive(api.database.url("lcs_archiving"))
    now = datetime.now(UTC)
    archive.log_agent(
        AgentStatement(agent=holes, pool="pool1", front_end="fe1", confirmed=11, ended=True, at=now)
    )
    archive.close()
    answer = ask(api)
    assert answer["totals"] == {
        **{"agents": 2, "accepted": 14, "archived": 7, "parked": 1, "missing": 6},
        **{"waiting": 0, "disowned": 0},
    }
    first, second = answer["agents"]
    assert (first["agent"], first["pool"], first["front_end"]) == (str(holes), "pool1", "fe1")
    assert (first["accepted"], first["archived"], first["parked"], first["missing"]) == (11, 4, 1, 6)
    assert first["missing_numbers"] == [[3, 4], [7, 8], [10, 11]]
    assert datetime.fromisoformat(first["ended_at"]) == now
    assert (second["agent"], second["missing"], second["missing_numbers"]) == (str(whole), 0, [])
    assert second["ended_at"] is None
    api.wait_for_metric('lcs_completeness_missing_ims{pool="pool1"} 6.0')
    api.wait_for_metric('lcs_completeness_archived_ims{pool="pool2"} 3.0')
    api.wait_for_metric("lcs_admin_database_connected 1.0")


def test_it_is_asked_by_pool_and_totals_are_of_all_agents_asked_for(api: AdminApi) -> None:
    for number in range(5):
        store(api, uuid4(), 1, pool=f"pool{number % 2}")
    answer = ask(api, pool="pool0", limit="2")
    assert (len(answer["agents"]), answer["totals"]["agents"]) == (2, 3)
    assert {agent["pool"] for agent in answer["agents"]} == {"pool0"}
    nowhere = api.operator.get("/v1/completeness", params={"pool": "nowhere"})
    assert (nowhere.status_code, nowhere.json()["field"]) == (404, "pool")


def tell(api: AdminApi, *numbers: tuple[UUID, int], front_end: str = "fe1", ended: bool = False) -> None:
    """Have a front end tell how far agents got."""
    said = [{"agent": str(agent), "confirmed": confirmed, "ended": ended} for agent, confirmed in numbers]
    answer = api.frontend.post(f"/v1/front-ends/{front_end}/numbers", json={"pool": "pool1", "numbers": said})
    assert answer.status_code == 200, answer.text


def read_queue(api: AdminApi, *, seconds_ago: float) -> None:
    """Have a worker say up to when it has read the queue."""
    archive = Archive(api.database.url("lcs_archiving"))
    archive.log_reading(seconds_ago)
    archive.close()


def counts_of(api: AdminApi) -> dict[str, tuple[int, ...]]:
    """Return accepted, archived, missing, waiting and disowned by agent."""
    names = ("accepted", "archived", "missing", "waiting", "disowned")
    return {each["agent"]: tuple(each[name] for name in names) for each in ask(api)["agents"]}


def test_what_a_front_end_tells_waits_until_the_queue_was_read(api: AdminApi) -> None:
    known, unheard = uuid4(), uuid4()
    store(api, known, 1, 2, 4)
    tell(api, (known, 6), (unheard, 5))
    told = {str(known): (6, 3, 1, 2, 0), str(unheard): (5, 0, 0, 5, 0)}
    assert counts_of(api) == told
    read_queue(api, seconds_ago=60)
    assert counts_of(api) == told
    store(api, known, 5)
    tell(api, (known, 6), (unheard, 3))  # again, and late
    assert counts_of(api) == told | {str(known): (6, 4, 1, 1, 0)}
    read_queue(api, seconds_ago=0)
    assert counts_of(api) == {str(known): (6, 4, 2, 0, 0), str(unheard): (5, 0, 5, 0, 0)}
    tell(api, (unheard, 7), ended=True)
    assert counts_of(api)[str(unheard)] == (7, 0, 5, 2, 0)
    store(api, unheard, *range(1, 8))
    assert counts_of(api)[str(unheard)] == (7, 7, 0, 0, 0)
    [row] = [each for each in ask(api)["agents"] if each["agent"] == str(unheard)]
    assert (row["pool"], row["front_end"], row["ended_at"] is None) == ("pool1", "fe1", False)


def test_what_is_missing_of_an_agent_is_disowned_with_a_reason_and_owned_again(api: AdminApi) -> None:
    agent, other = uuid4(), uuid4()
    store(api, other, 2)
    store(api, agent, 1, 3)
    highest = (1 << 63) - 3  # what a forged header brought before numbers were bounded
    forged = f"'{{[{highest},{highest}]}}' WHERE agent = '{agent}'"
    api.execute(f"UPDATE archive.agents SET parked = {forged}")  # noqa: S608 - a number
    assert ask(api)["totals"]["missing"] == highest - 3 + 1
    path = f"/v1/completeness/{agent}"
    reason = {"reason": "a forged header"}
    for nobody in (api.compliance, api.administrator, api.frontend):
        assert nobody.post(f"{path}/disown", json=reason).status_code == 403
    assert api.operator.post(f"{path}/disown", json={}).status_code == 422
    assert api.operator.post(f"/v1/completeness/{uuid4()}/disown", json=reason).status_code == 404
    assert api.operator.post(f"{path}/own", json=reason).status_code == 409
    assert api.operator.post(f"{path}/disown", json=reason).json() == {"changed": highest - 3}
    assert api.operator.post(f"{path}/disown", json=reason).status_code == 409
    assert ask(api)["totals"] == {
        **{"agents": 2, "accepted": 5, "archived": 3, "parked": 1, "missing": 1},
        **{"waiting": 0, "disowned": highest - 3},
    }
    api.wait_for_metric('lcs_completeness_missing_ims{pool="pool1"} 1.0')
    [shown] = [each for each in ask(api)["agents"] if each["agent"] == str(agent)]
    assert shown["disowned_numbers"] == [[2, 2], [4, highest - 1]]
    assert (shown["disowned_by"], shown["disowned_why"]) == ("the operator", "a forged header")
    assert datetime.fromisoformat(shown["disowned_at"]) <= datetime.now(UTC)
    store(api, agent, 2)  # it comes after all
    assert counts_of(api)[str(agent)] == (4, 3, 0, 0, highest - 4)
    assert api.operator.post(f"{path}/own", json={"reason": "a mistake"}).status_code == 200
    assert ask(api)["totals"]["missing"] == highest - 4 + 1
    records = [(each["actor"], each["action"], each["target"], each["detail"]) for each in api.audit()[:2]]
    assert records == [
        ("the operator", "archive.agent.own", str(agent), {"reason": "a mistake"}),
        ("the operator", "archive.agent.disown", str(agent), reason | {"missing": highest - 3}),
    ]


def test_what_is_missing_later_of_a_disowned_agent_counts(api: AdminApi) -> None:
    agent = uuid4()
    store(api, agent, 3)
    api.operator.post(f"/v1/completeness/{agent}/disown", json={"reason": "lost"}).raise_for_status()
    store(api, agent, 6)
    assert counts_of(api) == {str(agent): (4, 2, 2, 0, 2)}
    api.operator.post(f"/v1/completeness/{agent}/disown", json={"reason": "lost too"}).raise_for_status()
    assert counts_of(api) == {str(agent): (2, 2, 0, 0, 4)}


def test_no_number_makes_completeness_unusable(api: AdminApi) -> None:
    agent = uuid4()
    store(api, agent, 1)
    greatest = (1 << 63) - 1
    # As one said before numbers were bounded.
    api.execute(f"UPDATE archive.agents SET confirmed = {greatest}")  # noqa: S608 - a number
    tell(api, (uuid4(), MAX_SEQ))
    too_many = {"pool": "pool1", "numbers": [{"agent": str(agent), "confirmed": MAX_SEQ + 1}]}
    assert api.frontend.post("/v1/front-ends/fe1/numbers", json=too_many).status_code == 422
    assert counts_of(api)[str(agent)] == (greatest - 1, 1, greatest - 2, 0, 0)
    assert ask(api)["totals"]["accepted"] == greatest - 1 + MAX_SEQ
