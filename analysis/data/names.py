"""Names of columns that have a meaning here (docs/formats.md)."""

from lightning_modules.config import TrialConfig
from rrm.config import fields_by_path
from sweeps.design.axes import AXIS_SETTINGS

SETTINGS = frozenset(path for path in fields_by_path(TrialConfig) if "." in path)
TEXTS = ("fingerprint", "sweep", "outcome", "reason", "matching", "stage", "device", "data_fingerprint", "training_fingerprint")
SCORES = tuple(
    f"{split}/{score}"
    for split in ("val", "test", "ood")
    for score in ("exact_accuracy", "token_accuracy", "valid_accuracy", "nll", "examples", "pass_at_1", "pass_at_2")
)
COUNTS = ("params", "params_once", "params_recursed", "layers_per_step", "layers_executed", "train_flops", "inference_flops",
          "steps", "fresh_examples")  # fmt: skip
COSTS = (*COUNTS, "recursion", "mean_supervision_steps", "train_seconds", "wall_seconds", "examples_per_second",
         "peak_memory_bytes")  # fmt: skip
NUMBERS = ("seed", *COSTS, *SCORES, "chosen_depth", "threads", "test_examples_seen_in_training", *AXIS_SETTINGS)
RECORD = (*TEXTS, *NUMBERS, "retryable", "outside_spec")  # columns of a record that are no settings, and the axes


def is_share(name: str) -> bool:
    """Whether a metric is a share, between 0 and 1."""
    return "/" in name and ("accuracy" in name or "pass_at_" in name)


# What other programs call a column, in lower case and without marks, by its name here.
ALIASES = {
    "model.hidden_size": ("hiddendim", "hidden", "dmodel", "modeldim", "embeddim", "nembd", "dim", "width"),
    "model.num_layers": ("layers", "nlayers", "nlayer"),
    "model.h_cycles": ("t", "numcycles", "outercycles"),
    "model.l_cycles": ("n", "latentupdates", "innercycles"),
    "model.supervision_steps": ("nsup", "haltmaxsteps", "maxsupervisionsteps"),
    "recursion": ("recursions", "recurrence", "numrecursions", "loops", "nloops", "numloops", "iterations", "numiterations"),
    "params": ("nparams", "numparams", "parameters", "numparameters", "totalparams"),
    "params_recursed": ("coreparams", "recurrentparams", "numparamsrecursed", "nparamsrecursed"),
    "train_flops": ("trainingflops", "totalflops", "flops", "compute", "traincompute", "trainingcompute", "totalcompute"),
    "seed": ("randomseed", "rngseed", "rng", "randomstate", "seedid", "replicate"),
    "optim.lr": ("lr", "learningrate"),
    "task.kind": ("task", "dataset"),
}
SCORE_ALIASES = {
    "exact_accuracy": ("accuracy", "acc", "exactacc", "exactmatch", "em"),
    "token_accuracy": ("tokenacc",),
    "nll": ("loss", "crossentropy", "xent"),
}
SPLIT_ALIASES = {"test": "test", "eval": "test", "val": "val", "valid": "val", "validation": "val", "ood": "ood"}
