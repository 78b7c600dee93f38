"""The process: how it starts, migrates, outlives its database, and stops."""

import gzip
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from admin_api.__main__ import main
from deploy.local.database import Database
from deploy.local.process import Process, find_free_port
from tests.conftest import ArchiveDatabase, role_passwords
from tests.integration.admin.conftest import NO_BROKER, AdminApi, connect, running_api, write_principals


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m admin_api`` to its end."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("LCS_")}
    return subprocess.run(
        [sys.executable, "-m", "admin_api", *arguments],
        env=ours | {f"LCS_{name}": value for name, value in settings.items()},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_starts_without_broker_and_database_and_stops_in_order(tmp_path: Path) -> None:
    port = find_free_port()
    settings = {
        "LCS_DATABASE_URL": "postgresql://lcs_admin:secret@127.0.0.1:1/lcslog",
        "LCS_AMQP_URL": NO_BROKER,
        "LCS_PRINCIPALS_FILE": str(write_principals(tmp_path)),
        "LCS_PORT": str(port),
    }
    process = Process("admin-api", [sys.executable, "-m", "admin_api"], tmp_path, settings)
    try:
        with connect(f"http://127.0.0.1:{port}", "administrator") as client:

            def alive() -> bool:
                try:
                    return client.get("/healthz").status_code == 200
                except httpx.TransportError:
                    return False

            process.wait_until(alive)
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()) == (503, {"database": "away", "broker": "away"})
            answer = client.put("/v1/policy/domains/contoso.com")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.headers["Content-Type"] == "application/problem+json"
            bulk = client.patch("/v1/policy/users", content=b"", headers={"Content-Type": "text/csv"})
            assert bulk.status_code in (422, 503)
        with connect(f"http://127.0.0.1:{port}", "frontend") as front_end:
            assert front_end.get("/v1/policy/snapshot").status_code == 503
        assert process.stop(signal.SIGTERM) == 0
    finally:
        process.kill()
    log = process.log.read_text()
    assert "secret" not in log
    assert "Traceback" not in log
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "LCS_DATABASE_URL"),
        ({"PORT": "70000"}, "LCS_PORT"),
        ({"PRINCIPALS_FILE": "/nowhere/principals.json"}, "LCS_PRINCIPALS_FILE"),
        ({"PRINCIPALS_FILE": __file__}, "LCS_PRINCIPALS_FILE"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    good = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/lcslog",
        "AMQP_URL": NO_BROKER,
        "PRINCIPALS_FILE": str(write_principals(tmp_path)),
    }
    ended = run(tmp_path, **(good | settings if settings else {}))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0].startswith(said)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("principals", "said"),  # name, hash, role
    [
        ([("x", "0", "root")], "x has unknown roles: root"),
        (
            [("ann", "0", "operator"), ("bob", "0", "compliance")],
            "ann and bob have one token",
        ),
        ([("", "0", "operator")], "Expected `str` matching regex"),
        ([(" ", "0", "operator")], "Expected `str` matching regex"),
        ([("a\nb", "0", "operator")], "Expected `str` matching regex"),
    ],
    ids=["unknown role", "one token", "no name", "blank", "two lines"],
)
def test_who_could_not_be_told_from_others_is_refused_at_start(
    tmp_path: Path, principals: list[tuple[str, str, str]], said: str
) -> None:
    file = tmp_path / "principals.json"
    file.write_text(
        json.dumps(
            [{"name": name, "hash": f"sha256:{digit}", "roles": [role]} for name, digit, role in principals]
        )
    )
    ended = run(
        tmp_path,
        DATABASE_URL="postgresql://127.0.0.1:1/lcslog",
        AMQP_URL=NO_BROKER,
        PRINCIPALS_FILE=str(file),
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"LCS_PRINCIPALS_FILE: {said}")


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "destroy")
    assert (ended.returncode, ended.stderr.startswith("usage: python -m admin_api")) == (2, True)


def test_migrations_run_twice_at_once_do_the_work_once(
    database_server: Database, credentials: Path, tmp_path: Path
) -> None:
    name = f"migrated_{uuid4().hex}"
    database_server.create_database(name)
    database = ArchiveDatabase(database_server, name, role_passwords(credentials))
    url = database.url("lcs_owner")
    with ThreadPoolExecutor(3) as threads:
        ended = list(threads.map(lambda _: run(tmp_path, "migrate", DATABASE_URL=url), range(3)))
    assert [process.returncode for process in ended] == [0, 0, 0], ended
    assert database.rows("SELECT version FROM policy.version") == [(1,)]
    owners = database.rows("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'policy'")
    assert owners == [("lcs_owner",)]


@pytest.mark.parametrize("role", ["lcs_archiving", "lcs_admin"])
def test_a_service_may_do_no_more_with_the_database_than_connect(
    database: ArchiveDatabase, role: str
) -> None:
    rights = ("CONNECT", "TEMPORARY", "CREATE")
    asked = ", ".join(f"has_database_privilege('{role}', current_database(), '{right}')" for right in rights)
    assert database.rows(f"SELECT {asked}") == [(True, False, False)]


def test_it_outlives_a_restart_of_the_database(own_database: ArchiveDatabase, tmp_path: Path) -> None:
    with running_api(own_database, tmp_path) as api:
        for name in ("a", "b"):
            api.administrator.put(f"/v1/policy/domains/{name}.example").raise_for_status()
        own_database.server.kill()
        assert api.administrator.get("/v1/policy").status_code == 503
        assert api.anybody.get("/readyz").status_code == 503
        assert api.anybody.get("/healthz").status_code == 200
        own_database.server.start()
        assert [
            domain["domain"] for domain in api.administrator.get("/v1/policy/domains").json()["domains"]
        ] == [
            "a.example",
            "b.example",
        ]
        assert api.administrator.put("/v1/policy/domains/c.example").json()["version"] == 4


def test_a_session_that_the_database_ended_is_replaced_unnoticed(
    database: ArchiveDatabase, tmp_path: Path
) -> None:
    with running_api(database, tmp_path) as api:
        assert api.version == 1
        with psycopg.connect(database.url("postgres")) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE usename = 'lcs_admin' AND datname = current_database()"
            )
        assert api.version == 1


@pytest.mark.parametrize(
    ("headers", "content", "status", "why"),
    [
        ({}, b'{"archive": "none", "archive": "everyone"}', 400, "'archive' stands twice"),
        (
            {"Content-Type": "application/merge-patch+json"},
            b'{"a": [{"b": 1, "\\u0062": 2}]}',
            400,
            "'b' stands",
        ),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(b'{"archive": "none"}'),
            415,
            "without Content-Encoding",
        ),
        ({"Content-Type": "application/json; charset=latin-1"}, b'{"archive": "none"}', 415, "UTF-8"),
    ],
)
def test_json_that_readers_read_differently_is_refused(
    idle_api: AdminApi, headers: dict[str, str], content: bytes, status: int, why: str
) -> None:
    answer = idle_api.administrator.put(
        "/v1/policy/global/internal", content=content, headers={"Content-Type": "application/json"} | headers
    )
    assert (answer.status_code, why in answer.json()["detail"]) == (status, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param("reconcile --hours -1", "'-1' is no number of hours", id="a time to come"),
        pytest.param("reconcile --hours 0", "'0' is no number of hours", id="no time"),
        pytest.param("reconcile --hours nan", "'nan' is no number of hours", id="no number"),
        pytest.param("reconcile --hours 1e9", "'1e9' is no number of hours", id="before all time"),
        pytest.param("reconcile 24", "unrecognized arguments: 24", id="hours that aren't named"),
        pytest.param("completeness --wait nan", "'nan' is no number of seconds", id="a wait without end"),
        pytest.param("completeness --hours 24", "unrecognized arguments: --hours", id="not its option"),
    ],
)
def test_a_command_never_answers_what_was_not_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["admin_api", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2  # nobody can tell
    answered, complained = capsys.readouterr()
    assert said in complained
    assert answered == ""
