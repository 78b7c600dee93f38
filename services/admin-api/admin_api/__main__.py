"""``python -m admin_api``: the service, and commands for an operator's terminal.

``migrate`` brings the schema up to date, ``completeness`` counts missing IMs, ``trace ID`` shows one IM's
way, ``reconcile`` compares the call detail records with the archive.
"""

import argparse
import logging
import math
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import uvicorn

from admin_api.access.principals import Actor, load_principals
from admin_api.app import create_app
from admin_api.archive.completeness.answers import lines_of_completeness
from admin_api.archive.completeness.queries import count_all
from admin_api.archive.traces.answers import lines_of_trace
from admin_api.archive.traces.queries import find_trace
from admin_api.cdr import reconciliation
from admin_api.cdr.answers import Reconciliation
from admin_api.config import AdminSettings, CompletenessSettings, MigrationSettings
from admin_api.database import UNAVAILABLE, Database
from admin_api.migrations import migrate
from contract.message import time_of
from runtime.listening import listen_with, raise_file_limit
from runtime.logs import start_logging
from runtime.settings import load_settings

log = logging.getLogger("admin-api")

_LOOK_SECONDS: Final = 0.5
_MAX_WAIT: Final = 86_400
_LEAST_HOURS: Final = 0.01
_MAX_HOURS: Final = 1_000_000
"""A century."""


def _serve(_: argparse.Namespace) -> None:
    settings = load_settings(AdminSettings)
    start_logging(settings.log_level)
    raise_file_limit()
    try:
        principals = load_principals(settings.principals_file)
    except (OSError, ValueError) as error:
        sys.exit(f"LCS_PRINCIPALS_FILE: {error}")
    app = create_app(settings, principals)
    # uvicorn raises the signal again once it has stopped in order; then this is the end of a good run.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    log.info("starting", extra={"url": f"http://{settings.host}:{settings.port}"})
    server = uvicorn.Server(listen_with(app, settings.host, settings.port, timeout_graceful_shutdown=10))
    server.run()
    if not server.started:
        sys.exit(1)


def _migrate(_: argparse.Namespace) -> None:
    settings = load_settings(MigrationSettings)
    start_logging()
    migrate(settings.database_url)
    log.info("the schema policy is up to date")


def _prove_completeness(arguments: argparse.Namespace) -> int:
    """Return the exit code: 0 if nothing is missing, 1 if something is, 2 if the database cannot tell."""
    database = Database(load_settings(CompletenessSettings).database_url)
    deadline = time.monotonic() + arguments.wait
    try:
        while (found := count_all(database)).totals.missing and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    except UNAVAILABLE as error:
        print(f"the database is out of reach: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    for line in lines_of_completeness(found):
        print(line)  # noqa: T201 - a command's answer
    return 1 if found.totals.missing else 0


def _trace(arguments: argparse.Namespace) -> int:
    """Return the exit code: 0 if the IM is found, 1 if there is none, 2 if the database cannot tell."""
    try:
        im_id = UUID(arguments.id)
        time_of(im_id)
    except ValueError:
        sys.exit("trace: name an IM by its id, a UUIDv7")
    database = Database(load_settings(CompletenessSettings).database_url)
    try:
        trace = find_trace(database, im_id, Actor("python -m admin_api trace", "operator"))
    except UNAVAILABLE as error:
        print(f"the database is out of reach: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    if trace is None:
        print("there is no such IM in the archive", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    for line in lines_of_trace(trace):
        print(line)  # noqa: T201 - a command's answer
    return 0


def _reconcile(arguments: argparse.Namespace) -> int:
    """Return the exit code: 0 if all counts agree, 1 if some differ, 2 if the database cannot tell."""
    database = Database(load_settings(CompletenessSettings).database_url)
    until = datetime.now(UTC)
    deadline = time.monotonic() + arguments.wait
    since = until - timedelta(hours=arguments.hours)
    steps: list[Reconciliation] = []
    try:
        for begin, end in reconciliation.steps_of(since, until):
            while (
                found := reconciliation.reconcile(database, begin, end)
            ).differing and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
            steps.append(found)
            if found.differing:
                print(f"{begin:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S}: {reconciliation.line_of(found)}")  # noqa: T201 - as below
    except UNAVAILABLE as error:
        print(f"the database is out of reach: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    total = reconciliation.total_of(steps)
    print(reconciliation.line_of(total))  # noqa: T201 - a command's answer
    if total.differing:
        print("GET /v1/cdr/reconciliation names them to a compliance officer")  # noqa: T201 - a command's answer
    return 1 if total.differing else 0


def _read_wait(text: str) -> float:
    """Return seconds. Raises argparse.ArgumentTypeError."""
    return _read_number(text, 0, _MAX_WAIT, "seconds")


def _read_hours(text: str) -> float:
    """Return hours, more than none: an empty time would always agree. Raises argparse.ArgumentTypeError."""
    return _read_number(text, _LEAST_HOURS, _MAX_HOURS, "hours")


def _read_number(text: str, least: float, most: float, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of {unit} from {least:g} to {most:g}")
    return number


def main() -> None:
    """Run the command named on the command line, by default the service."""
    parser = argparse.ArgumentParser("python -m admin_api", description=__doc__)
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("migrate", help="make the schema, or bring it up to date").set_defaults(run=_migrate)
    completeness_parser = commands.add_parser("completeness", help="is an IM missing?")
    completeness_parser.set_defaults(run=_prove_completeness)
    trace_parser = commands.add_parser("trace", help="the way of one IM")
    trace_parser.set_defaults(run=_trace)
    trace_parser.add_argument("id", nargs="?", default="", metavar="ID", help="of the IM")
    reconcile_parser = commands.add_parser("reconcile", help="do the records agree with the archive?")
    reconcile_parser.set_defaults(run=_reconcile)
    reconcile_parser.add_argument(
        "--hours", type=_read_hours, default=1, help="the last of them, five minutes at a time"
    )
    for each in (completeness_parser, reconcile_parser):
        each.add_argument(
            "--wait", type=_read_wait, default=0, metavar="SECONDS", help="how long IMs may still come"
        )
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))


if __name__ == "__main__":
    main()
