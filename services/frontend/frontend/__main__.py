"""``python -m frontend``: one front end."""

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable

import msgspec
import uvicorn

from frontend.app import create_app
from frontend.config import FrontEndSettings
from runtime.listening import listen_with, raise_file_limit
from runtime.logs import start_logging
from runtime.settings import load_settings
from runtime.token import Connector, by_hash


class _Server(uvicorn.Server):
    """Ends streams before it waits for the requests under way: a stream may last for days."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_streams()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM or SIGINT; then take no more, have everything confirmed, exit 0."""
    os.umask(0o077)  # the state folder holds what people said, and whose IMs are archived
    settings = load_settings(FrontEndSettings)
    start_logging(settings.log_level)
    raise_file_limit()
    try:
        connectors = msgspec.json.decode(settings.connectors_file.read_bytes(), type=list[Connector])
        by_hash(connectors)  # here the file can be named
    except (OSError, ValueError) as error:
        sys.exit(f"LCS_CONNECTORS_FILE: {error}")
    try:
        app = create_app(settings, connectors)
    except OSError as error:
        sys.exit(f"LCS_STATE_DIR: {error}")
    # What is there now stays; of what comes, thousands of IMs at a time are no garbage but work.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # uvicorn raises the signal that ended it once more, for whoever had handled it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = listen_with(
        app,
        settings.host,
        settings.port,
        loop="uvloop",
        timeout_graceful_shutdown=int(settings.deadline_seconds) + 5,
    )
    server = _Server(config, app.state.stop)
    server.run()
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
