"""`rrm-sweep new`: a commented spec for a task, with presets of width, recursion and budget."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning_modules.atomic_write import write_atomically
from lightning_modules.yaml_file import write_flow
from rrm.defaults import NEWEST_DEFAULTS
from rrm.errors import UserError, suggest
from rrm.files import PLAIN_NAME
from rrm.tasks import CONFIGS
from sweeps.planning.load_sweep import load_sweep
from sweeps.spec.data import check_data
from sweeps.spec.sweep import SweepSpec

Size = Literal["small", "medium", "large"]
DEFAULT_TEST = 0.2  # share of the rows of a table
OPTIONS = {"table": ("--train", "--test", "--alphabet", "--pad"), "official": ("--train",)}  # by kind of task
MAX_DEPTH_FACTOR = 4  # answers are scored up to this many times the supervision steps of training


class Preset(NamedTuple):
    """Numbers of a spec; sizes differ in nothing else."""

    widths: list[int]
    head_size: int
    latent_updates: list[int]
    cycles: int
    supervision_steps: int
    learning_rate: str
    batch_size: int
    steps: int
    takes: str


PRESETS: dict[Size, Preset] = {
    "small": Preset([16, 32, 48], 8, [1, 2, 4], 1, 1, "5e-3", 64, 500, "minutes on a laptop"),
    "medium": Preset([64, 96, 128], 16, [1, 2, 4], 1, 1, "2e-3", 128, 4000, "hours on a few cores, or a GPU"),
    "large": Preset([128, 256, 512], 64, [1, 2, 6], 3, 4, "3e-4", 256, 20000, "a GPU for each trial, or a cluster"),
}

TEMPLATE = """\
# Commands  rrm-sweep plan {name}.yaml       the cost of each cell, and which differences the sweep can show
#           rrm-sweep run {name}.yaml        trains what is missing; type it again after a stop or a change of seeds
#           rrm-analyze {name}               the report: what one doubling of recursion is worth in parameters
# Size      {size}: {takes}. Fields and defaults: docs/formats.md; models: docs/models.md; tasks: docs/tasks.md.
name: {quoted_name}
description: {description}
defaults: {defaults}  # the version of the defaults of absent fields

trial:
  task:  {section}{task_comment}
  model: {model}
  optim: {{lr: {learning_rate}}}
  fit:   {{batch_size: {batch_size}, budget: {{unit: steps, amount: {steps}}}}}  # too few steps show nothing of recursion
  eval:  {{max_depth: {max_depth}, validations: 4}}  # answers are scored after 1 to {max_depth} supervision steps

measure:
  vary:                                    # every combination
    model.hidden_size: {widths}
    model.l_cycles: {latent_updates}  # n: latent updates a cycle; R = T (n + 1) N_sup
  seeds: 3                                 # intervals are over seeds
  matching: steps                          # trials have equal numbers of optimizer steps

resources: {{cpus: 1}}                       # of one trial; on a GPU box add gpus: 1, or a share of one
storage: runs
"""


TABLE_COMMENT = """
         # add difficulty: {COLUMN: [1, 4, 8]} for accuracy by a column of whole numbers, in bins from 1, from 4 and from 8"""


def make_spec(name: str, task: str, options: Mapping[str, str | None], size: Size) -> tuple[Path, SweepSpec]:
    """Write `NAME.yaml` into the current folder, unless the task's data or a trial is not valid.

    Args:
        options: those of the task by name, such as `--train`; None for one that is not given.

    Returns:
        The file and the sweep in it.

    Raises:
        UserError: the file exists or cannot be written, an option has no effect on this task, or the sweep is not valid.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise UserError("NAME", f"must be letters, digits, dots, dashes and underscores, a letter or digit first, got {name!r}")
    path = Path(f"{name}.yaml")
    if path.exists():
        raise UserError(str(path), "exists: choose another name, or remove the file")
    section = _task_section(task, options)
    draft = Path(f".{name}.draft.yaml")
    text = _fill(name, task, section, size)
    try:
        _write(draft, text)
        spec = load_sweep(draft)
        check_data(spec)
    finally:
        draft.unlink(missing_ok=True)
    _write(path, text)
    return path, spec


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise UserError(str(path.absolute().parent), f"cannot be written: {error.strerror}; go to another folder") from None


def _task_section(task: str, options: Mapping[str, str | None]) -> dict[str, Any]:
    """The section of the task, with the files of a table."""
    given = {option: value for option, value in options.items() if value is not None}
    if task not in CONFIGS:
        raise UserError("--task", f"must be a kind of task, got {task!r}; {suggest(task, CONFIGS)}")
    ineffective = next((option for option in given if option not in OPTIONS.get(task, ())), None)
    if ineffective is not None:
        known = " and ".join(kind for kind, options in OPTIONS.items() if ineffective in options)
        raise UserError(ineffective, f"has an effect on --task {known} alone, got the task {task}: leave it out")
    if task not in OPTIONS:
        return {"kind": task}
    if "--train" not in given:
        what = "a folder of the official builders" if task == "official" else "a Parquet, .npz or CSV file with input and label"
        raise UserError("--train", f"is required for --task {task}: {what}")
    if task == "official":
        return {"kind": task, "path": given["--train"]}
    section = {option.removeprefix("--"): given[option] for option in OPTIONS[task] if option in given}
    return {"kind": task, "train": given["--train"], "test": DEFAULT_TEST} | section | _share_of(section)


def _share_of(section: Mapping[str, str]) -> dict[str, float]:
    """`test` as a number, where it is a share of the rows and no file."""
    with suppress(KeyError, ValueError):
        return {"test": float(section["test"])}
    return {}


def _fill(name: str, task: str, section: dict[str, Any], size: Size) -> str:
    preset = PRESETS[size]
    subject = Path(section.get("train") or section.get("path") or task).name
    model = {"kind": "trm", "head_size": preset.head_size, "num_layers": 1, "h_cycles": preset.cycles,
             "supervision_steps": preset.supervision_steps, "halting": "fixed"}  # fmt: skip
    return TEMPLATE.format(
        name=name,
        quoted_name=_scalar(name),
        description=_scalar(f"Wider, or more recursion, on {subject}?"),
        size=size,
        takes=preset.takes,
        defaults=NEWEST_DEFAULTS,
        section=_flow(section),
        task_comment=TABLE_COMMENT if task == "table" else "",
        model=_flow(model),
        learning_rate=preset.learning_rate,
        batch_size=preset.batch_size,
        steps=preset.steps,
        max_depth=MAX_DEPTH_FACTOR * preset.supervision_steps,
        widths=write_flow(preset.widths),
        latent_updates=write_flow(preset.latent_updates),
    )


def _flow(section: dict[str, Any]) -> str:
    """A section on one line, its fields in the order of the dictionary."""
    return "{" + ", ".join(f"{field}: {_scalar(value)}" for field, value in section.items()) + "}"


def _scalar(value: Any) -> str:
    """YAML text of one value, quoted where it would be read as another type."""
    return write_flow([value])[1:-1]
