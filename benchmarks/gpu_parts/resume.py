"""Is a trial that was interrupted and resumed equal to one that ran through, bit for bit, on this device?"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_parts.figure import Figure, Setting
from gpu_parts.trials import MODELS, paper_trial
from lightning_modules.config import TrialConfig
from lightning_modules.fit import fit
from lightning_modules.record import Row
from lightning_modules.trial_folder import CHECKPOINT

SLOTS, STEPS, VALIDATIONS = 64, 16, 4


class Interrupted(Exception):
    """Ends a trial after its second checkpoint."""


def figures(setting: Setting) -> Iterator[Figure]:
    """One figure a model, under the product's own settings: torch's deterministic algorithms are not asked for."""
    for name in MODELS:
        config = _trial(name, setting.tiny)
        with tempfile.TemporaryDirectory() as folder:
            through, resumed = _train(config, Path(folder, "through")), _resume(config, Path(folder, "resumed"))
            different = _differences(through, resumed)
            if not different:
                yield Figure(f"{name}, resumed", f"all {len(through)} tensors equal bit for bit")
                continue
            again = _differences(through, _train(config, Path(folder, "again")))
        cause = f"two runs without a resume differ in {len(again)}" if again else "two runs without a resume are equal"
        remark = f"by {max(different.values()):.1e}; {cause}"
        yield Figure(f"{name}, resumed", f"{len(different)} of {len(through)} tensors differ", "", remark, failed=True)


def _trial(name: str, tiny: bool) -> TrialConfig:
    """A short trial of a paper's model; with few supervision steps, so that slots are freed and filled within it."""
    depth = 2 if tiny else 4
    fit = {"batch_size": 4 if tiny else SLOTS, "budget": {"unit": "steps", "amount": VALIDATIONS if tiny else STEPS}}
    scoring = {"validations": VALIDATIONS, "max_depth": depth}
    return paper_trial(name, tiny, fit=fit, model={"supervision_steps": depth}, eval=scoring)


def _train(config: TrialConfig, folder: Path) -> dict[str, Tensor]:
    """Tensors of the last checkpoint of a trial that runs to its end, or goes on in a fresh trainer where one lies there."""
    folder.mkdir(exist_ok=True)
    fit(config, folder)
    checkpoint = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    trial = checkpoint["trial"]
    kept = {name: checkpoint[name] for name in ("state_dict", "optimizer_states")}
    return dict(_tensors(kept | {"carry": trial["carry"], "random state": trial["random_state"]}))


def _resume(config: TrialConfig, folder: Path) -> dict[str, Tensor]:
    """The same of a trial that was interrupted halfway."""
    rows: list[Row] = []

    def report(row: Row) -> bool:
        rows.append(row)
        if len(rows) == VALIDATIONS // 2:
            raise Interrupted
        return True

    folder.mkdir()
    try:
        fit(config, folder, report)
    except Interrupted:
        return _train(config, folder)
    raise AssertionError("the trial was not interrupted")


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested containers by its path."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _tensors(item, f"{path}.{number}")


def _differences(left: dict[str, Tensor], right: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of each tensor that is not equal bit for bit; infinite where only one side has it."""
    different = {name: float("inf") for name in left.keys() ^ right.keys()}
    for name in left.keys() & right.keys():
        if not torch.equal(left[name], right[name]):
            different[name] = float((left[name].double() - right[name].double()).abs().max())
    return different
