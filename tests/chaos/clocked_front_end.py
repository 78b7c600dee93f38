"""``python -m tests.chaos.clocked_front_end``: a front end whose clock is ahead by what a file says."""

import os
import threading
import time
from pathlib import Path
from typing import Final

VARIABLE: Final = "CHAOS_CLOCK"
"""Names the file: seconds, negative if the clock is behind."""
_LOOK_SECONDS: Final = 0.02


def main() -> None:
    """Run the front end."""
    path = Path(os.environ[VARIABLE])
    ahead = 0.0
    true_time, true_time_ns = time.time, time.time_ns

    def look() -> None:
        nonlocal ahead
        while True:
            ahead = float(path.read_text() or 0) if path.exists() else 0.0
            time.sleep(_LOOK_SECONDS)

    time.time = lambda: true_time() + ahead
    time.time_ns = lambda: true_time_ns() + int(ahead * 1e9)
    threading.Thread(target=look, daemon=True).start()

    from frontend.__main__ import main as serve  # noqa: PLC0415 - with that clock from the first

    serve()


if __name__ == "__main__":
    main()
