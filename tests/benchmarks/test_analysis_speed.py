"""`benchmarks/analysis_speed.py` makes tables that `rrm-analyze` takes."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.more
def test_the_benchmark_prints_its_figures() -> None:
    command = [sys.executable, "benchmarks/analysis_speed.py", "--runs", "80"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert re.match(r"80 runs, 4000 points: \d+\.\d s, \d\.\d\d GB, report of \d\.\d MB", ended.stdout)
