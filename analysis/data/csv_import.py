"""Tables that this project did not write: a row a trial, and a row a point of a curve, as CSV or Parquet."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.exports import (
    find_status,
    is_export,
    outcomes_of,
    rename_export,
    run_names,
    trials_of_export,
    unpack_dictionaries,
)
from analysis.data.lookalikes import columns_option, find_lookalikes, percent_option, settings_option
from analysis.data.names import NUMBERS, RECORD, SETTINGS, is_share
from analysis.data.table_file import read_table, with_types
from analysis.data.tables import CURVE_COLUMNS, SECTIONS, Tables, is_parameter, split_bins
from lightning_modules.columns import COUNTS, SCORES, TEXTS, current_name
from lightning_modules.outcome import Outcome
from rrm.errors import UserError
from sweeps.design.axes import DEPTH_AXES

NEEDED_CURVES = ("fingerprint", "metric", "axis", "at", "value")
POSITIVE = ("test/nll", "params_recursed", "recursion")  # laws take their logarithms
RESPONSES = ("test/exact_accuracy", "test/nll")  # what cells are compared by
SHARE_ERROR = 1e-6  # a mean of ones in float32 may exceed 1 by a few units of 1e-7
TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
MAX_NAMES_OF_A_SECTION = 3  # in a note; of a larger section their number is given
MAX_LISTED_VALUES = 4  # of a column in a note
Names = str | Sequence[str]  # commas separate names, double quotes keep a comma in a name; several texts are one list


@dataclass(frozen=True)
class Renamed:
    """A table under our names, and where its columns come from."""

    table: pd.DataFrame
    given: dict[str, str]  # theirs by ours, as `--columns` has them
    carried: dict[str, str]  # ours by theirs, of the other columns
    has_outcomes: bool  # whether the table itself says which trials completed

    def find(self, name: str, option: str) -> list[str]:
        """Our names of a column that is named as in the file or as here.

        Raises:
            UserError: there is no such column.
        """
        if name in self.table:
            return [name]
        ours = [ours for ours, theirs in self.given.items() if theirs == name]
        if not ours and self.carried.get(name) not in self.table:
            raise _no_column(name, [*self.carried, *self.given.values()], option)
        return ours or [self.carried[name]]


def load_csv(trials: Path, curves: Path | None = None, columns: Names = "", settings: Names = "", percent: Names = "") -> Tables:
    """Read a table of trials, and one of curves.

    Args:
        columns: names of ours and theirs, such as `test/nll=eval_loss,model.hidden_size=width`.
        settings: columns that tell cells apart although a trial of this project has no setting of that name.
        percent: columns of trials and metrics of curves that are in percent.

    Raises:
        UserError: a file cannot be read, or a column is missing or holds a value that it cannot have.
    """
    whole = unpack_dictionaries(read_table(trials), trials)
    if whole.empty:
        raise UserError(str(trials), "has no rows")
    renamed, notes = _rename(whole, _parse_columns(columns, whole), trials)
    further = {ours for name in _split(settings, whole) for ours in _find_setting(renamed, name)}
    assumed = [] if renamed.has_outcomes else ["outcome"]
    lookalikes = find_lookalikes(renamed.table.drop(columns=[*further, *assumed]))
    options = f"{columns_option(lookalikes)} {percent_option(lookalikes, renamed.table)}".strip() if lookalikes else ""
    others = [name for name in map(str, renamed.table) if is_parameter(name) and name not in {*SETTINGS, *renamed.given, *further}]
    table = renamed.table.drop(columns=others)
    table = table.apply(lambda column: column if column.name in TEXTS else with_types(column))
    shares = _split(percent, whole)
    points = _read_curves(curves, table, shares)
    divided = {ours: table[ours].map(_without_sign) for ours in _percent_columns(renamed, points["metric"], shares)}
    table = table.assign(**{ours: _numbers(cells, f"--percent {ours}") / 100 for ours, cells in divided.items()})
    infinite = [*_blank_infinite(table, {*SETTINGS, *renamed.given, *further}, trials), *_drop_infinite(points, curves)]
    _check_values(table, trials)
    points["value"] = _checked_shares(points["value"], points["metric"], curves)
    unscored = _set_unscored_aside(table, renamed.has_outcomes)
    named = [f"columns look like ours under other names; if they are, add {options}"] if lookalikes else []
    unknown = _note_others([name for name in others if name not in lookalikes.values()])
    ordered = table.sort_values(["sweep", "fingerprint"]) if is_export(whole.columns) else table  # as `merge` has them
    return Tables(
        ordered.reset_index(drop=True),
        split_bins(points),
        settings=frozenset(further),
        notes=(*notes, *named, *unknown, *infinite, *unscored),
        is_foreign=True,
        lookalikes=lookalikes,
        columns_option=options,
    )


# -- names --------------------------------------------------------------------------------------------------------


def _split(values: Names, table: pd.DataFrame) -> list[str]:
    """The names of an option; a text that is as a whole the name of a column is one name."""
    texts = [values] if isinstance(values, str) else values
    parts = [[text] if text in table else re.findall(r'(?:"[^"]*"|[^,"])+', text) for text in texts]
    return [name for part in parts for text in part if (name := _unquoted(text))]


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def _parse_columns(columns: Names, table: pd.DataFrame) -> dict[str, str]:
    """Names of theirs by ours."""
    pairs: dict[str, str] = {}
    for text in [columns] if isinstance(columns, str) else columns:
        is_one = _unquoted(text.partition("=")[2]) in table  # a column whose name has a comma
        for pair in [text] if is_one else _split(text, table):
            ours, separator, theirs = pair.partition("=")
            ours, theirs = _unquoted(ours), _unquoted(theirs)
            if not separator or not ours or not theirs:
                raise UserError("--columns", f'must be OURS=THEIRS,..., got {pair!r}; a name with a comma is quoted: OURS="A, B"')
            _check_pair(ours, theirs, table)
            if ours in pairs:
                raise UserError("--columns", f"{ours!r} is given twice, as {pairs[ours]!r} and as {theirs!r}")
            pairs[ours] = theirs
    return pairs


def _check_pair(ours: str, theirs: str, table: pd.DataFrame) -> None:
    if ours not in RECORD and not ours.startswith(SECTIONS):
        close = get_close_matches(ours, [*RECORD, *SETTINGS], 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UserError("--columns", f"{ours!r} is not a name of ours (docs/formats.md){meant}")
    if theirs not in table:
        raise _no_column(theirs, map(str, table), "--columns")


def _no_column(name: str, columns: Iterable[str], option: str) -> UserError:
    return UserError(option, f"{name!r} is not a column; there are: {', '.join(dict.fromkeys(columns))}")


def _rename(whole: pd.DataFrame, given: dict[str, str], where: Path) -> tuple[Renamed, list[str]]:
    """The trials of a table under our names, and a note on its other rows."""
    rest = whole.drop(columns=list(given.values()))
    carried = rename_export(rest) if is_export(whole.columns) else {name: name for name in map(str, rest)}
    is_trial = trials_of_export(whole, carried | {theirs: ours for ours, theirs in given.items()})
    rows = whole[is_trial]
    if rows.empty:
        raise UserError(str(where), "has no row with a setting or a score of a trial")
    table = rows[[theirs for theirs, ours in carried.items() if ours not in given]].rename(columns=carried)
    table = table.assign(**{ours: rows[theirs] for ours, theirs in given.items()})
    status = find_status(rows)
    has_outcomes = "outcome" in table or status is not None
    is_read = status is not None and "outcome" not in table
    table["outcome"] = outcomes_of(rows, table, where)
    table["fingerprint"] = _fingerprints(rows, table, where)
    table["sweep"] = table["sweep"].fillna(where.stem).astype(str) if "sweep" in table else where.stem
    left = len(whole) - len(rows)
    note = f"{left} {'row is' if left == 1 else 'rows are'} left out: a run that holds others, or has no setting and no score"
    notes = [note] if left else []
    if is_read and not is_export(whole.columns):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in table["outcome"].value_counts().items())
        notes.append(f"{status} is read as outcome: {counts}; --columns outcome=THEIRS names another column")
    return Renamed(table, given, carried, has_outcomes), notes


def _fingerprints(rows: pd.DataFrame, table: pd.DataFrame, where: Path) -> pd.Series:
    names = run_names(rows)
    fingerprints = (table["fingerprint"].fillna(names) if "fingerprint" in table else names).astype(str)
    repeated = fingerprints[fingerprints.duplicated(keep=False)]
    if len(repeated):
        same = repeated.index[repeated == repeated.iloc[0]] + 1
        rule = f"must differ between rows, got {repeated.iloc[0]!r} in rows {', '.join(map(str, same))}"
        raise UserError(f"{where}: fingerprint", f"{rule}: a trial counts once, remove the others")
    return fingerprints


def _find_setting(renamed: Renamed, name: str) -> list[str]:
    """Our names of a column that `--settings` names."""
    found = renamed.find(name, "--settings")
    for ours in found:
        if ours in RECORD and not is_parameter(ours):
            raise UserError("--settings", f"{name!r} is a column of the record, not a setting (docs/formats.md)")
    return found


def _note_others(others: list[str]) -> list[str]:
    """What became of dotted names that are no settings."""
    sections: dict[str, list[str]] = defaultdict(list)
    for name in others:
        sections[name.split(".")[0]].append(name)
    short = [
        f"{section}.* ({len(names)} columns)" if len(names) > MAX_NAMES_OF_A_SECTION else ", ".join(names)
        for section, names in sections.items()
    ]
    advice = "a trial has no settings of these names; --settings NAME,... takes a column as a setting"
    return [f"left out: {', '.join(short)}: {advice}"] if short else []


# -- values -------------------------------------------------------------------------------------------------------


def _read_curves(path: Path | None, trials: pd.DataFrame, percent: Collection[str]) -> pd.DataFrame:
    """Points of curves; values of metrics that are in percent are divided."""
    if path is None:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    table = read_table(path)
    missing = [name for name in NEEDED_CURVES if name not in table]
    if missing:
        raise UserError(str(path), f"must have the columns {', '.join(NEEDED_CURVES)}; {', '.join(missing)} missing")
    if not set(table["fingerprint"].astype(str)) & set(trials["fingerprint"]):
        raise UserError(str(path), "has no fingerprint of the table of trials")
    for name in ("fingerprint", "metric", "axis", "at"):
        _refuse(table[name], table[name].isna(), "must not be empty", f"{path}: {name}")
    texts = {name: table[name].astype(str) for name in ("fingerprint", "metric", "axis")}
    is_percent = _in_percent(texts["metric"], percent)
    _refuse_signs(table["value"][~is_percent], texts["metric"], f"{path}: value")
    values = _numbers(table["value"].map(_without_sign).where(is_percent, table["value"]), f"{path}: value")
    present = [name for name in ("at", "difficulty", "examples") if name in table]
    numbers = {name: _numbers(table[name], f"{path}: {name}") for name in present}
    for name, column in numbers.items():
        _refuse(column, np.isinf(column), "must be finite", f"{path}: {name}")
    texts["metric"] = texts["metric"].map(current_name)
    return table.assign(**texts, **numbers, value=values.where(~is_percent, values / 100))


def _numbers(column: pd.Series, where: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    _refuse(column, numbers.isna() & column.notna(), "must be a number or empty", where)
    return numbers


def _refuse_signs(column: pd.Series, names: pd.Series, where: str) -> None:
    """Refuse cells such as `50%`, which `--percent` reads.

    Args:
        names: what the values are, by the index of `column`.
    """
    signed = column.astype(str).str.endswith("%") & names.map(is_share).astype(bool)
    if signed.any():
        _refuse(column, signed, "must be a number or empty", where, f": it is in percent, add --percent {names[signed].iloc[0]}")


def _refuse(column: pd.Series, wrong: pd.Series, rule: str, where: str, remedy: str = "") -> None:
    if wrong.any():
        raise UserError(where, f"{rule}, got {_first(column, wrong)}{remedy}")


def _first(column: pd.Series, chosen: pd.Series) -> str:
    """The first chosen value of a column, with its row in the file."""
    value = column[chosen].iloc[0]
    value = value.item() if isinstance(value, np.generic) else value
    shown = "an empty cell" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else repr(value)
    return f"{shown} in row {column.index[chosen][0] + 1}"


def _percent_columns(renamed: Renamed, metrics: pd.Series, percent: list[str]) -> set[str]:
    """Our names of the columns that `--percent` names, each once.

    Args:
        metrics: of curves, which it may name as well.

    Raises:
        UserError: a name is that of no column and no metric, or of one that is no share.
    """
    of_curves = {name for name in percent if _in_percent(metrics, [name]).any()}
    columns = {
        ours for name in percent if name not in of_curves or name in renamed.table for ours in renamed.find(name, "--percent")
    }
    for name in sorted(columns | of_curves):
        if not is_share(name):
            advice = "name an accuracy or a pass_at_k, or give a column such a name: --columns test/exact_accuracy=THEIRS"
            raise UserError("--percent", f"{name!r} is no share: {advice}")
    return columns


def _in_percent(metrics: pd.Series, percent: Collection[str]) -> pd.Series:
    """Whether a metric, or the metric that it is a bin of, is one of the names [points]."""
    return metrics.map(lambda metric: any(f"{metric}/".startswith(f"{name}/") for name in percent)).astype(bool)


def _without_sign(cell: object) -> object:
    return cell.rstrip(" %") if isinstance(cell, str) else cell


def _blank_infinite(table: pd.DataFrame, settings: Collection[str], where: Path) -> list[str]:
    """Make infinite scores and costs missing, in place, with a note on each column; refuse an infinite setting."""
    notes = []
    for name in map(str, table.select_dtypes("number")):
        infinite = np.isinf(table[name])
        if name in settings:
            _refuse(table[name], infinite, "must be finite", f"{where}: {name}")
        if infinite.any():
            table[name] = table[name].mask(infinite)
            notes.append(f"{name}: {_count_infinite(int(infinite.sum()))} missing")
    return notes


def _drop_infinite(points: pd.DataFrame, where: Path | None) -> list[str]:
    """Make infinite values of curves missing, in place, with a note."""
    infinite = np.isinf(points["value"].astype(float))
    points["value"] = points["value"].mask(infinite)
    return [f"{where}: {_count_infinite(int(infinite.sum()))} missing"] if infinite.any() else []


def _count_infinite(count: int) -> str:
    return "1 infinite value counts as" if count == 1 else f"{count} infinite values count as"


def _check_values(table: pd.DataFrame, where: Path) -> None:
    """Make the columns of a record what they must be, in place.

    Raises:
        UserError: a value is none that its column can have.
    """
    for name in filter(is_share, map(str, table)):
        _refuse_signs(table[name], pd.Series(name, index=table.index), f"{where}: {name}")
    for name in filter(table.__contains__, NUMBERS):
        numbers = _numbers(table[name], f"{where}: {name}")
        is_whole = name in COUNTS and bool((numbers % 1 == 0).all())  # MLflow has them as floats
        table[name] = numbers.astype("int64") if is_whole else numbers
    for name in filter(table.__contains__, POSITIVE):
        _refuse(table[name], table[name] <= 0, "must be above 0", f"{where}: {name}")
    for name in map(str, table.select_dtypes("number")):
        table[name] = _checked_shares(table[name], pd.Series(name, index=table.index), where)
    table["outside_spec"] = _truth(table["outside_spec"], f"{where}: outside_spec") if "outside_spec" in table else False


def _checked_shares(values: pd.Series, names: pd.Series, where: Path | None) -> pd.Series:
    """The values; those of shares are at most 1, which a float32 may miss by `SHARE_ERROR`.

    Raises:
        UserError: a share is below 0 or above 1.
    """
    are_shares = names.map(is_share).astype(bool)
    wrong = are_shares & ((values < 0) | (values > 1 + SHARE_ERROR))
    if wrong.any():
        name = names[wrong].iloc[0]
        remedy = f": if it is in percent, add --percent {name}" if 1 < values[wrong].iloc[0] <= 100 else ""
        _refuse(values, wrong, "must be a share between 0 and 1", f"{where}: {name}", remedy)
    return values.mask(are_shares & (values > 1), 1)


def _set_unscored_aside(table: pd.DataFrame, has_outcomes: bool) -> list[str]:
    """Mark rows without a score as unfinished where the table has no outcomes, in place; a note on these and on other empty scores.

    The score is that which cells are compared by, or any where the table has none of these.
    """
    scores = [name for name in (RESPONSES if table.columns.isin(RESPONSES).any() else SCORES) if name in table]
    scores = [name for name in scores if table[name].notna().any()]
    notes = []
    empty = table[scores].isna().all(axis=1) & (table["outcome"] == Outcome.COMPLETED)
    if scores and not has_outcomes and empty.any():
        table.loc[empty, "outcome"] = "running"
        notes.append(f"{_count_rows(empty)} left out as unfinished: no outcome, and an empty {' and '.join(scores)}")
    for name in scores:
        empty = table[name].isna() & (table["outcome"] == Outcome.COMPLETED)
        if empty.any():
            notes.append(f"{_count_rows(empty)} left out wherever {name} is compared: completed, and an empty {name}")
    return notes


def _count_rows(chosen: pd.Series) -> str:
    count = int(chosen.sum())
    return f"{count} of {len(chosen)} rows {'is' if count == 1 else 'are'}"


def _truth(column: pd.Series, where: str) -> pd.Series:
    """Yes and no as True and False; an empty cell is False."""
    words = column.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value).lower())
    truth = words.map(TRUTH).mask(column.isna(), False)
    if truth.isna().any():
        raise UserError(where, f"must be one of {', '.join(TRUTH)}, or empty; got {_first(column, truth.isna())}")
    return truth.astype(bool)


# -- notes --------------------------------------------------------------------------------------------------------


def notes_on(tables: Tables) -> list[str]:
    """What was done to a foreign table, what is missing for a law, and what is there and not used."""
    trials, notes = tables.completed, list(tables.notes)
    recursion = [name for name in DEPTH_AXES if name in trials]
    missing = [name for name in ("params_recursed", "test/nll") if name not in trials] + ([] if recursion else ["recursion"])
    if missing:
        notes.append(f"no recurrence law: it takes params_recursed, test/nll and recursion; the table has no {', '.join(missing)}")
    cells = [name for name in tables.varied if name in trials]
    if "seed" not in trials:
        notes.append("no seed: rows of a cell are taken as replicates")
    elif trials.duplicated([*cells, "seed"]).any():
        notes.append("several rows have the same cell and seed: they are taken as replicates all the same")
    others = [name for name in map(str, trials) if name not in RECORD and not tables.is_setting(name)]
    others = [name for name in others if name not in tables.lookalikes.values()]
    within = [name for name in others if _tells_apart(trials, cells, name)]
    if within:
        mixed = ", ".join(f"{name} ({_list_values(trials[name])})" for name in within)
        how = "takes it as a setting" if len(within) == 1 else "takes them as settings"
        notes.append(
            f"cells mix rows of different {mixed} as if these were seeds: {settings_option(within)} {how}; "
            "--columns gives a column a name of ours, such as optim.lr=THEIRS"
        )
    return notes


def _list_values(values: pd.Series) -> str:
    """The different values, so many that a line holds them."""
    found = [f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(values.dropna().unique(), key=str)]
    return ", ".join([*found[:MAX_LISTED_VALUES], "..."] if len(found) > MAX_LISTED_VALUES else found)


def _tells_apart(trials: pd.DataFrame, cells: list[str], name: str) -> bool:
    """Whether a column has few values that differ within cells: a setting, and no measurement."""
    values = trials[name]
    if not 1 < values.nunique() <= max(2, len(values) // 3):
        return False
    return bool((trials.groupby(cells)[name].nunique() > 1).any()) if cells else True
