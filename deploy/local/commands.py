"""The commands of ``python -m deploy.local``."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from httpx import HTTPError, HTTPStatusError

from deploy.local.broker import Broker
from deploy.local.chat import SAMPLE, ChatError, read_chat
from deploy.local.demo import Demo, DisagreementError
from deploy.local.edge import MODULES, LocalEdge
from deploy.local.process import StartError, kill_leftovers
from deploy.local.stack import Stack

ROOT = Path(__file__).parent.parent.parent
STATE = ROOT / ".state"
_MOST = 2_000
"""IMs of a log that the demo sends."""
_PRIVATE = 0o077
"""Umask: no other user reads IMs, on their way or in a log. Not while the distribution installs."""


def _demo(state: Path, log: Path, *, sip: bool) -> None:
    if not log.is_file():
        sys.exit(f"CHAT: there is no file {log}")
    try:
        chat = read_chat(log, _MOST)
    except ChatError as error:
        sys.exit(f"CHAT: {error}")
    folder = state / "demo"
    started = time.monotonic()
    stack = Stack(folder, sip=sip, say=_say)
    try:
        stack.clear()
        print("Starting the stack")
        stack.start()
        Demo(stack).run(chat)
    finally:
        _stop(stack)
    print(f"\nAll agree. {time.monotonic() - started:.0f} s; nothing is left running.")


def _up(state: Path, *, sip: bool) -> None:
    stack = Stack(state / "up", sip=sip, say=_say)
    try:
        stack.start()
        people = stack.folder / "secrets" / "people"
        with contextlib.suppress(KeyboardInterrupt):
            print(f"\nTokens are in {people}: connector for front ends; administrator, compliance, operator")
            print(f"for the admin API ({stack.admin_url}/docs). Logs: {stack.folder / 'processes'}.")
            print("Ctrl-C stops it all.", flush=True)
            while not (ended := stack.watch()):
                time.sleep(1)
            raise StartError(f"{ended.stem} has ended by itself: see {ended}")
    finally:
        _stop(stack)


def _stop(stack: Stack) -> None:
    try:
        print("stopping (Ctrl-C: at once)", flush=True)
        stack.stop()
    except KeyboardInterrupt:
        stack.clean()
        raise


def _down(state: Path) -> None:
    killed = kill_leftovers(state)
    print("\n".join(f"ended {name}" for name in killed) or "nothing was left running")


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _install(*, sip: bool) -> None:
    """Have the distribution's servers where they aren't installed."""
    script = Path(__file__).parent / "install-server.sh"
    if not Broker.is_installed():
        _run(script, "rabbitmq-server", "3.10")
    if sip and not LocalEdge.is_installed():
        _run(script, "kamailio", "6.0", *MODULES)


def _run(*command: str | Path) -> None:
    """Run a command that Ctrl-C lets end by itself. Raises subprocess.CalledProcessError."""
    running = subprocess.Popen(command)
    try:
        code = running.wait()
    except KeyboardInterrupt:  # the terminal has told it too, and it cleans up
        running.wait()
        raise
    if code != 0:
        raise subprocess.CalledProcessError(code, command)


def main() -> None:
    """Run the command; an error ends it with a non-zero code and its text."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="The stack on this machine.")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of data, logs and secrets")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="start the stack, send IMs, show their way, check the counts")
    demo.add_argument("--chat", type=Path, default=SAMPLE, help=f"a log whose first {_MOST:,} IMs are sent")
    up = commands.add_parser("up", help="run the stack in the foreground")
    commands.add_parser("down", help="end what a kill left running")
    commands.add_parser("install", help="install what the stack needs from the distribution")
    for command in (demo, up):
        command.add_argument("--sip", action="store_true", help="with an edge for SIP clients (Debian 13)")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        match arguments.command:
            case "demo":
                _install(sip=arguments.sip)
                os.umask(_PRIVATE)
                _demo(arguments.state, arguments.chat, sip=arguments.sip)
            case "up":
                _install(sip=arguments.sip)
                os.umask(_PRIVATE)
                _up(arguments.state, sip=arguments.sip)
            case "install":
                _install(sip=False)
            case _:
                _down(arguments.state)
    except HTTPStatusError as error:
        asked = f"{error.request.method} {error.request.url}"
        sys.exit(f"\n{asked} was answered {error.response.status_code}: {error.response.text}")
    except (StartError, DisagreementError, TimeoutError, HTTPError, OSError, psycopg.Error) as error:
        sys.exit(f"\n{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except subprocess.CalledProcessError as error:
        sys.exit(f"\n{Path(error.cmd[0]).name} failed: what it said stands above")
