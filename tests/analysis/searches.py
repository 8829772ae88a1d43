"""Stores of made-up searches: real specs and trials, and scores that follow from the settings."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.columns import CONFIRM
from lightning_modules.config import TrialConfig
from lightning_modules.trial_folder import RESULT
from lightning_modules.yaml_file import write_yaml
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.store.store import Store

SPACE: dict[str, Any] = {
    "optim.lr": {"log_uniform": [1e-4, 1e-2]},
    "model.hidden_size": {"int": [16, 48], "step": 8},
    "model.l_cycles": {"int": [1, 4]},
    "model.positions": {"choice": ["rotary", "learned"]},
}
NLL = {"metric": "val/nll", "goal": "minimize"}
FEWER = {"metric": "params", "goal": "minimize"}
SECTIONS: dict[str, Any] = {
    "name": "found",
    "defaults": 2,
    "trial": {
        "task": {"kind": "sudoku", "size": 4},
        "model": {"kind": "trm", "head_size": 8, "num_layers": 1, "h_cycles": 1, "supervision_steps": 1, "halting": "fixed"},
        "fit": {"batch_size": 32, "budget": {"unit": "steps", "amount": 100}},
    },
}


def write_search(
    folder: Path, count: int = 20, space: dict[str, Any] | None = None, trial: dict[str, Any] | None = None, **search: Any
) -> Store:
    """A store of a search. Every fifth trial is pruned, and one failed; the confirm stage is finished if the spec has one."""
    given = {"space": space or SPACE, "objectives": [NLL], "num_trials": count} | search
    store = Store(folder / "found")
    store.create()
    store.write_spec(write_yaml(SECTIONS | {"trial": SECTIONS["trial"] | (trial or {}), "search": given}))
    spec = parse_stored_spec(store.spec() or "", "found", {})
    rng = np.random.default_rng(0)
    records, configs = [], {}
    for number in range(count):
        values = {path: draw(domain, rng) for path, domain in given["space"].items()}
        outcome = "pruned" if number % 5 == 4 else "failed" if number == 3 else "completed"
        config = spec.trial_with(values, "search.space")
        configs[config.fingerprint] = config
        records.append(write_trial(store, config, outcome, number))
    confirm = spec.search.confirm if spec.search else None
    if confirm:
        assert spec.search is not None
        for best in spec.search.best(records, confirm.top):
            for seed in range(1, confirm.seeds + 1):
                write_trial(
                    store, configs[best["fingerprint"]].model_copy(update={"seed": seed}), "completed", count + seed, stage=CONFIRM
                )
    return store


def draw(domain: dict[str, Any], rng: np.random.Generator) -> Any:
    (kind, limits), *_ = domain.items()
    if kind == "choice":
        return limits[rng.integers(len(limits))]
    low, high = limits
    if kind == "log_uniform":
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if kind == "uniform":
        return float(rng.uniform(low, high))
    return int(rng.choice(range(low, high + 1, domain.get("step", 1))))


def write_trial(store: Store, config: TrialConfig, outcome: str, number: int, **columns: Any) -> dict[str, Any]:
    """A trial whose loss is least at a rate of 0.001, for wide models, with a bit of noise for each seed."""
    settings = config.flat()
    width, n = settings["model.hidden_size"], settings.get("model.l_cycles", 0)
    noise = 0.02 * math.sin(7 * config.seed + number)
    nll = 0.3 + 0.1 * abs(math.log10(config.optim.lr) + 3) + 4 / width - 0.02 * n + noise
    scores = {
        f"{split}/{name}": value for split in ("val", "test") for name, value in (("nll", nll), ("exact_accuracy", math.exp(-nll)))
    }
    curve = [
        {"metric": "val_curve/nll", "axis": "step", "at": step, "value": nll + 1 / step, "time": 1000 * number + step}
        for step in ((20, 40) if outcome == "pruned" else (20, 40, 60, 80, 100))
    ]
    record = settings | {
        "fingerprint": config.fingerprint, "sweep": "found", "outcome": outcome, "seed": config.seed, "matching": "steps",
        "params": 100 * width**2, "wall_seconds": 2.0, "inference_flops": 1e4 * width**2,
        "train_flops": 1e8 * width**2, "layers_executed": n + 1,
    } | (scores if outcome == "completed" else {}) | ({"reason": "diverged"} if outcome == "failed" else {}) | columns  # fmt: skip
    store.write_trial(config.fingerprint, write_yaml(config.model_dump(mode="json", exclude_none=True)))
    store.backend.write(f"trials/{config.fingerprint}/{RESULT}", json.dumps(record | {"curves": curve}).encode())
    return record
