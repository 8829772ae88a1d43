"""Tables as lines of text that fit a terminal. No number is cut; a line names the columns that are left out."""

import itertools
import textwrap
from collections.abc import Sequence

import pandas as pd

GAP = "  "  # space between columns
NO_BREAK = "\N{NO-BREAK SPACE}"
RESULTS = ("accuracy", "95 % CI")  # columns that stay in the table even if all their values are equal
OPTIONAL = ("layers", "params")  # columns that a table leaves out if it is too wide, in this order


def lay_out(table: pd.DataFrame, width: int | None) -> list[str]:
    """The table in lines of at most `width` characters; None sets no limit.

    A table that is too wide changes in these steps: columns with one value become a line above it, headings break between words,
    `OPTIONAL` columns are left out with a line that names them, and finally every row becomes a paragraph.
    """
    cells = table.astype(str)
    if width is None or _width(cells, list(cells.columns)) <= width:
        return _draw(cells, [[name] for name in cells.columns])
    equal = [name for name in cells if cells[name].nunique() == 1 and name not in RESULTS] if len(cells) > 1 else []
    shared = ", ".join(f"{name} {cells[name].iloc[0]}" for name in equal)
    lines = _wrap(f"in all cells: {shared}", width) if equal else []
    cells = cells.drop(columns=equal)
    left_out: list[str] = []
    for name in ("", *OPTIONAL):
        if name in cells and not _fits(cells, width):
            cells = cells.drop(columns=name)
            left_out.append(name)
    if not _fits(cells, width):
        rows = table.astype(str).drop(columns=equal)
        paragraphs = [_paragraph(list(rows.columns), row, width) for row in rows.itertuples(index=False, name=None)]
        return [*lines, *itertools.chain(*paragraphs)]
    note = f"left out at this width: {' and '.join(left_out)}; the report has them"
    return [*lines, *(_wrap(note, width) if left_out else []), *_draw(cells, [_break(name) for name in cells.columns])]


def _fits(cells: pd.DataFrame, width: int) -> bool:
    words = [max(_break(name), key=len) for name in cells.columns]
    return _width(cells, words) <= width


def _width(cells: pd.DataFrame, headings: Sequence[str]) -> int:
    widest = [max(len(heading), *cells[name].map(len)) for name, heading in zip(cells.columns, headings, strict=True)]
    return int(sum(widest)) + len(GAP) * (len(widest) - 1)


def _break(name: str) -> list[str]:
    """A heading as lines of whole words; `95 % CI` has two lines."""
    return name.replace(" %", f"{NO_BREAK}%").split(" ")


def _draw(cells: pd.DataFrame, headings: Sequence[list[str]]) -> list[str]:
    """Headings, aligned at the bottom, a rule, and the rows; all cells are aligned right."""
    headings = [[line.replace(NO_BREAK, " ") for line in lines] for lines in headings]
    height = max(map(len, headings))
    padded = [[""] * (height - len(lines)) + lines for lines in headings]
    columns = [[*heads, *cells[name]] for name, heads in zip(cells.columns, padded, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    lines = [GAP.join(cell.rjust(size) for cell, size in zip(row, widths, strict=True)) for row in zip(*columns, strict=True)]
    return [*lines[:height], "─" * len(lines[0]), *lines[height:]]


def _paragraph(names: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    cells = (f"{name} {value.replace(' ', NO_BREAK)}" for name, value in zip(names, row, strict=True))
    return _wrap(", ".join(cells), width)


def _wrap(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, width, subsequent_indent=GAP, break_long_words=False, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]
