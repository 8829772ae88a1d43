"""The figure and the sentences of a page of results, from the runs in data/: `python -m docs.results.draw 01_width_or_recursion`.

Writes PAGE.png beside the page, and prints what the page quotes.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from analysis.data.csv_import import load_csv
from analysis.data.tables import Tables
from analysis.figures.data import BLACK, FigureData, Series
from analysis.figures.render import write_static
from analysis.laws.compute_optimal import ComputeOptimal
from analysis.laws.fit_all import fit_laws
from analysis.laws.headline import Headline, find_headlines
from analysis.laws.recurrence import Recurrence

FOLDER = Path(__file__).parent
PAYS = 2.0  # a doubling of recursion costs about what a doubling of parameters does


class Answer(NamedTuple):
    """What the runs of one sweep say."""

    name: str  # what is behind the number and the question in the name of the file
    tables: Tables
    headline: Headline


def read_answers(page: str) -> list[Answer]:
    """The answer of each sweep that the page is about, by name."""
    paths = sorted(path for path in (FOLDER / "data").glob(f"{page}_*.parquet") if not path.stem.endswith("_curves"))
    answers = []
    for path in paths:
        tables = load_csv(path, path.with_name(f"{path.stem}_curves.parquet"))
        (headline,) = find_headlines(fit_laws(tables, laws=[Recurrence(), ComputeOptimal()]))
        answers.append(Answer(path.stem.removeprefix(f"{page}_"), tables, headline))
    return answers


def draw(page: str, answers: list[Answer]) -> FigureData:
    """What one doubling of recursion is worth in each sweep; those without a rate are left out."""
    known = [(answer.name, answer.headline.rates["recursion"]) for answer in reversed(answers) if answer.headline.rates]
    series = [
        Series(name, [rate.estimate], [float(row)], [rate.low], [rate.high], color=row, style="points")
        for row, (name, rate) in enumerate(known)
    ]
    ends = [-0.5, len(known) - 0.5]
    lines = [Series("", [factor, factor], ends, color=BLACK, dash=dash, style="curve") for factor, dash in ((1.0, 0), (PAYS, 1))]
    return FigureData(
        page, "What one doubling of recursion is worth",
        "Times the recursed parameters, 95 % CI. Right of 1 (line) recursion helps; right of about 2 (dashed) it is the better buy "
        "at equal FLOPs.",
        "times the recursed parameters", "", [*series, *lines], x_scale="log",
        y_marks=[(float(row), name.replace("_", " ")) for row, (name, _) in enumerate(known)], legend=False,
    )  # fmt: skip


if __name__ == "__main__":
    for page in sys.argv[1:]:
        answers = read_answers(page)
        for path in write_static(draw(page, answers), FOLDER):
            if path.suffix != ".png":
                path.unlink()
        for answer in answers:
            print(f"{answer.name}: {' '.join(map(str, answer.headline.sentences))}")
