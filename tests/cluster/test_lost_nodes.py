"""A head and two nodes: one is killed, the other is cut off for a minute. `make test-slow`"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.store.store import Store
from sweeps.tracking.mlflow.reader import read_runs
from tests.cluster.three_hosts import Cluster
from tests.sweeps.conftest import measure_sections

CUT_SECONDS = 60.0
VALIDATIONS, STEPS = 60, 6000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_trials_of_lost_nodes_go_on_elsewhere_from_their_checkpoints(cluster: Cluster, write_spec: Callable) -> None:
    sections = measure_sections(fit__budget__amount=STEPS, eval__validations=VALIDATIONS)
    sections["measure"]["vary"]["model.hidden_size"] = [16, 24, 32]
    cluster.drive(write_spec(sections))
    cluster.wait(lambda: all(map(cluster.running_on, (cluster.head, cluster.left, cluster.right))), 180)

    on_left = cluster.running_on(cluster.left)
    noticed = cluster.losses()
    cluster.left.kill()
    print(f"\nkilled node: its loss was noticed after {cluster.wait(lambda: cluster.losses() > noticed, 60):.1f} s")

    cluster.wait(lambda: cluster.running_on(cluster.right), 60)
    on_right = cluster.running_on(cluster.right)
    noticed = cluster.losses()
    cluster.right.cut()
    cut_at = time.monotonic()
    print(f"node cut off: its loss was noticed after {cluster.wait(lambda: cluster.losses() > noticed, 120):.1f} s")
    time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - cut_at)))
    cluster.right.repair()

    cluster.driver.wait(600)
    assert cluster.driver.returncode == 0, cluster.log.read_text()
    check_complete(cluster.store, {on_left, on_right}, cluster.folder)


def check_complete(store: Store, lost: set[str | None], folder: Path) -> None:
    """Every trial of the spec, each step once, and those of the lost nodes from their checkpoints and without blame."""
    results = store.results()
    assert len(results) == 6 and {record["outcome"] for record in results.values()} == {"completed"}
    assert {record["steps"] for record in results.values()} == {STEPS}
    rows = Counter((row["fingerprint"], row["row"]["step"]) for row in store.rows())
    assert len(rows) == 6 * VALIDATIONS and max(rows.values()) == 1
    for fingerprint in results:
        attempts = store.attempts(fingerprint)
        assert len(attempts) == (2 if fingerprint in lost else 1), attempts
        if fingerprint in lost:
            assert attempts[1]["from_checkpoint"] > 0 and attempts[1]["losses"] == 0
            assert attempts[1]["address"] != attempts[0]["address"]
    found = read_runs(f"sqlite:///{folder / 'runs/mlflow.db'}", "tiny")
    assert found is not None and len(found.records) == 6
    points = Counter((point["fingerprint"], point["metric"], point["at"]) for point in found.curves.to_pylist())
    assert max(points.values()) == 1
