"""Functions whose optima are known, over two numeric fields of a trial, in place of what training would score."""

import math

from lightning_modules.record import Record

LR, WEIGHT_DECAY = "optim.lr", "optim.weight_decay"
MIN_LR, MAX_LR = 1e-5, 1e-1
SPACE = {LR: {"log_uniform": [MIN_LR, MAX_LR]}, WEIGHT_DECAY: {"uniform": [0.0, 1.0]}}
MIN_BRANIN = 0.397887


def scores(params: Record) -> dict[str, float]:
    """Validation scores at a point of the space.

    Returns:
        `val/nll`, Branin's function; and two accuracies that fall with the squared distance to one point each, so that the
        Pareto front of the two is the line between the points.
    """
    x = math.log(params[LR] / MIN_LR) / math.log(MAX_LR / MIN_LR)
    y = params[WEIGHT_DECAY]
    return {
        "val/nll": branin(-5 + 15 * x, 15 * y),
        "val/exact_accuracy": 1 - (x - 0.2) ** 2 - (y - 0.3) ** 2,
        "val/token_accuracy": 1 - (x - 0.7) ** 2 - (y - 0.6) ** 2,
    }


def branin(x: float, y: float) -> float:
    """On [-5, 10] x [0, 15]; its least value is 0.397887, at three points (Dixon and Szegő 1978)."""
    valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
