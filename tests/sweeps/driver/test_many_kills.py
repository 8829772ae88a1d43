"""One sweep whose driver is killed ten times. `make test-slow`"""

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.store.store import Store
from sweeps.tracking.mlflow.reader import read_runs
from tests.sweeps.conftest import command, load_study, run_command, search_sections
from tests.sweeps.driver.test_run import ENVIRONMENT

KILLS, TRIALS = 10, 24


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_killed_drivers_leave_each_trial_once(write_spec: Callable, tmp_path: Path) -> None:
    sections = search_sections(fit__budget__amount=400, eval__validations=20)
    sections["search"] |= {
        "num_trials": TRIALS,
        "scheduler": {"kind": "asha", "grace": 0.2, "reduction": 2},
        "constraints": ["params <= 8000"],
    }
    spec = str(write_spec(sections))
    store = Store(tmp_path / "runs/tiny")
    moments = random.Random(0)
    for kill in range(KILLS):
        rows = len(store.rows())
        driver = subprocess.Popen(
            command("run", spec), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(store.rows()) == rows and driver.poll() is None:  # kills before the first row prove nothing
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 3.0))
        assert driver.poll() is None, f"the sweep ended before kill {kill + 1}"
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    killed = {fingerprint for fingerprint in store.begun() if len(store.attempts(fingerprint)) > 1}
    ended = run_command("run", spec, cwd=tmp_path, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    results = store.results()
    assert len(results) == TRIALS and killed <= set(results)
    rows = Counter((row["fingerprint"], row["row"]["step"]) for row in store.rows())
    assert max(rows.values()) == 1
    for fingerprint, record in results.items():
        seen = sum(1 for known, _ in rows if known == fingerprint)
        assert record["outcome"] == "pruned" or seen == 20
    check_study(store)
    found = read_runs(f"sqlite:///{tmp_path / 'runs/mlflow.db'}", "tiny")
    assert found is not None and Counter(run["fingerprint"] for run in found.records) == Counter(results.keys())
    points = Counter((point["fingerprint"], point["metric"], point["at"]) for point in found.curves.to_pylist())
    assert max(points.values()) == 1
    print(f"\n{KILLS} kills: {TRIALS} trials, each once; {len(killed)} of them begun more than once")


def check_study(store: Store) -> None:
    """Optuna knows each trial as the store does, and none that still runs."""
    study = load_study(store.driver_folder)
    states = Counter(trial.state.name for trial in study.trials)
    assert states["RUNNING"] == 0
    told = {trial.user_attrs["fingerprint"]: trial.state.name for trial in study.trials if "fingerprint" in trial.user_attrs}
    names = {"completed": "COMPLETE", "pruned": "PRUNED"}
    for fingerprint, record in store.results().items():
        assert told[fingerprint] == names[record["outcome"]]
