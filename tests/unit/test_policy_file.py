"""The policy on disk that counts: of all slots of a volume the one confirmed last."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contract.policy import GlobalSetting, PolicySettings
from frontend.policy.file import read_newest

_TEXT = msgspec.json.encode(
    PolicySettings(
        version=0,
        since=0,
        internal=GlobalSetting.NONE,
        federated=GlobalSetting.NONE,
        domains=frozenset(),
        pools=(),
    )
)
_AGES = (-3600, -60, 0, 60, 200, 5000, 90_000)
"""Seconds; the first is so far in the future that nobody knows when that was."""
_files = st.tuples(
    st.integers(1, 9),
    st.sampled_from(_AGES),
    st.sampled_from(["whole", "cut", "header cut", "none"]),
)


@given(st.lists(_files, min_size=1, max_size=5))
def test_of_the_policies_that_can_be_read_the_one_confirmed_last_counts(
    files: list[tuple[int, int, str]],
) -> None:
    now = time.time()
    with TemporaryDirectory() as volume:
        for number, (version, age, state) in enumerate(files, 1):
            slot = Path(volume, str(number))
            slot.mkdir()
            if state == "none":
                continue
            text = _TEXT.replace(b'"version":0', b'"version":%d' % version) + b"\n"
            text = text[:20] if state == "header cut" else text + b"[" if state == "cut" else text
            (slot / "policy.ndjson").write_bytes(text)
            os.utime(slot / "policy.ndjson", (now - age, now - age))
        kept = read_newest(Path(volume, "1"))
    ages = {
        (version, age if age > -300 else float("inf")) for version, age, state in files if state == "whole"
    }
    if kept is None:
        assert not ages
        return
    youngest = min(age for _, age in ages)
    assert kept.policy.settings.version == max(version for version, age in ages if age <= youngest + 120)
    assert (kept.confirmed == float("-inf")) == (youngest == float("inf"))
