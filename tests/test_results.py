"""The pages of docs/results say what the kept runs say."""

import re
from pathlib import Path

import pytest

from analysis.laws.fit_all import fit_laws
from analysis.report.build import build_report
from docs.results.draw import NAME, kept
from docs.results.keep import DATA
from sweeps.spec.load_spec import load_spec
from tests.conftest import ROOT

QUESTIONS = [path.stem.removeprefix(f"{NAME}_") for path in sorted((ROOT / "sweeps/specs/questions").glob(f"{NAME}_*.yaml"))]
PAGE = ROOT / f"docs/results/{NAME}.md"
MAX_BYTES = 2_000_000  # of all kept runs


def as_line(text: str) -> str:
    """The text of a page without line breaks and quotation marks of Markdown."""
    return re.sub(r"\s+", " ", re.sub(r"^> ?", "", text, flags=re.MULTILINE))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_page_has_the_answer_that_the_kept_runs_give(question: str) -> None:
    tables = kept(question)
    answer = build_report(tables, fit_laws(tables)).answer
    assert answer
    page = as_line(PAGE.read_text())
    assert [str(sentence) for sentence in answer if str(sentence) not in page] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_kept_runs_are_the_design_of_the_shipped_spec(question: str) -> None:
    spec = load_spec(ROOT / f"sweeps/specs/questions/{NAME}_{question}.yaml")
    asked = {trial.fingerprint for trial in spec.design}
    assert set(kept(question).completed["fingerprint"]) == asked


def test_the_readme_opens_with_the_figure_and_the_first_headline() -> None:
    opening = (ROOT / "README.md").read_text().split("## Start")[0]
    first = str(build_report(kept("sudoku6")).answer[0])
    assert f"(docs/results/{NAME}.png)" in opening
    assert first in as_line(opening)


def test_the_kept_runs_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.glob("*.parquet")) <= MAX_BYTES


def test_every_kept_file_is_of_a_shipped_spec() -> None:
    names = {f"{NAME}_{question}{part}" for question in QUESTIONS for part in ("", "_curves")}
    assert {path.stem for path in Path(DATA).glob("*.parquet")} == names
