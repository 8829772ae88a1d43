"""What `make` prints while it installs."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT

# In place of a Python: makes a .venv whose programs write down how they were called.
PYTHON = """#!/bin/sh
mkdir -p .venv/bin
for name in pip python; do
  printf '#!/bin/sh\\necho "ran %s $*"\\n[ ! -e fails ] || exit 1\\n' $name > .venv/bin/$name
  chmod +x .venv/bin/$name
done
"""


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    arguments = ["make", ".venv/.installed", "PYTHON=./python"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # as if no `make` ran this test
    return subprocess.run(arguments, cwd=folder, env=alone, capture_output=True, text=True, timeout=60, check=False)


def test_each_step_of_an_installation_has_a_line_before_it(tmp_path: Path) -> None:
    lines = make(tmp_path).stdout.splitlines()
    count = (ROOT / "requirements.lock").read_text().count("==")
    assert [line.split(":")[0] for line in lines if " of 4" in line] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    assert f"installing {count} packages into .venv (about 3 minutes" in lines[1]
    programs = [place for place, line in enumerate(lines) if line.startswith("ran pip")]
    assert len(programs) == 2 and all(" of 4: installing" in lines[place - 1] for place in programs)
    assert "-qq" in lines[programs[0]]  # a pipe gets no progress bars


def test_an_installation_that_fails_is_not_taken_for_done(tmp_path: Path) -> None:
    (tmp_path / "fails").touch()
    assert make(tmp_path).returncode != 0 and not (tmp_path / ".venv/.installed").exists()
