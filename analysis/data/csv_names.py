"""A table of another program under the column names of this one, and which of its rows are trials."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.data.csv_options import no_column
from analysis.data.exports import find_status, is_export, outcomes_of, rename_export, run_names, trials_of_export
from analysis.data.names import RECORD, is_share
from analysis.data.tables import is_parameter
from rrm.errors import UserError

MAX_NAMES_OF_A_SECTION = 3  # names of one section in a note; a note gives the number of a larger section


@dataclass(frozen=True)
class Renamed:
    """The trials of a table under the names here, and the source of each column."""

    table: pd.DataFrame
    given: dict[str, str]  # the table's name by the name here, from `--columns`
    carried: dict[str, str]  # the name here by the table's name, for the other columns
    has_outcomes: bool  # whether the table itself states which trials completed
    notes: list[str]  # sentences about rows left out, and about the column of states

    def find(self, name: str, option: str) -> list[str]:
        """The names here of a column, which an option may name as in the file or as here.

        Raises:
            UserError: there is no such column.
        """
        if name in self.table:
            return [name]
        ours = [ours for ours, theirs in self.given.items() if theirs == name]
        if not ours and self.carried.get(name) not in self.table:
            raise no_column(name, [*self.carried, *self.given.values()], option)
        return ours or [self.carried[name]]

    def find_setting(self, name: str) -> list[str]:
        """The names here of a column that `--settings` names.

        Raises:
            UserError: there is no such column, or it cannot be a setting.
        """
        names = self.find(name, "--settings")
        for ours in names:
            if ours in RECORD and not is_parameter(ours):
                raise UserError("--settings", f"must name settings, got {name!r}, a column of the record (docs/formats.md)")
        return names

    def find_shares(self, names: Sequence[str], metrics: set[str]) -> set[str]:
        """The names here of the columns that `--percent` names.

        Args:
            metrics: names in the option that are metrics of curves; these need no column.

        Raises:
            UserError: a name is that of no column and no metric, or of one that is no share.
        """
        columns = {ours for name in names if name not in metrics or name in self.table for ours in self.find(name, "--percent")}
        for name in sorted(columns | metrics):
            if not is_share(name):
                advice = "an accuracy or a pass_at_k; --columns gives a column such a name: --columns test/exact_accuracy=THEIRS"
                raise UserError("--percent", f"must name shares, got {name!r}: name {advice}")
        return columns


def rename_columns(whole: pd.DataFrame, given: dict[str, str], where: Path) -> Renamed:
    """The trials of a table under the names here.

    Raises:
        UserError: there are no trials, two have one fingerprint, or a state of a run is unknown.
    """
    others = whole.drop(columns=list(given.values()))
    carried = rename_export(others) if is_export(whole.columns) else {name: name for name in map(str, others)}
    rows = whole[trials_of_export(whole, carried | {theirs: ours for ours, theirs in given.items()})]
    if rows.empty:
        raise UserError(str(where), "has no row with a setting or a score of a trial")
    table = rows[[theirs for theirs, ours in carried.items() if ours not in given]].rename(columns=carried)
    table = table.assign(**{ours: rows[theirs] for ours, theirs in given.items()})
    status = find_status(rows)
    has_outcome = "outcome" in table
    table["outcome"] = outcomes_of(rows, table, where)
    table["fingerprint"] = _fingerprints(rows, table, where)
    table["sweep"] = table["sweep"].fillna(where.stem).astype(str) if "sweep" in table else where.stem
    notes = _note_left_out(len(whole) - len(rows))
    if status is not None and not has_outcome and not is_export(whole.columns):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in table["outcome"].value_counts().items())
        notes.append(f"{status} is read as outcome: {counts}; --columns outcome=THEIRS names another column")
    return Renamed(table, given, carried, has_outcome or status is not None, notes)


def _note_left_out(count: int) -> list[str]:
    rows = "1 row is" if count == 1 else f"{count} rows are"
    return [f"{rows} left out: a run that holds others, or has no setting and no score"] if count else []


def _fingerprints(rows: pd.DataFrame, table: pd.DataFrame, where: Path) -> pd.Series:
    names = run_names(rows)
    fingerprints = (table["fingerprint"].fillna(names) if "fingerprint" in table else names).astype(str)
    repeated = fingerprints[fingerprints.duplicated(keep=False)]
    if len(repeated):
        same = repeated.index[repeated == repeated.iloc[0]] + 1
        rule = f"must differ between rows, got {repeated.iloc[0]!r} in rows {', '.join(map(str, same))}"
        raise UserError(f"{where}: fingerprint", f"{rule}: a trial counts once, remove the others")
    return fingerprints


def note_unknown(names: list[str]) -> list[str]:
    """A note on columns that are left out: names with a dot that are no settings of a trial."""
    sections: dict[str, list[str]] = defaultdict(list)
    for name in names:
        sections[name.split(".")[0]].append(name)
    short = [
        f"{section}.* ({len(members)} columns)" if len(members) > MAX_NAMES_OF_A_SECTION else ", ".join(members)
        for section, members in sections.items()
    ]
    advice = "a trial has no settings of these names; --settings NAME,... takes a column as a setting"
    return [f"left out: {', '.join(short)}: {advice}"] if short else []
