"""``python -m admin_api``: the service; ``… migrate``: the schema."""

import logging
import signal
import sys

import uvicorn

from admin_api.app import create_app
from admin_api.config import AdminSettings, MigrationSettings
from admin_api.migrations import migrate
from admin_api.principals import load_principals
from contract.logs import start_logging
from contract.settings import load_settings

log = logging.getLogger("admin-api")


def _serve() -> None:
    settings = load_settings(AdminSettings)
    start_logging(settings.log_level)
    try:
        principals = load_principals(settings.principals_file)
    except (OSError, ValueError) as error:
        sys.exit(f"LCS_PRINCIPALS_FILE: {error}")
    app = create_app(settings, principals)
    # uvicorn raises the signal again once it has stopped in order; then this is the end of a good run.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    log.info("starting", extra={"url": f"http://{settings.host}:{settings.port}"})
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
    )


def _migrate() -> None:
    settings = load_settings(MigrationSettings)
    start_logging()
    migrate(settings.database_url)
    log.info("the schema policy is up to date")


def main() -> None:
    """Run the command named on the command line, by default the service."""
    commands = {(): _serve, ("migrate",): _migrate}
    command = commands.get(tuple(sys.argv[1:]))
    if command is None:
        sys.exit("usage: python -m admin_api [migrate]")
    command()


if __name__ == "__main__":
    main()
