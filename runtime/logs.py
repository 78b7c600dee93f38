"""Logs: text on a terminal, one JSON document a line elsewhere. Never an IM's text, never a token."""

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

from runtime.current_request import request_id

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of a line. One that is written while a request is served has its id."""
    served = request_id()
    fields: dict[str, object] = {} if served is None else {"request": str(served)}
    return fields | {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": record.name,
            "event": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(event, enc_hook=str).decode()


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {name}={value}" for name, value in _fields_of(record).items())
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        text = f"{at} {record.levelname.lower():7} {record.name}: {record.getMessage()}{fields}"
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def start_logging(level: str = "INFO") -> None:
    """Send the process's log to standard error. Fields go with ``extra={"im": …}``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TextFormatter() if sys.stderr.isatty() else _JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("pika", "aio_pika", "aiormq", "httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
