"""Columns of a foreign table with the meaning of a column here, under another name: `arch.d_model`, `config/n_sup`."""

import re
from collections import Counter
from collections.abc import Mapping

import pandas as pd

from analysis.data.csv_values import without_sign
from analysis.data.exports import known_outcomes
from analysis.data.names import NUMBERS, RECORD, SETTINGS, is_share
from lightning_modules.outcome import Outcome
from rrm.aliases import COLUMNS, SCORE_ALIASES, SPLIT_ALIASES, squash
from sweeps.design.axes import AXES, AXIS_SETTINGS

SECTION_WORDS = {
    "arch", "args", "cfg", "config", "eval", "final", "hparams", "hyperparameters", "loss", "metrics", "model", "net", "network",
    "optim", "optimizer", "params", "results", "summary", "task", "train", "training",
}  # fmt: skip
ANSWER_WORDS = {"eval", "model", "net", "network"}  # FLOPs after one of them may be those of an answer
TRAINING_WORDS = {"train", "training"}  # a score with one of them is that of no split here


def find_lookalikes(table: pd.DataFrame) -> dict[str, str]:
    """Columns of others by the name here that they seem to mean, where the table has no column of that name.

    A column counts if its values fit: numbers for a number; for a setting that is no axis, at least two values. A column of states
    of runs, one of them not completed, is the outcome under any name.
    """
    found: dict[str, str] = {}
    for column in map(str, table):
        ours = None if column in SETTINGS or column in RECORD or '"' in column else _meaning(column)
        ours = ours or ("outcome" if column not in {*SETTINGS, *RECORD} and _are_states(table[column]) else None)
        if ours and ours not in table and ours not in found and _fits(table[column], ours):
            found[ours] = column
    return found


def percent_option(lookalikes: Mapping[str, str], table: pd.DataFrame) -> str:
    """The option for those of the columns that are in percent; empty where none is."""
    percent = [ours for ours, theirs in lookalikes.items() if is_share(ours) and _is_percent(table[theirs])]
    return f"--percent {','.join(percent)}" if percent else ""


def _meaning(column: str) -> str | None:
    """The name here with the meaning of a column's name: first of the whole name, then without the sections before it."""
    words = [word.lower() for word in re.split(r"[^0-9A-Za-z]+|(?<=[a-z0-9])(?=[A-Z])", column) if word]
    for start in range(len(words)):
        if not set(words[:start]) <= SECTION_WORDS:
            return None
        ours = _NAMES.get("".join(words[start:]))
        if ours is None:
            continue
        others = ANSWER_WORDS if ours == "train_flops" else TRAINING_WORDS if "/" in ours else set()
        if not others & set(words[:start]):
            return ours
    return None


def _are_states(values: pd.Series) -> bool:
    """Whether most cells are states of runs, one of them not completed."""
    outcomes = known_outcomes(values.dropna())
    return bool(outcomes.notna().mean() > 0.5 and (outcomes.dropna() != Outcome.COMPLETED).any())


def _fits(values: pd.Series, ours: str) -> bool:
    present = values.dropna()
    if ours == "outcome":
        return True
    if ours in NUMBERS or ours in AXES:
        return len(present) > 0 and bool(_numbers(present).notna().all())
    return ours in AXIS_SETTINGS or present.astype(str).nunique() > 1


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values.map(without_sign), errors="coerce")


def _is_percent(values: pd.Series) -> bool:
    signed = values.astype(str).str.endswith("%").any()
    return bool(signed or 1 < _numbers(values.dropna()).max() <= 100)


def _list_names() -> dict[str, str]:
    """Names here by their letters and digits: whole paths, last parts of two words that one setting has, and aliases."""
    last_parts = {path: squash(path.split(".")[-1]) for path in SETTINGS if "_" in path.split(".")[-1]}
    shared = Counter(last_parts.values())
    names = {part: path for path, part in last_parts.items() if shared[part] == 1}
    for score, aliases in SCORE_ALIASES.items():
        for alias in (squash(score), *aliases):
            names[alias] = f"test/{score}"
            names |= {f"{word}{alias}": f"{split}/{score}" for word, split in SPLIT_ALIASES.items()}
    return names | COLUMNS | {squash(name): name for name in (*SETTINGS, *NUMBERS)}


_NAMES = _list_names()
