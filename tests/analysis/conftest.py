"""Tables of a made-up measure sweep whose effects are known."""

import numpy as np
import pandas as pd
import pytest

from analysis.tables import CURVE_COLUMNS, Tables

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
