"""The axes of a design: dotted paths of a trial, which are also columns of its record."""

from collections.abc import Collection

import numpy as np

WIDTH, LAYERS = "model.hidden_size", "model.num_layers"
CYCLES, LATENT_UPDATES, SUPERVISION_STEPS = "model.h_cycles", "model.l_cycles", "model.supervision_steps"
TASK = "task.kind"  # scores on two tasks are not compared
SIZE, RECURSION = "params_recursed", "recursion"  # columns that follow from the settings above, and axes where those are absent

TRAIN_EXAMPLES, AUGMENTATIONS = "task.train_examples", "task.augmentations"  # how much data, for the laws that span it
AMOUNT = "fit.budget.amount"  # how long, for the laws that span it

AXIS_SETTINGS = (WIDTH, LAYERS, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS)
CAPACITY_AXES = (WIDTH, LAYERS, SIZE)
DEPTH_AXES = (CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, RECURSION)
AXES = (*CAPACITY_AXES, *DEPTH_AXES)


def independent_axes(columns: Collection[str]) -> list[str]:
    """The axes among these columns, without a size or a recursion that follows from settings among them."""
    following = set()
    if {WIDTH, LAYERS} <= set(columns):
        following.add(SIZE)
    if {CYCLES, LATENT_UPDATES, SUPERVISION_STEPS} <= set(columns):
        following.add(RECURSION)
    return [axis for axis in AXES if axis in columns and axis not in following]


def count_recursion(cycles: np.ndarray, latent_updates: np.ndarray, supervision_steps: np.ndarray) -> np.ndarray:
    """R = T (n + 1) N_sup [rows]: how often a recursed parameter of a TRM is applied to an example (TRM paper, section 4)."""
    return np.asarray(cycles * (latent_updates + 1) * supervision_steps)
