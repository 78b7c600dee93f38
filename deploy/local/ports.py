"""Ports of a stack: the same at each start, and no other stack's on this machine."""

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local.process import StartError, find_free_port, is_free


class Ports:
    """Ports of the loopback interface by purpose, kept in a folder.

    Between the choice of a port and the moment its service listens, nothing shows that it is taken. So each
    is held by a name, at which other stacks look: an abstract socket, which is gone when the process is.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None] = lambda _: None, asked: Mapping[str, int] = {}
    ) -> None:
        """``folder`` keeps our ports; ``say`` is called for one that another program has.

        ``asked``: ports that a person wants, by purpose, in place of those kept.
        """
        self._file = folder / "ports.json"
        self._say = say
        self._asked = asked
        self._held: list[socket.socket] = []
        self._taken: dict[str, int] = {}

    def take(self, name: str, wanted: int = 0) -> int:
        """Return the port asked for under a name, else the one kept, the one wanted, any.

        It is held until ``release``. If another program has the one kept, any is returned for this time, and
        ``say`` is told. Raises StartError if the kept ports can't be read.
        """
        if name in self._taken:
            return self._taken[name]
        kept = self._read()
        first = self._asked.get(name) or kept.get(name, wanted)
        is_kept = kept.get(name) == first
        port = first or find_free_port()
        while not self._hold(port):
            port = find_free_port()
        self._taken[name] = port
        if not is_kept:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(kept | {name: port}, indent=2))
            new.replace(self._file)
        if first and port != first:
            until = "until it is free" if is_kept else f"kept in {self._file}"
            self._say(f"{name:11} port {first} is taken by another program: {port} in its place, {until}")
        return port

    def _read(self) -> dict[str, int]:
        """Return the kept ports by purpose."""
        try:
            kept: dict[str, int] = json.loads(self._file.read_text()) if self._file.exists() else {}
        except ValueError as error:
            raise StartError(
                f"{self._file} is no JSON ({error}): mend it, or remove it to have ports chosen anew"
            ) from None
        return kept

    def _hold(self, port: int) -> bool:
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0lcs-archive-port-{port}")
        except OSError:
            holder.close()
            return False
        if not is_free(port):
            holder.close()
            return False
        self._held.append(holder)
        return True

    def release(self) -> None:
        """Hold none any more."""
        for holder in self._held:
            holder.close()
        self._held.clear()
        self._taken.clear()
