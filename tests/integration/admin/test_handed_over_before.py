"""Notices of before connectors confirmed: none is known to be delivered, so partners are told once more."""

from pathlib import Path

import psycopg

import admin_api.migrations
from contract.message import make_id
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import running_api

BOB = "sip:bob@fabrikam.com"


def test_what_was_recorded_before_was_handed_over_and_is_so_again(
    database: ArchiveDatabase, tmp_path: Path
) -> None:
    database.begin_anew(admin_api.migrations, "0006")
    with psycopg.connect(database.url("lcs_owner")) as connection:
        connection.execute(
            "INSERT INTO policy.disclaimers_sent (conversation, partner, im, at, front_end, language,"
            " wording, version) VALUES ('budget', %s, %s, now(), 'fe1', 'en', 'archived', 1)",
            [BOB, make_id()],
        )
    admin_api.migrations.migrate(database.url("lcs_owner"))
    with running_api(database, tmp_path) as api:
        [before] = api.compliance.get("/v1/disclaimers").json()["disclaimers"]
        assert (before["state"], before["told_at"], before["connector"]) == ("handed_over", None, "")
        api.execute("UPDATE policy.disclaimers_sent SET noted_at = noted_at - interval '5 minutes'")
        claim = {
            "front_end": "fe1",
            "conversation": "budget",
            "im": str(make_id()),
            "at": "2026-01-31T08:00:00Z",
            "version": 2,
            "notices": [{"partner": BOB, "language": "en", "wording": "archived"}],
        }
        answer = api.frontend.post("/v1/disclaimers", json=claim)  # as a front end of before sends it
        assert (answer.status_code, answer.json()["partners"]) == (200, [BOB])
        confirmation = {"connector": "edge", "at": "2026-01-31T08:00:01Z"}
        confirmed = api.frontend.post(f"/v1/disclaimers/{claim['im']}/told", json=confirmation)
        assert confirmed.status_code == 404, "nobody knows to whom that front end handed it"


def test_an_admin_api_and_front_ends_of_before_go_on_beside_new_ones(
    database: ArchiveDatabase, tmp_path: Path
) -> None:
    with running_api(database, tmp_path) as api, psycopg.connect(database.url("lcs_admin")) as before:
        im, notice = make_id(), {"partner": BOB, "language": "en", "wording": "archived"}
        claimed = before.execute(
            "SELECT * FROM policy.claim_disclaimers('budget', %s, 'edge', 'fe1', now(), 2, ARRAY[%s],"
            " ARRAY['en'], ARRAY['archived'], interval '5 minutes')",
            [im, BOB],
        )
        assert claimed.fetchall() == [(BOB, True, False)]
        before.commit()
        claim = {
            "front_end": "fe1",
            "connector": "edge",
            "conversation": "budget",
            "at": "2026-01-31T08:00:00Z",
        }
        document = claim | {"im": str(make_id()), "version": 2, "notices": [notice]}
        assert api.frontend.post("/v1/disclaimers", json=document).json()["partners"] == []
        before.execute("SELECT policy.retract_disclaimers(%s, 'fe1', 'frontend')", [im])
        before.commit()
        assert api.frontend.post("/v1/disclaimers", json=document).json()["partners"] == [BOB]
        assert api.frontend.delete(f"/v1/disclaimers/{document['im']}").status_code == 204
        assert api.compliance.get("/v1/disclaimers").json()["disclaimers"] == []


def test_who_was_told_in_a_conversation_with_a_long_key_is_not_told_again(
    database: ArchiveDatabase, tmp_path: Path
) -> None:
    database.begin_anew(admin_api.migrations, "0010")
    conversation = f"p2p:{'ä' * 900}|sip:bob@fabrikam.com".replace("ä", "\U00020000", 300)
    assert len(conversation.encode()) > 2048
    with psycopg.connect(database.url("lcs_owner")) as connection:
        connection.execute(
            "INSERT INTO policy.disclaimers_sent (conversation, partner, im, at, front_end, language,"
            " wording, version, told_at) VALUES (%s, %s, %s, now(), 'fe1', 'en', 'archived', 1, now())",
            [conversation, BOB, make_id()],
        )
    admin_api.migrations.migrate(database.url("lcs_owner"))
    with running_api(database, tmp_path) as api:
        claim = {
            "front_end": "fe1",
            "conversation": conversation,
            "im": str(make_id()),
            "at": "2026-01-31T08:00:00Z",
            "version": 2,
            "notices": [{"partner": BOB, "language": "en", "wording": "archived"}],
        }
        answer = api.frontend.post("/v1/disclaimers", json=claim)
        assert answer.json() == {"partners": [], "told": [BOB]}
