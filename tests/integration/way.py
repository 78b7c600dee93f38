"""Follows one IM through the files of a service: a file is on its way if a function there holds the IM."""

import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final
from uuid import UUID

import msgspec

ROOT: Final = Path(__file__).parent.parent.parent
_OURS: Final = tuple(str(ROOT / folder) + os.sep for folder in ("contract", "runtime", "services"))
_DEEPEST: Final = 5


class _Follower:
    """Notes the file of each function that is handed the IM, or returns it: once, in order."""

    def __init__(self, im: UUID, text: str, to: Path) -> None:
        self._im = im
        self._words = (text, str(im))
        self._to = to
        self._seen: set[str] = set()

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """Be what ``sys.settrace`` calls."""
        path = frame.f_code.co_filename
        if path in self._seen or not path.startswith(_OURS):
            return None
        if event == "call":
            frame.f_trace_lines = False
        if self._holds(frame.f_locals.values() if event == "call" else (arg,), _DEEPEST):
            self._seen.add(path)
            with self._to.open("a") as file:
                file.write(f"{Path(path).relative_to(ROOT)}\n")
        return self.trace

    def _holds(self, values: Iterable[object], deep: int) -> bool:
        return any(self._is(value, deep) for value in values)

    def _is(self, value: object, deep: int) -> bool:
        match value:
            case UUID():
                return value == self._im
            case str():
                return any(word in value for word in self._words)
            case bytes() | bytearray():
                return self._im.bytes in value or any(word.encode() in value for word in self._words)
            case msgspec.Struct():
                fields = value.__struct_fields__
                return deep > 0 and self._holds([getattr(value, field) for field in fields], deep - 1)
            case list() | tuple():
                return deep > 0 and self._holds(value, deep - 1)
            case dict():
                return deep > 0 and self._holds(list(value.values()), deep - 1)
        return False


def follow(im: str, text: str, to: str) -> None:
    """Follow an IM in all threads of this process; ``to``: the file that gets a line for each file."""
    follower = _Follower(UUID(im), text, Path(to))
    threading.settrace(follower.trace)
    sys.settrace(follower.trace)
