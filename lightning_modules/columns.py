"""Names of the columns of a record and of the metrics of curves (docs/formats.md)."""

# Columns of a record, apart from settings (`config.flat()`).
TEXTS = ("fingerprint", "sweep", "outcome", "reason", "matching", "stage", "device", "data_fingerprint", "training_fingerprint",
         "scored_from")  # fmt: skip
CONFIRM = "confirm"  # `stage` of a trial that repeats one of a search's best under another seed
RECORD_METRICS = ("exact_accuracy", "token_accuracy", "nll")  # scores of every split at D = N_sup
SPLITS = ("val", "test", "ood")
PASS_AT = tuple(f"pass_at_{k}" for k in (1, 2, 5, 10, 100, 1000))  # ARC; votes are counted to the last K for official folders alone
SCORES = tuple(f"{split}/{score}" for split in SPLITS for score in (*RECORD_METRICS, "valid_accuracy", "examples", *PASS_AT))
COUNTS = ("params", "params_once", "params_recursed", "layers_per_step", "layers_executed", "train_flops", "inference_flops",
          "steps", "fresh_examples")  # fmt: skip
COSTS = (*COUNTS, "recursion", "mean_supervision_steps", "train_seconds", "wall_seconds", "examples_per_second",
         "peak_memory_bytes")  # fmt: skip
# What training consumed, and where it ran.
TRAINING = ("steps", "fresh_examples", "train_flops", "mean_supervision_steps", "train_seconds", "examples_per_second", "device",
            "threads", "wall_seconds", "peak_memory_bytes")  # fmt: skip
BUDGET_COLUMNS = {unit: unit for unit in ("steps", "fresh_examples", "train_flops")} | {"seconds": "train_seconds"}
# Columns that follow from the config and are no settings (`record.describe`).
DESCRIBED = ("fingerprint", "training_fingerprint", "seed", "params", "params_once", "params_recursed", "layers_per_step",
             "layers_executed", "inference_flops", "recursion", "matching")  # fmt: skip

OWN_COLUMNS = frozenset((*TEXTS, *SCORES, *COSTS, *TRAINING, *DESCRIBED))  # which a fact of a task must not replace

# Curves: the first part of a metric's name, and the axis of the curve.
TRAIN_CURVE, VALIDATION_CURVE, SYSTEM = "train_curve", "val_curve", "system"
DEPTH, VALIDATION_DEPTH, OOD_DEPTH = "depth", "val_depth", "ood_depth"
AXES = {TRAIN_CURVE: "step", VALIDATION_CURVE: "step", SYSTEM: "step",
        DEPTH: "depth", VALIDATION_DEPTH: "depth", OOD_DEPTH: "depth"}  # fmt: skip

ITEMS_FORMAT = 2  # version of items.parquet, in its metadata; format 1 has no version
THINKING_FORMAT = 1  # version of thinking.npz, in the array `format`
RENAMED = {"residual": "state_change"}  # today's name by the name in files of format 1


def axis_of(metric: str) -> str | None:
    """The axis of a curve, `step` or `depth`; None for a single value."""
    return AXES.get(metric.split("/")[0])


def curve_of(column: str) -> str:
    """The metric of the curve by step that ends in a column: `val_curve/nll` for `val/nll`."""
    split, score = column.split("/", 1)
    return f"{split}_curve/{score}"


def column_of(metric: str) -> str | None:
    """The column in which a validation curve ends: `val/nll` for `val_curve/nll`; None for any other metric."""
    return metric.replace(f"{VALIDATION_CURVE}/", "val/", 1) if metric.startswith(f"{VALIDATION_CURVE}/") else None


def current_name(metric: str) -> str:
    """Today's name of the metric of a curve: `depth/state_change` for `depth/residual`."""
    prefix, separator, last = metric.rpartition("/")
    return prefix + separator + RENAMED.get(last, last) if AXES.get(prefix) == "depth" else metric
