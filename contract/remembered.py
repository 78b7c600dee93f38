"""A memory of results, bounded in bytes: callers choose how long a text is."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_ENTRY: Final = 100
"""Bytes of an entry beside its key and value."""
_TUPLES: Final = 3 * 56
"""Bytes of the tuples that hold an entry's texts, without the texts."""


class Remembered(Generic[K, V]):
    """A mapping that forgets entries which were not read while half of its bytes came in."""

    def __init__(self, most_bytes: int, weigh: Callable[[K, V], int]) -> None:
        """``weigh`` returns the bytes of a key and its value."""
        self._half = most_bytes // 2
        self._weigh = weigh
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._bytes = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self.get = self._young.get
        """The fast way: returns a value, or None if it takes ``recall`` to know."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def recall(self, key: K) -> V | None:
        """Return the value of a key that ``get`` doesn't know; None if it is not remembered."""
        value = self._old.pop(key, None)
        if value is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember a value."""
        self._bytes += self._weigh(key, value) + _ENTRY
        if self._bytes > self._half:
            self._old, self._young = self._young, {}
            self.get = self._young.get
            self._bytes = self._weigh(key, value) + _ENTRY
        self._young[key] = value


def weigh_texts(*texts: str) -> int:
    """Return the bytes of texts, and of the tuples that hold them."""
    # A front end asks for nearly every IM: str.__sizeof__ takes a third of the time of sys.getsizeof.
    return _TUPLES + 8 * len(texts) + sum(map(str.__sizeof__, texts))
