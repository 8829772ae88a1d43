"""Options of `rrm-analyze --csv` that name columns: how they are read, and how a message suggests them.

Commas separate names, and double quotes keep a comma within a name.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import pandas as pd

from analysis.data.names import RECORD, SETTINGS
from analysis.data.tables import SECTIONS
from rrm.errors import UserError

Names = str | Sequence[str]  # value of an option; several texts are one list


def columns_option(theirs_by_ours: Mapping[str, str]) -> str:
    """The option that gives columns of others names here, as a shell takes it."""
    pairs = (f'{ours}="{theirs}"' if "," in theirs else f"{ours}={theirs}" for ours, theirs in theirs_by_ours.items())
    return f"--columns {shlex.quote(','.join(pairs))}"


def settings_option(columns: Sequence[str]) -> str:
    """The option that takes columns as settings, as a shell takes it."""
    names = (f'"{name}"' if "," in name else name for name in columns)
    return f"--settings {shlex.quote(','.join(names))}"


def split_names(values: Names, table: pd.DataFrame) -> list[str]:
    """The names in an option; a text that is the whole name of a column is one name."""
    texts = [values] if isinstance(values, str) else values
    parts = [[text] if text in table else re.findall(r'(?:"[^"]*"|[^,"])+', text) for text in texts]
    return [name for part in parts for text in part if (name := _unquoted(text))]


def parse_columns(columns: Names, table: pd.DataFrame) -> dict[str, str]:
    """Columns of the table by the names here that `--columns` gives them.

    Raises:
        UserError: the option has another form, a name here does not exist or is given twice, or there is no such column.
    """
    pairs: dict[str, str] = {}
    for text in [columns] if isinstance(columns, str) else columns:
        is_one = _unquoted(text.partition("=")[2]) in table  # a column whose name has a comma
        for pair in [text] if is_one else split_names(text, table):
            ours, theirs = _parse_pair(pair, table)
            if ours in pairs:
                raise UserError("--columns", f"{ours!r} is given twice, as {pairs[ours]!r} and as {theirs!r}")
            pairs[ours] = theirs
    return pairs


def _parse_pair(pair: str, table: pd.DataFrame) -> tuple[str, str]:
    ours, _, theirs = (_unquoted(part) for part in pair.partition("="))
    if not ours or not theirs:
        raise UserError("--columns", f'must be OURS=THEIRS,..., got {pair!r}; a name with a comma is quoted: OURS="A, B"')
    if ours not in RECORD and not ours.startswith(SECTIONS):
        close = get_close_matches(ours, [*RECORD, *SETTINGS], 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UserError("--columns", f"OURS must be a column of docs/formats.md, got {ours!r}{meant}")
    if theirs not in table:
        raise no_column(theirs, map(str, table), "--columns")
    return ours, theirs


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def no_column(name: str, columns: Iterable[str], option: str) -> UserError:
    """The error for a name that no column has."""
    return UserError(option, f"must name a column of the table, got {name!r}; the columns are: {', '.join(dict.fromkeys(columns))}")
