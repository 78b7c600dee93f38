"""ejabberd with mod_mam in PostgreSQL."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks.peers.chat_server import ChatServer
from benchmarks.peers.xmpp import DOMAIN
from deploy.local.process import Process

_SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")
_POOL = 20
"""Connections to the database: twice the default, so that more commits share one flush of the log."""


def _configure(port: int, database_url: str) -> Mapping[str, object]:
    """Return the settings; all not named keep ejabberd's defaults."""
    database = urlsplit(database_url)
    return {
        "hosts": [DOMAIN],
        "loglevel": "warning",  # a line a message would be work that is not archiving
        "auth_method": "sql",  # accounts are rows, made before it starts
        "sql_type": "pgsql",
        "sql_server": database.hostname,
        "sql_port": database.port,
        "sql_database": database.path[1:],
        "sql_username": database.username,
        "sql_password": database.password,
        "sql_pool_size": _POOL,
        "listen": [
            {
                "module": "ejabberd_c2s", "ip": "127.0.0.1", "port": port,
                "shaper": "none",  # no limit of a user's rate
            }
        ],
        "modules": {
            # Everything is archived, as it is by LCS Archive's policy here; by default nothing is.
            "mod_mam": {"db_type": "sql", "default": "always"},
        },
    }  # fmt: skip


class Ejabberd(ChatServer):
    """ejabberd as Debian packs it, run without its wrapper, which insists on folders of the system."""

    name = "ejabberd mod_mam (PostgreSQL)"
    package = "ejabberd"
    driver = "erlang-p1-pgsql"
    progress = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM archive_id_seq"
    verdict = (
        "SELECT count(*), count(DISTINCT split_part(txt, ' ', 1)),"
        " extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8 FROM archive"
    )

    def start(self, folder: Path, port: int, database_url: str, accounts: dict[str, str]) -> Process:
        """Make the tables and the accounts, and start the Erlang machine."""
        with psycopg.connect(database_url) as connection:
            connection.execute(_SCHEMA.read_bytes())
            connection.cursor().executemany(
                "INSERT INTO users (username, password) VALUES (%s, %s)", accounts.items()
            )
        configuration = folder / "ejabberd.yml"
        configuration.touch(0o600)
        configuration.write_text(json.dumps(_configure(port, database_url)))  # YAML 1.2 takes JSON as it is
        return Process(
            "ejabberd",
            # +K and +P as ejabberdctl sets them. No node name: no port mapper, no port but the one for users.
            [
                "erl", "+K", "true", "+P", "250000", "-noinput",
                "-mnesia", "dir", f'"{folder}/mnesia"', "-s", "ejabberd",
            ],
            folder,
            {
                "HOME": str(folder),
                "ERL_LIBS": ":".join(str(path) for path in Path("/usr/lib").glob("*-linux-gnu")),
                "EJABBERD_CONFIG_PATH": str(configuration),
                "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
                "ERL_CRASH_DUMP": os.devnull,
            },
        )  # fmt: skip
