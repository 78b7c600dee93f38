"""A TCP proxy that can be cut, black-holed and mended: the network between two parts."""

import contextlib
import selectors
import socket
import struct
import threading
import time

_CHUNK = 1 << 16


class Proxy:
    """Passes connections on to a port of this machine."""

    def __init__(self, target: int) -> None:
        """Serve at ``port`` from now on."""
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._passing = threading.Event()
        self._passing.set()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._refusing = False
        self._ended = False
        self.delay = 0.0
        """Seconds by which each piece of data is late."""
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._pump, daemon=True).start()

    def black_hole(self) -> None:
        """Let nothing through any more, and tell nobody."""
        self._passing.clear()

    def refuse(self) -> None:
        """Reset all connections (RST), and each new one at once."""
        with self._lock:
            self._refusing = True
        self.cut()

    def mend(self) -> None:
        """Let everything through again; what stood still goes on."""
        self._refusing = False
        self._passing.set()

    def cut(self) -> None:
        """Reset all connections (RST); new ones are taken."""
        with self._lock:
            ends = list(self._pairs)
            self._pairs.clear()
        for end in ends:
            self._reset(end)

    def close(self) -> None:
        """End."""
        self._ended = True
        self._listening.close()
        self.mend()
        self.cut()

    def _reset(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._selector.unregister(end)
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                ours, _ = self._listening.accept()
            except OSError:
                return
            try:
                theirs = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                self._reset(ours)
                continue
            theirs.settimeout(None)
            with self._lock:
                if not (refused := self._refusing):
                    self._pairs[ours], self._pairs[theirs] = theirs, ours
            for end in (ours, theirs):
                if refused:
                    self._reset(end)
                else:
                    self._selector.register(end, selectors.EVENT_READ)

    def _pump(self) -> None:
        while not self._ended:
            self._passing.wait()
            for key, _ in self._selector.select(0.1):
                end: socket.socket = key.fileobj  # type: ignore[assignment]  # we register nothing else
                if not self._passing.is_set():
                    break
                time.sleep(self.delay)
                self._pass_on(end)

    def _pass_on(self, end: socket.socket) -> None:
        other = self._pairs.get(end)
        try:
            data = end.recv(_CHUNK)
            if data and other is not None:
                other.sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            self._pairs.pop(end, None)
            if other is not None:
                self._pairs.pop(other, None)
        for each in (end, other):
            if each is not None:
                self._reset(each)
