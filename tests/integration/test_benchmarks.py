"""A benchmark runs from one end to the other; how fast is not a matter for tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import benchmarks

_PACKAGE = Path(benchmarks.__file__).parent


def test_a_question_is_answered_on_a_stack_of_its_own(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "benchmarks")
    few = {"LCS_BENCH_IMS": "20000", "LCS_BENCH_ROUNDS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "drain"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("LCS_")} | few,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads((tmp_path / ".state" / "bench" / "answers" / "drain.json").read_text())
    assert {name for name, figure in answer["bars"] if figure > 0} == {row[0] for row in answer["rows"][:-1]}
