"""A search of three plug-in files on a head and two nodes that have never seen them. `make test-slow`"""

from pathlib import Path
from typing import Any

import pytest

from lightning_modules.yaml_file import write_yaml
from tests.cluster.three_hosts import Cluster
from tests.conftest import EXAMPLES, plugin_sections
from tests.sweeps.conftest import train_alone

VALIDATIONS, STEPS = 40, 2000
SCORES = ("test/nll", "val/nll", "test/exact_accuracy", "ood/exact_accuracy")


def sweep_sections(storage: Path) -> dict[str, Any]:
    trial = plugin_sections(fit={"batch_size": 16, "budget": {"unit": "steps", "amount": STEPS}})
    trial["eval"] = trial["eval"] | {"validations": VALIDATIONS}
    plugins = [*trial.pop("plugins"), "my_sampler.py"]
    search = {
        "sampler": {"kind": "halton"},
        "space": {"model.rate": {"uniform": [0.1, 0.9]}},
        "objectives": [{"metric": "val/nll", "goal": "minimize"}],
        "num_trials": 4,
    }
    return {"name": "tiny", "plugins": plugins, "trial": trial, "search": search, "storage": str(storage)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nodes_get_the_files_from_the_store_and_a_killed_node_changes_no_score(
    cluster: Cluster, plugin_folder: Path, tmp_path: Path
) -> None:
    (plugin_folder / "my_sampler.py").write_text(EXAMPLES["my_sampler.py"])
    spec = plugin_folder / "sweep.yaml"
    spec.write_text(write_yaml(sweep_sections(cluster.folder / "runs")))
    cluster.drive(spec)
    cluster.wait(lambda: len(cluster.store.begun()) > 0, 180)
    for file in plugin_folder.iterdir():
        file.unlink()

    cluster.wait(lambda: cluster.running_on(cluster.left), 180)
    lost = cluster.running_on(cluster.left)
    assert lost is not None
    cluster.left.kill()
    cluster.driver.wait(600)
    assert cluster.driver.returncode == 0, cluster.log.read_text()

    results = cluster.store.results()
    assert [record["outcome"] for record in results.values()] == ["completed"] * 4
    assert {attempt["address"] for name in results for attempt in cluster.store.attempts(name)} >= {
        cluster.left.address,
        cluster.right.address,
    }
    assert cluster.store.attempts(lost)[-1]["from_checkpoint"] > 0
    alone = train_alone(Path(cluster.store.location) / f"trials/{lost}/trial.yaml", tmp_path / "alone", results[lost]["threads"])
    assert {name: alone[name] for name in SCORES} == {name: results[lost][name] for name in SCORES}
