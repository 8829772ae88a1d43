"""Figures: each one function from tables to `FigureData`, which one static and one interactive renderer draw.

scaling    accuracy by parameters, layers executed and training FLOPs; every trial
recursion  T against n, N_sup against D, treatment of the state between supervision steps
difficulty accuracy by difficulty of items and inference depth
inference  accuracy against FLOPs of an answer, halting, state change
statistics effects, importance, agreement of tasks
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.data.csv_options import columns_option
from analysis.data.tables import Tables
from analysis.figures.data import ACCURACY, FigureData
from analysis.figures.difficulty import accuracy_by_difficulty, required_depth
from analysis.figures.inference import breadth_depth, halting_calibration, inference_frontier, state_change_correctness
from analysis.figures.recursion import inference_depth, recursion_split, state_reset, train_inference_matrix
from analysis.figures.scaling import (
    accuracy_by_data,
    accuracy_by_depth,
    accuracy_by_parameters,
    accuracy_by_training_flops,
    seed_strips,
    training_curves,
    width_depth_map,
)
from sweeps.design.axes import AUGMENTATIONS, AXES, CAPACITY_AXES, CYCLES, DEPTH_AXES, SUPERVISION_STEPS, TRAIN_EXAMPLES

NLL = "test/nll"
DEPTH_CURVES, VALIDATION_CURVES = "depth/exact_accuracy", "val_curve/exact_accuracy"
STATE_AXES = ("model.state_reset", "model.state_init", "model.state_noise", "model.medium")


@dataclass(frozen=True)
class Recipe:
    """A figure of a report, and the data that it needs."""

    draw: Callable[[Tables], FigureData | None]
    columns: tuple[str, ...]  # required columns of the table of trials; an imported table may lack them
    sweep: str  # description of a sweep that has the data
    axes: tuple[str, ...] = ()  # columns of the table of trials; one of them is required
    curve: str = ""  # required metric of the table of curves

    @property
    def subject(self) -> str:
        """The first line of the docstring of `draw`, as part of a sentence."""
        line = (self.draw.__doc__ or "").splitlines()[0].rstrip(".")
        return f"{line[0].lower()}{line[1:]}"

    def explain_absence(self, tables: Tables) -> str:
        """A sentence with the reason why the figure is left out of a report, and the data that it needs."""
        axes = (self.axes,) if self.axes and tables.is_foreign else ()
        lacks = describe_missing(tables, [*((name,) for name in self.columns), *axes])
        if tables.is_foreign and self.curve and self.curve not in set(tables.curves["metric"]):
            lacks = " and ".join(filter(None, (lacks, f"a table of curves with the metric {self.curve} (--curves FILE)")))
        return f"Left out: {self.subject}; it needs {lacks or self.sweep}."


RECIPES = [
    Recipe(
        accuracy_by_parameters,
        (ACCURACY, "params"),
        "a sweep that varies model.hidden_size or model.num_layers",
        axes=CAPACITY_AXES,
    ),
    Recipe(
        accuracy_by_depth,
        (ACCURACY, "layers_executed"),
        "a sweep that varies model.l_cycles, h_cycles or supervision_steps",
        axes=DEPTH_AXES,
    ),
    Recipe(
        width_depth_map,
        (ACCURACY, "params", "layers_executed"),
        "a sweep that varies model.hidden_size and an axis of recursion",
        axes=CAPACITY_AXES,
    ),
    Recipe(
        accuracy_by_data,
        (ACCURACY,),
        "a sweep that varies task.train_examples or task.augmentations",
        axes=(TRAIN_EXAMPLES, AUGMENTATIONS),
    ),
    Recipe(inference_depth, (), "a sweep with depth curves (eval.max_depth above 1)", curve=DEPTH_CURVES),
    Recipe(
        train_inference_matrix,
        (),
        "a sweep that varies model.supervision_steps, with depth curves",
        axes=(SUPERVISION_STEPS,),
        curve=DEPTH_CURVES,
    ),
    Recipe(
        recursion_split,
        (ACCURACY,),
        "a sweep with several pairs of model.h_cycles and l_cycles at equal T(n+1), such as (1, 5) and (2, 2)",
        axes=(CYCLES,),
    ),
    Recipe(state_reset, (ACCURACY,), "a sweep that varies model.state_reset, state_init, state_noise or medium", axes=STATE_AXES),
    Recipe(accuracy_by_difficulty, (), "a sweep with depth curves on a task with bins of difficulty", curve=DEPTH_CURVES),
    Recipe(required_depth, (), "a sweep in which half of the items are solved at two difficulties or more", curve=DEPTH_CURVES),
    Recipe(inference_frontier, ("inference_flops",), "a sweep with depth curves", curve=DEPTH_CURVES),
    Recipe(breadth_depth, ("inference_flops",), "a sweep with eval.rollouts above 1 and noise in evaluation or a random state"),
    Recipe(halting_calibration, (), "a sweep of this project, read from its store or MLflow, which hold items.parquet"),
    Recipe(state_change_correctness, (), "a sweep of this project, read from its store or MLflow, which hold items.parquet"),
    Recipe(accuracy_by_training_flops, (ACCURACY, "train_flops"), "a sweep with two cells"),
    Recipe(training_curves, (), "a sweep whose trials are validated during training (eval.validations)", curve=VALIDATION_CURVES),
    Recipe(seed_strips, (ACCURACY,), "a sweep with two cells"),
]

# Figures that compare cells in which all else is equal; the trials of a search are no such cells.
COMPARISONS = {
    accuracy_by_parameters, accuracy_by_depth, accuracy_by_data, width_depth_map, train_inference_matrix, recursion_split,
    state_reset, accuracy_by_training_flops, training_curves, seed_strips,
}  # fmt: skip

# Figures of effects: what each shows, and the columns that it needs, one of each group.
Need = tuple[str, tuple[tuple[str, ...], ...]]
NEEDS_OF_EFFECTS: list[Need] = [
    ("what each axis does, all else equal", ((ACCURACY,), AXES)),
    ("how much each parameter accounts for", ((ACCURACY, NLL),)),
    ("whether tasks agree", ((ACCURACY,), ("task.kind",))),
]


def draw_all(tables: Tables, needs_of_laws: Sequence[Need] = ()) -> tuple[list[FigureData], list[str]]:
    """The figures that the table has data for, and a line for each of the others, those of laws and effects included."""
    figures, left_out, completed = [], [], tables.completed
    for recipe in RECIPES:
        if tables.kind == "search" and recipe.draw in COMPARISONS:
            continue
        missing = any(is_missing(completed, name) for name in recipe.columns)
        figure = recipe.draw(tables) if not missing and len(completed) else None
        if figure is not None:
            figures.append(figure)
        else:
            left_out.append(recipe.explain_absence(tables))
    needs = [*needs_of_laws, *NEEDS_OF_EFFECTS]
    absent = [(subject, describe_missing(tables, columns)) for subject, columns in needs if tables.is_foreign]
    return figures, [*left_out, *(f"Left out: {subject}; it needs {lacks}." for subject, lacks in absent if lacks)]


def describe_missing(tables: Tables, columns: Iterable[tuple[str, ...]]) -> str:
    """The columns that a table lacks, with the option that maps them for an imported table; empty if it has one of each group."""
    completed = tables.completed
    lacks = [group for group in columns if all(is_missing(completed, name) for name in group)]
    if not lacks:
        return ""
    needs = f"a table with {' and '.join(' or '.join(group) for group in lacks)}"
    return f"{needs} ({columns_option(dict(_pair(tables, group) for group in lacks))})" if tables.is_foreign else needs


def is_missing(completed: pd.DataFrame, name: str) -> bool:
    """Whether a column is absent or empty."""
    return name not in completed or bool(completed[name].isna().all())


def _pair(tables: Tables, group: tuple[str, ...]) -> tuple[str, str]:
    """One column of a group, and the column of the imported table that resembles it (`THEIRS` if none does)."""
    name = next((name for name in group if name in tables.lookalikes), group[0])
    return name, tables.lookalikes.get(name, "THEIRS")
