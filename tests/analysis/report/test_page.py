"""The page of a report: what stands first, and what a browser makes of it on a desktop and a phone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import plotly
import pytest

from analysis.data.tables import Tables
from analysis.figures.data import FigureData
from analysis.laws.fit_all import fit_laws
from analysis.report.build import MAX_ANSWERS, Report, build_report
from analysis.report.page import CARTESIAN, render_page, write_report
from analysis.report.sections import describe_refusals, leading_figures, sections_of
from tests.browser import browser_context, needs_browser

AXE = Path(__file__).parent / "axe.min.js"
DESKTOP, PHONE = {"width": 1366, "height": 900}, {"width": 390, "height": 844}
# Pairs of texts of one figure whose boxes overlap; texts of the pointer are not drawn yet.
OVERLAPS = """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap((plot) => {
  const texts = [...plot.querySelectorAll('svg text')].filter((text) => text.textContent.trim() && !text.closest('.hoverlayer'));
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
  return boxes.flatMap(([name, a], place) => boxes.slice(place + 1)
    .filter(([, b]) => a.left + 1 < b.right && b.left + 1 < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
    .map(([other]) => `${plot.closest('figure').id}: ${name} | ${other}`));
})"""


@pytest.fixture(scope="module")
def report(rich: Tables) -> Report:
    return build_report(rich)


def test_the_answer_has_at_most_five_sentences_and_the_others_stand_under_effects(report: Report) -> None:
    effects = next(section for section in sections_of(report) if section.name == "effects")
    assert len(report.answer) == MAX_ANSWERS == 5 < len(report.findings)
    assert {*report.answer, *effects.sentences} == {*report.findings}


def test_three_figures_lead_and_each_other_figure_stands_in_one_section(report: Report) -> None:
    leading = leading_figures(report.figures)
    folded = [figure.name for section in sections_of(report) for figure in section.figures]
    assert [figure.name for figure in leading] == ["accuracy_by_depth", "width_depth_map", "effects"]
    all_names = [*(figure.name for figure in report.figures), "thinking_steps"]
    assert sorted([*folded, *(figure.name for figure in leading)]) == sorted(all_names)


def test_what_a_doubling_is_worth_leads_where_it_is_known() -> None:
    names = ["seeds", "width_depth_map", "effects", "accuracy_by_depth", "exchange_rate_sudoku_trm"]
    figures = [FigureData(name, "", "", "", "") for name in names]
    assert [figure.name for figure in leading_figures(figures)] == [names[4], names[3], names[1]]


def test_refusals_are_one_line_a_reason_with_all_laws_refused_for_it(tables: Tables) -> None:
    fits = fit_laws(tables)
    lines = describe_refusals(fits)
    refused = [fit for fit in fits if fit.reason is not None]
    assert len(lines) == len({fit.reason for fit in refused}) < len(refused)
    assert all(any(fit.name in line for line in lines) for fit in refused)


def test_the_script_of_the_page_has_the_version_of_the_installed_plotly() -> None:
    version = re.compile(r"plotly\.js (?:\(cartesian - minified\) )?v([0-9.]+)")
    folder = Path(plotly.__file__).parent / "package_data"
    texts = [
        (Path("analysis/report") / CARTESIAN).read_text(encoding="utf-8"),
        (folder / "plotly.min.js").read_text(encoding="utf-8"),
    ]
    ours, theirs = (version.search(text[:400]) for text in texts)
    assert ours and theirs and ours[1] == theirs[1], (
        "take the file of this version from the npm package plotly.js-cartesian-dist-min"
    )


@pytest.mark.more
def test_every_file_that_the_page_names_exists_and_a_page_without_files_names_none(written: Path, report: Report) -> None:
    named = re.findall(r"[\w-]+\.(?:png|svg|gif)\b", re.sub(r"<script.*?</script>", "", written.read_text(), flags=re.DOTALL))
    assert {"thinking.gif", "thinking_steps.png", "thinking_steps.svg"} <= set(named)
    assert all((written.parent / name).is_file() for name in named)
    assert "File: " not in render_page(report, "rich", [], has_files=False)


# -- in a browser without a network -------------------------------------------------------------------------------


class Opened(NamedTuple):
    page: Any
    errors: list[str]  # lines of the console


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report, tmp_path_factory.mktemp("report"), "rich", ["rrm-analyze rich"])


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, written: Path) -> Iterator[Opened]:
    errors: list[str] = []
    with browser_context(offline=True) as context:
        page = context.new_page()
        page.set_viewport_size(request.param)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(written.as_uri())
        yield Opened(page, errors)


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    page.wait_for_timeout(1500)


@needs_browser
def test_all_figures_are_drawn_without_an_error_and_no_text_lies_over_another(opened: Opened, report: Report) -> None:
    unfold(opened.page)
    drawn = opened.page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].map((plot) => plot.querySelectorAll('path').length)"
    )
    assert not opened.errors and len(drawn) == len(report.figures) + 1 >= 15 and min(drawn) > 3
    assert opened.page.evaluate(OVERLAPS) == []
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@needs_browser
def test_the_page_has_no_serious_finding_of_accessibility(opened: Opened) -> None:
    unfold(opened.page)
    opened.page.add_script_tag(path=str(AXE))
    findings = opened.page.evaluate("axe.run()")["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:100]) for one in findings if one["impact"] in ("serious", "critical")] == []


@needs_browser
def test_the_slider_shows_the_answers_at_each_depth(written: Path) -> None:
    with browser_context(offline=True) as context:
        page = context.new_page()
        page.goto(written.as_uri())
        page.locator("nav a[href='#part-thinking']").click()
        slider, output = page.locator(".thinking input"), page.locator(".thinking output")
        last = output.text_content()
        slider.press("Home")
        first, wrong_at_first = output.text_content(), page.locator(".board .wrong").count()
        slider.press("ArrowRight")
        after_one = output.text_content(), page.locator(".board .right").count(), page.locator(".board .wrong").count()
    assert last == "3: 3 of 3, 3 of 3 unknown tokens right"
    assert first == "0: the puzzle" and wrong_at_first == 0
    assert after_one == ("1: 1 of 3, 1 of 3 unknown tokens right", 2, 4)


@needs_browser
def test_a_table_sorts_and_filters_and_a_sentence_leads_into_the_fold_of_its_figure(written: Path) -> None:
    with browser_context(offline=True) as context:
        page = context.new_page()
        page.goto(written.as_uri())
        link = page.locator("#answer a").first
        target = str(link.get_attribute("href"))
        link.click()
        is_seen = page.locator(target).evaluate("(figure) => Math.abs(figure.getBoundingClientRect().top) < window.innerHeight")
        page.locator("nav a[href='#part-runs']").click()
        head = page.locator("#part-runs th", has_text="test/exact_accuracy").first
        column = head.evaluate("(head) => [...head.parentNode.children].indexOf(head)")
        head.locator("button").press("Enter")
        rows = head.evaluate(
            "(head, at) => [...head.closest('table').tBodies[0].rows].map((row) => parseFloat(row.cells[at].textContent))", column
        )
        order = head.get_attribute("aria-sort")
        page.locator("#part-runs input.filter").fill("completed 32-1-5")
        remaining = page.locator("#part-runs tbody tr:visible").all_text_contents()
    assert target == "#effects" and is_seen
    assert rows == sorted(rows) and len(set(rows)) > 1 and order == "ascending"
    assert len(remaining) == 8 and all("32-1-5" in row for row in remaining)
