"""Tables that this project did not write: a row per trial, and a row per point of a curve, as CSV or Parquet."""

from pathlib import Path

import pandas as pd

from analysis.data.csv_curves import metrics_in, read_curves
from analysis.data.csv_names import Renamed, note_unknown, rename_columns
from analysis.data.csv_options import Names, columns_option, parse_columns, split_names
from analysis.data.csv_values import as_numbers, blank_infinite, check_values, mark_unscored, without_sign
from analysis.data.exports import is_export, unpack_dictionaries
from analysis.data.lookalikes import find_lookalikes, percent_option
from analysis.data.names import SETTINGS
from analysis.data.table_file import read_table, with_types
from analysis.data.tables import Tables, is_parameter, split_bins
from lightning_modules.columns import TEXTS
from rrm.errors import UserError


def load_csv(trials: Path, curves: Path | None = None, columns: Names = "", settings: Names = "", percent: Names = "") -> Tables:
    """Read a table of trials, and one of curves.

    Args:
        columns: names here and names in the table, such as `test/nll=eval_loss,model.hidden_size=width`.
        settings: columns that separate cells although a trial of this project has no setting of that name.
        percent: columns of trials and metrics of curves that are in percent.

    Raises:
        UserError: a file cannot be read, or a column is missing or holds a value that it cannot hold.
    """
    whole = unpack_dictionaries(read_table(trials), trials)
    if whole.empty:
        raise UserError(str(trials), "has no rows")
    renamed = rename_columns(whole, parse_columns(columns, whole), trials)
    further = frozenset(ours for name in split_names(settings, whole) for ours in renamed.find_setting(name))
    shares = split_names(percent, whole)
    table, unknown = _select_columns(renamed, further)
    points, curve_notes = read_curves(curves, table["fingerprint"], shares)
    in_curves = {name for name in shares if metrics_in(points["metric"], [name]).any()}
    for name in renamed.find_shares(shares, in_curves):
        table[name] = as_numbers(table[name].map(without_sign), f"--percent {name}") / 100
    infinite = blank_infinite(table, {*SETTINGS, *renamed.given, *further}, trials)
    check_values(table, trials)
    unscored = mark_unscored(table, renamed.has_outcomes)
    lookalikes, options = _suggest_columns(renamed, further)
    named = [f"columns look like ours under other names; if they are, add {options}"] if lookalikes else []
    unexplained = note_unknown([name for name in unknown if name not in lookalikes.values()])
    ordered = table.sort_values(["sweep", "fingerprint"]) if is_export(whole.columns) else table  # the order of `merge`
    return Tables(
        ordered.reset_index(drop=True),
        split_bins(points),
        settings=further,
        notes=(*renamed.notes, *named, *unexplained, *infinite, *curve_notes, *unscored),
        is_foreign=True,
        lookalikes=lookalikes,
        columns_option=options,
    )


def _select_columns(renamed: Renamed, further: frozenset[str]) -> tuple[pd.DataFrame, list[str]]:
    """The columns with types, without dotted names that are no settings; and these names."""
    settings = {*SETTINGS, *renamed.given, *further}
    unknown = [name for name in map(str, renamed.table) if is_parameter(name) and name not in settings]
    table = renamed.table.drop(columns=unknown)
    return table.apply(lambda column: column if column.name in TEXTS else with_types(column)), unknown


def _suggest_columns(renamed: Renamed, further: frozenset[str]) -> tuple[dict[str, str], str]:
    """Columns by the name here that they seem to mean, and the options that read them so; empty where there are none."""
    assumed = [] if renamed.has_outcomes else ["outcome"]
    lookalikes = find_lookalikes(renamed.table.drop(columns=[*further, *assumed]))
    if not lookalikes:
        return {}, ""
    return lookalikes, f"{columns_option(lookalikes)} {percent_option(lookalikes, renamed.table)}".strip()
