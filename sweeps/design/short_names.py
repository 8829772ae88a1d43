"""Short names of settings by their dotted paths. Other names that people type: rrm/aliases.py."""

from sweeps.design.axes import CYCLES, LATENT_UPDATES, LAYERS, SUPERVISION_STEPS, WIDTH

SHORT_NAMES = {  # in run names, tables, figures and reports alike
    WIDTH: "width", LAYERS: "layers", CYCLES: "T", LATENT_UPDATES: "n", SUPERVISION_STEPS: "N_sup", "task.kind": "task",
    "model.kind": "model",
}  # fmt: skip


def short_name(path: str) -> str:
    """The name of a setting in the name of a run: its short name, else the last part of its path."""
    return SHORT_NAMES.get(path, path.split(".")[-1])


def axis_name(path: str) -> str:
    """The name of a setting in tables, figures and sentences: as `short_name`, with blanks between words."""
    return SHORT_NAMES.get(path, short_name(path).replace("_", " "))


def count_of(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
