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
