"""Completeness: what was accepted and is not archived shows, by number."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from archiving.archive import Archive, Numbers
from contract.message import AgentStatement
from tests.integration.admin.conftest import AdminApi, make_im


def store(api: AdminApi, agent: UUID, *seqs: int, pool: str = "pool1", parked: tuple[int, ...] = ()) -> None:
    archive = Archive(api.database.url("lcs_archiving"))
    archive.store(
        [make_im(agent=agent, seq=seq, pool=pool) for seq in seqs],
        [Numbers(agent, pool, seq, seq) for seq in parked],
    )
    archive.close()


def ask(api: AdminApi, **parameters: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.operator.get("/v1/completeness", params=parameters).raise_for_status().json()
    return answer


def test_an_empty_archive_is_complete(api: AdminApi) -> None:
    totals = {"agents": 0, "accepted": 0, "archived": 0, "parked": 0, "missing": 0}
    assert ask(api) == {"totals": totals, "agents": []}


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
    assert answer["totals"] == {"agents": 2, "accepted": 14, "archived": 7, "parked": 1, "missing": 6}
    first, second = answer["agents"]
    assert (first["agent"], first["pool"], first["front_end"]) == (str(holes), "pool1", "fe1")
    assert (first["accepted"], first["archived"], first["parked"], first["missing"]) == (11, 4, 1, 6)
    assert first["missing_numbers"] == [[3, 4], [7, 8], [10, 11]]
    assert datetime.fromisoformat(first["ended_at"]) == now
    assert (second["agent"], second["missing"], second["missing_numbers"]) == (str(whole), 0, [])
    assert second["ended_at"] is None
    metrics = api.anybody.get("/metrics").text.splitlines()
    assert 'lcs_completeness_missing_ims{pool="pool1"} 6.0' in metrics
    assert 'lcs_completeness_archived_ims{pool="pool2"} 3.0' in metrics
    assert "lcs_admin_database_connected 1.0" in metrics


def test_it_is_asked_by_pool_and_totals_are_of_all_agents_asked_for(api: AdminApi) -> None:
    for number in range(5):
        store(api, uuid4(), 1, pool=f"pool{number % 2}")
    answer = ask(api, pool="pool0", limit="2")
    assert (len(answer["agents"]), answer["totals"]["agents"]) == (2, 3)
    assert {agent["pool"] for agent in answer["agents"]} == {"pool0"}
    assert ask(api, pool="nowhere")["totals"]["agents"] == 0
