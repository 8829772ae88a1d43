"""`items.parquet` agrees with the record and the curves of its trial."""

from pathlib import Path

import pandas as pd

from lightning_modules.fit import fit
from lightning_modules.trial_folder import ITEMS
from tests.conftest import tiny_trial


def test_items_add_up_to_the_depth_curve(tmp_path: Path) -> None:
    config = tiny_trial(
        fit__budget__amount=60, optim={"lr": 5e-3}, model__supervision_steps=3, eval__max_depth=6, model__state_init="random",
        eval__rollouts=2,
    )  # fmt: skip
    result = fit(config, tmp_path)
    items = pd.read_parquet(tmp_path / ITEMS)
    chosen = result.record["chosen_depth"]
    assert set(items["depth"]) == {1, 2, 3, 4, chosen} and set(items["rollout"]) == {0, 1}
    assert len(items) == 30 * items["depth"].nunique() * 2
    curve = {p["at"]: p["value"] for p in result.curves if p["metric"] == "depth/exact_accuracy"}
    change = {p["at"]: p["value"] for p in result.curves if p["metric"] == "depth/state_change"}
    first = items[items["rollout"] == 0].groupby("depth")
    for depth, rows in first:
        assert abs(rows["correct"].mean() - curve[depth]) < 1e-12
        assert abs(rows["state_change"].mean() - change[depth]) < 1e-6
    assert (items.loc[items["depth"] == 1, "token_changes"] == 16).all()
    assert items.groupby("item")["difficulty"].nunique().max() == 1


def test_a_trial_without_a_folder_leaves_none(tmp_path: Path) -> None:
    fit(tiny_trial())
    assert not list(tmp_path.iterdir())
