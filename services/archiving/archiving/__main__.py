"""``python -m archiving``: the worker; ``… migrate``: the schema; ``… replay``: parked IMs come again."""

import logging
import signal
import sys

from archiving.config import MigrationSettings, ReplaySettings, WorkerSettings
from archiving.metrics import serve_health
from archiving.migrations import migrate
from archiving.parking import replay
from archiving.worker import Worker
from contract.logs import start_logging
from contract.settings import load_settings

log = logging.getLogger("archiving")


def _work() -> None:
    settings = load_settings(WorkerSettings)
    start_logging(settings.log_level)
    worker = Worker(settings)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    signal.signal(signal.SIGINT, lambda *_: worker.stop())
    server = serve_health(settings.host, settings.port, worker.readiness)
    log.info("started", extra={"health": f"http://{settings.host}:{server.server_port}"})
    worker.run()


def _migrate() -> None:
    settings = load_settings(MigrationSettings)
    start_logging()
    migrate(settings.database_url)
    log.info("the schema archive is up to date")


def _replay() -> None:
    settings = load_settings(ReplaySettings)
    start_logging(settings.log_level)
    log.info("replayed", extra={"messages": replay(settings.amqp_url)})


def main() -> None:
    """Run the command named on the command line, by default the worker."""
    commands = {(): _work, ("migrate",): _migrate, ("replay",): _replay}
    command = commands.get(tuple(sys.argv[1:]))
    if command is None:
        sys.exit("usage: python -m archiving [migrate | replay]")
    command()


if __name__ == "__main__":
    main()
