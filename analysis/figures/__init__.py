"""Figures: each one function from tables, or from fits, to `FigureData`, which one static and one interactive renderer draw.

scaling    width, depth, training compute; every trial
recursion  where depth is spent, and what happens to the state
difficulty which items depth solves
inference  what an answer costs and is worth
laws       the laws over what was measured
statistics effects, importance, agreement of tasks
"""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.data.tables import Tables
from analysis.figures.data import ACCURACY, FigureData
from analysis.figures.difficulty import accuracy_by_difficulty, required_depth
from analysis.figures.inference import breadth_depth, halting_calibration, inference_frontier, residual_correctness
from analysis.figures.recursion import inference_depth, recursion_split, state_reset, train_inference_matrix
from analysis.figures.scaling import (
    accuracy_by_depth,
    accuracy_by_parameters,
    accuracy_by_training_flops,
    seed_strips,
    training_curves,
    width_depth_map,
)


@dataclass(frozen=True)
class Recipe:
    """A figure of a report, and what it takes."""

    draw: Callable[[Tables], FigureData | None]
    columns: tuple[str, ...]  # of trials; a table of somebody else may lack them
    sweep: str  # that would give it

    @property
    def subject(self) -> str:
        """The first line of the docstring, as part of a sentence."""
        line = (self.draw.__doc__ or "").splitlines()[0].rstrip(".")
        return f"{line[0].lower()}{line[1:]}"


RECIPES = [
    Recipe(accuracy_by_parameters, (ACCURACY, "params"), "one that varies model.hidden_size or model.num_layers"),
    Recipe(accuracy_by_depth, (ACCURACY, "layers_executed"), "one that varies model.l_cycles, h_cycles or supervision_steps"),
    Recipe(width_depth_map, (ACCURACY, "params", "layers_executed"), "one that varies model.hidden_size and an axis of depth"),
    Recipe(inference_depth, (), "one with depth curves (eval.max_depth above 1)"),
    Recipe(train_inference_matrix, (), "one that varies model.supervision_steps, with depth curves"),
    Recipe(recursion_split, (ACCURACY,), "one with several model.h_cycles, l_cycles of equal T(n+1), such as 1, 5 and 2, 2"),
    Recipe(state_reset, (ACCURACY,), "one that varies model.state_reset, state_init, state_noise or medium"),
    Recipe(accuracy_by_difficulty, (), "one with depth curves on a task that tells difficulties apart"),
    Recipe(required_depth, (), "one whose depths solve half of the items at two difficulties or more"),
    Recipe(inference_frontier, ("inference_flops",), "one with depth curves"),
    Recipe(breadth_depth, ("inference_flops",), "one with eval.rollouts above 1 and noise in evaluation or a random initial state"),
    Recipe(halting_calibration, (), "one of this project, read from its store or MLflow, which hold items.parquet"),
    Recipe(residual_correctness, (), "one of this project, read from its store or MLflow, which hold items.parquet"),
    Recipe(accuracy_by_training_flops, (ACCURACY, "train_flops"), "any with two cells"),
    Recipe(training_curves, (), "any whose trials are validated during training (eval.validations)"),
    Recipe(seed_strips, (ACCURACY,), "any with two cells"),
]  # fmt: skip


def draw_all(tables: Tables) -> tuple[list[FigureData], list[str]]:
    """The figures that the table has data for, and a line for each of the others."""
    figures, left_out, completed = [], [], tables.completed
    for recipe in RECIPES:
        missing = [name for name in recipe.columns if name not in completed or completed[name].isna().all()]
        figure = recipe.draw(tables) if not missing and len(completed) else None
        if figure is not None:
            figures.append(figure)
        else:
            needs = f"a table with {', '.join(missing)}" if missing else f"a sweep: {recipe.sweep}"
            left_out.append(f"Left out: {recipe.subject}; it takes {needs}.")
    return figures, left_out
