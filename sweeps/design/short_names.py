"""What people call a setting, by its dotted path."""

from sweeps.design.axes import CYCLES, LATENT_UPDATES, LAYERS, SUPERVISION_STEPS, WIDTH

LABELS = {WIDTH: "width", LAYERS: "layers", CYCLES: "T", LATENT_UPDATES: "n", SUPERVISION_STEPS: "N_sup"} | {
    "task.kind": "task",
    "model.kind": "model",
}  # tables and figures
LETTERS = {WIDTH: "h", LAYERS: "L", CYCLES: "T", LATENT_UPDATES: "n", SUPERVISION_STEPS: "S"}  # names of MLflow runs


def axis_name(path: str) -> str:
    """The name of a setting in tables and figures: a short name for an axis, else the last part of its path."""
    return LABELS.get(path, path.split(".")[-1].replace("_", " "))


def count_of(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
