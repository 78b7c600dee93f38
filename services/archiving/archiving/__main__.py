"""Commands of ``python -m archiving``: the worker, ``cdr``, ``migrate``, ``replay`` and ``render``."""

import argparse
import gc
import logging
import signal
import sys
import time
from typing import Final

import psycopg

from archiving.archive import Archive
from archiving.cdr.worker import CDRWorker
from archiving.config import CDRSettings, ConsumerSettings, MigrationSettings, StoreSettings, WorkerSettings
from archiving.metrics import serve_health
from archiving.rerendering import render_again
from archiving.storing import replay_all
from archiving.trial import COMMAND as TRIAL
from archiving.trial import run_trial
from archiving.worker import Worker
from runtime.logs import start_logging
from runtime.settings import load_settings

log = logging.getLogger("archiving")

_LOOK_SECONDS: Final = 0.2


def _work() -> None:
    settings = load_settings(WorkerSettings)
    start_logging(settings.log_level)
    worker = Worker(settings)
    # What is there now stays; of what comes, thousands of IMs at a time are no garbage but work.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    _run(worker, settings)


def _run(worker: Worker | CDRWorker, settings: ConsumerSettings) -> None:
    """Run a worker until it is told to stop, and serve its health."""
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    signal.signal(signal.SIGINT, lambda *_: worker.stop())
    server = serve_health(settings.host, settings.port, worker.readiness)
    log.info("started", extra={"health": f"http://{settings.host}:{server.server_port}"})
    worker.run()


def _record() -> None:
    settings = load_settings(CDRSettings)
    start_logging(settings.log_level)
    _run(CDRWorker(settings), settings)


def _migrate() -> None:
    from archiving.migrations import migrate  # noqa: PLC0415 - Alembic is loaded only where it is used

    settings = load_settings(MigrationSettings)
    start_logging()
    migrate(settings.database_url)
    log.info("the schema archive is up to date")


def _replay() -> None:
    """Exit with 1 if a parked IM still cannot be stored."""
    settings = load_settings(StoreSettings)
    start_logging(settings.log_level)
    try:
        archive = Archive(settings.database_url)
        archive.request_replay("python -m archiving replay", "all that is parked")
        while (still := archive.count_parked())[1]:
            if replay_all(archive, settings.senders) == (0, 0):  # a worker is at it
                time.sleep(_LOOK_SECONDS)
    except psycopg.Error as error:
        sys.exit(f"the database is out of reach: {error}")
    log.info("replayed all that was parked", extra={"parked_still": still[0]})
    sys.exit(1 if still[0] else 0)


def _render() -> None:
    """Exit with 2 if another process renders already, with 1 if the database is out of reach."""
    parser = argparse.ArgumentParser(
        prog="python -m archiving render", description="Render again what is stored."
    )
    parser.add_argument("--who", required=True, help="who asks for it: the audit trail says so")
    parser.add_argument(
        "--anew", action="store_true", help="from the beginning, even if a run before was cut short"
    )
    arguments = parser.parse_args(sys.argv[2:])
    settings = load_settings(StoreSettings)
    start_logging(settings.log_level)
    try:
        outcome = render_again(settings.database_url, arguments.who, anew=arguments.anew)
    except psycopg.errors.LockNotAvailable:
        log.error("somebody renders again already")
        sys.exit(2)
    except psycopg.Error as error:
        sys.exit(f"the database is out of reach: {error}")
    log.info("rendered again", extra=outcome._asdict())


def _trial() -> None:
    settings = load_settings(StoreSettings)
    start_logging(settings.log_level)
    sys.exit(run_trial(settings))


def main() -> None:
    """Run the command named on the command line, by default the worker."""
    commands = {
        (): _work,
        ("cdr",): _record,
        ("migrate",): _migrate,
        ("replay",): _replay,
        (TRIAL,): _trial,
    }
    command = _render if sys.argv[1:2] == ["render"] else commands.get(tuple(sys.argv[1:]))
    if command is None:
        sys.exit("usage: python -m archiving [cdr | migrate | replay | render --who NAME [--anew]]")
    command()


if __name__ == "__main__":
    main()
