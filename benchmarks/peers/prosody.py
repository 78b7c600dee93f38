"""Prosody with mod_mam in PostgreSQL."""

from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

from benchmarks.peers.chat_server import ChatServer
from benchmarks.peers.xmpp import DOMAIN
from deploy.local.process import Process

# What is not set keeps Prosody's defaults. mod_limits is not loaded, so no user's rate is limited.
_CONFIGURATION = """\
-- The files are in a folder of whoever runs this, who may be root.
run_as_root = true
data_path = "{folder}/data"
pidfile = "{folder}/prosody.number"
-- A line a message would be work that is not archiving.
log = {{ warn = "{folder}/prosody.warnings" }}
-- The collector for many short-lived objects: quicker here than the default.
gc = {{ mode = "generational" }}
-- The quickest of its ways to wait for sockets.
network_backend = "epoll"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
-- The load client speaks no TLS, as the other peers' don't.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
-- No other servers, no TLS: nothing but users and the archive.
modules_enabled = {{ "saslauth", "mam" }}
modules_disabled = {{ "s2s", "tls", "offline" }}
storage = {{ archive = "sql" }}
sql = {{
  driver = "PostgreSQL", host = "{host}", port = {database_port}, database = "{database}",
  username = "{user}", password = "{password}"
}}
-- Everything is archived, as it is by LCS Archive's policy here.
default_archive_policy = true
-- Nothing is deleted while it is measured.
archive_expires_after = "never"
VirtualHost "{domain}"
"""


class Prosody(ChatServer):
    """Prosody as Debian packs it."""

    name = "Prosody mod_mam (PostgreSQL)"
    package = "prosody"
    driver = "lua-dbi-postgresql"
    progress = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM prosodyarchive_sort_id_seq"
    verdict = (
        "SELECT count(*), count(DISTINCT substring(value FROM 'id=.(m[0-9]+)')),"
        " extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8"
        " FROM prosodyarchive WHERE store = 'archive'"
    )

    def start(self, folder: Path, port: int, database_url: str, accounts: dict[str, str]) -> Process:
        """Write the accounts as files and start the server; it makes its tables itself."""
        rmtree(folder / "data", ignore_errors=True)
        people = folder / "data" / DOMAIN.replace(".", "%2e") / "accounts"
        people.mkdir(parents=True)
        for name, password in accounts.items():
            (people / f"{name}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')
        database = urlsplit(database_url)
        configuration = folder / "prosody.cfg.lua"
        configuration.touch(0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                folder=folder, port=port, domain=DOMAIN, host=database.hostname, database_port=database.port,
                database=database.path[1:], user=database.username, password=database.password,
            )
        )  # fmt: skip
        return Process("prosody", ["prosody", "--config", configuration, "-F"], folder)
