"""Tables of made-up measure sweeps whose effects are known."""

import itertools
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import CURVE_COLUMNS, Tables, split_bins
from lightning_modules.trial_folder import ITEMS, THINKING

WIDTHS, CYCLES, STEPS, SEEDS = (16, 32), (1, 3), (1, 4), 3


def made_tables(gain: float = 0.2, noise: float = 0.01) -> Tables:
    """Width adds 0.3, n adds `gain`, N_sup adds nothing; seeds scatter by `noise`."""
    rng = np.random.default_rng(0)
    records, points = [], []
    for width in WIDTHS:
        for n in CYCLES:
            for steps in STEPS:
                for seed in range(SEEDS):
                    name = f"{width}-{n}-{steps}-{seed}"
                    mean = 0.2 + 0.3 * (width == 32) + gain * (n == 3)
                    accuracy = float(np.clip(mean + noise * rng.standard_normal(), 0, 1))
                    records.append(
                        {
                            "fingerprint": name, "sweep": "made", "outcome": "completed", "seed": seed, "outside_spec": False,
                            "task.kind": "sudoku", "model.hidden_size": width, "model.l_cycles": n,
                            "model.supervision_steps": steps, "optim.betas": [0.9, 0.95], "params": 100 * width,
                            "layers_executed": (n + 1) * steps, "train_flops": 1e9 * width * (n + 1), "inference_flops": 1e6,
                            "matching": "steps", "val/exact_accuracy": accuracy, "test/exact_accuracy": accuracy,
                            "test/token_accuracy": accuracy, "test/nll": 1 - accuracy, "chosen_depth": steps,
                            "train_seconds": 1.0,
                        }
                    )  # fmt: skip
                    points += [
                        {"fingerprint": name, "metric": "depth/exact_accuracy", "axis": "depth", "at": depth, "value": accuracy}
                        for depth in (1, 2, 3)
                    ]
    return Tables(pd.DataFrame(records), pd.DataFrame(points, columns=CURVE_COLUMNS))


@pytest.fixture
def tables() -> Tables:
    return made_tables()


def rich_tables() -> Tables:
    """A sweep with data for every figure: T against n, supervision, state reset, difficulties, two rollouts, their items."""
    rng = np.random.default_rng(0)
    records, points = [], []
    cells = itertools.product((16, 32), ((1, 5), (2, 2), (1, 1)), (1, 4), ("carry", "all"), range(2))
    for width, (t, n), steps, reset, seed in cells:
        name = f"{width}-{t}-{n}-{steps}-{reset}-{seed}"
        level = 0.3 + 0.1 * (width == 32) + 0.05 * np.log2(t * (n + 1)) + 0.1 * (steps == 4) - 0.05 * (reset == "all")
        accuracy = float(np.clip(level + 0.01 * rng.standard_normal(), 0, 1))
        layers = t * (n + 1)
        records.append(
            {
                "fingerprint": name, "sweep": "rich", "outcome": "completed", "seed": seed, "outside_spec": False,
                "task.kind": "pointer_chasing", "model.kind": "trm", "model.hidden_size": width, "model.h_cycles": t,
                "model.l_cycles": n, "model.supervision_steps": steps, "model.state_reset": reset, "params": 100 * width,
                "params_recursed": 90 * width, "layers_executed": layers * steps, "train_flops": 1e9 * width * layers,
                "inference_flops": 1e4 * width * layers * steps, "matching": "steps", "val/exact_accuracy": accuracy,
                "test/exact_accuracy": accuracy, "test/nll": 1 - accuracy, "test/examples": 200, "chosen_depth": steps,
            }
        )  # fmt: skip
        for depth in (1, 2, 3, 4, 6, 8):
            reached = accuracy + 0.1 * np.log2(depth / steps)
            scores = {"depth/exact_accuracy": reached, "val_depth/exact_accuracy": reached, "depth/steps_used": depth}
            scores |= {f"depth/exact_accuracy/k{k}": np.clip(reached + 0.4 - 0.15 * np.log2(k), 0, 1) for k in (1, 2, 4, 8)}
            points += [{"fingerprint": name, "metric": metric, "axis": "depth", "at": depth, "value": value}
                       for metric, value in scores.items()]  # fmt: skip
        points += [{"fingerprint": name, "metric": "val_curve/exact_accuracy", "axis": "step", "at": 100 * step,
                    "value": accuracy * step / 4} for step in (1, 2, 3, 4)]  # fmt: skip
    names = [str(record["fingerprint"]) for record in records]
    curves = split_bins(pd.DataFrame(points))
    contents = {ITEMS: _items(), THINKING: thinking_file()}
    return Tables(
        pd.DataFrame(records), curves, read_files=lambda file, trials: [(name, contents[file]) for name in trials or names]
    )


def thinking_file(kind: str = "pointer_chasing", grid: tuple[int, int] = (1, 6), steps: int = 3) -> bytes:
    """Two puzzles; the first half of the tokens is given, and each step answers one more of the others right."""
    length = grid[0] * grid[1]
    labels = np.tile(1 + np.arange(length) % 4, (2, 1)).astype(np.uint8)
    unknown = np.tile(np.arange(length) >= length // 2, (2, 1))
    wrong = np.where(unknown, labels % 4 + 1, labels)
    reached = np.arange(length)[None] < length // 2 + 1 + np.arange(steps)[:, None]
    answers = np.where(reached, labels[:, None], wrong[:, None]).astype(np.uint8)
    sink = BytesIO()
    np.savez_compressed(
        sink, format=1, answers=answers, inputs=np.where(unknown, 1, labels).astype(np.uint8), labels=labels, unknown=unknown,
        grid=np.array(grid), kind=np.array(kind), fixed=np.full(steps, 2), broken=np.zeros(steps, dtype=int),
    )  # fmt: skip
    return sink.getvalue()


def _items() -> bytes:
    """Two rollouts of 200 items at four depths; a confident answer is more often right, a large state change less often."""
    rng = np.random.default_rng(0)
    parts = []
    for rollout, depth in itertools.product(range(2), (1, 2, 4, 8)):
        q = rng.normal(size=200)
        right = rng.uniform(size=200) < 1 / (1 + np.exp(-q))
        change = np.where(right, 0.01, 0.3)
        columns = {"item": range(200), "difficulty": 1, "depth": depth, "rollout": rollout, "correct": right, "q": q}
        parts.append(pd.DataFrame(columns | {"state_change": change, "token_changes": 0}))
    sink = BytesIO()
    pd.concat(parts).to_parquet(sink)
    return sink.getvalue()


@pytest.fixture(scope="session")
def rich() -> Tables:
    return rich_tables()
