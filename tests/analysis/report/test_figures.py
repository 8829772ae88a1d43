"""Marks of axes, texts beside points, and the order of difficulties, in both renderers."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from analysis.data.tables import Tables, split_bins
from analysis.figures import render
from analysis.figures.data import FigureData, Series
from analysis.figures.difficulty import accuracy_by_difficulty, required_depth
from analysis.figures.inference import inference_frontier
from analysis.figures.recursion import state_reset
from analysis.figures.render import interactive, write_static
from analysis.figures.ticks import log_ticks, number_label, place_texts
from analysis.laws.drawing import fit_figure
from analysis.laws.fit import Fit
from analysis.laws.inference_depth import InferenceDepth


def log_figure(values: list[float]) -> FigureData:
    return FigureData("log", "", "", "x", "y", [Series("a", values, values)], x_scale="log", y_scale="log")


def static_axes(figure: FigureData, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Axes:
    """The axes that were drawn into the PNG file."""
    drawn: list[Figure] = []

    class Kept(Figure):
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)
            drawn.append(self)

    monkeypatch.setattr(render, "Figure", Kept)
    write_static(figure, folder)
    return drawn[0].axes[0]


@pytest.mark.parametrize(
    "values",
    [[2, 1, 0.5, 0.2], [*np.geomspace(0.02, 2, 30)], [*np.geomspace(1e-7, 3e11, 40)], [*np.linspace(0.51, 0.57, 20)],
     [*np.geomspace(900, 12288, 25)], [100.0], [64, 4096, 262144]],
)  # fmt: skip
def test_each_mark_of_a_logarithmic_axis_shows_its_whole_number(
    values: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = log_figure([float(value) for value in values])
    drawing, axes = interactive(figure), static_axes(figure, tmp_path, monkeypatch)
    for web, paper in ((drawing.layout.xaxis, axes.xaxis), (drawing.layout.yaxis, axes.yaxis)):
        texts = list(web.ticktext)
        assert [float(text.replace(",", "")) for text in texts] == pytest.approx(list(web.tickvals), rel=0.01)
        assert [label.get_text() for label in paper.get_ticklabels()] == texts
        assert len(texts) == len(set(texts)) <= 9 and (len(texts) >= 3 or len(values) < 3)
        assert all(min(values) * 0.99 <= value <= max(values) * 1.01 for value in web.tickvals)


def test_numbers_are_short_and_whole() -> None:
    numbers = [0.5, 0.0002, 0.00002, 1, 20, 999, 12288, 2e6, 1.5e9]
    assert [number_label(number) for number in numbers] == [
        "0.5", "0.0002", "2e-5", "1", "20", "999", "12,288", "2e6", "1.5e9",
    ]  # fmt: skip
    assert log_ticks([16, 17, 18, 64]) != [16, 17, 18, 64]  # labels of 16 and 17 would touch


def crowded() -> Tables:
    """A frontier of many cells whose points lie close together."""
    records, points = [], []
    for width, n in itertools.product((16, 24, 32, 48, 64), (1, 2, 3, 6)):
        name = f"{width}-{n}"
        records.append(
            {
                "fingerprint": name, "sweep": "made", "outcome": "completed", "outside_spec": False, "seed": 0,
                "model.hidden_size": width, "model.l_cycles": n, "inference_flops": 1e3 * width**2 * (n + 1),
                "test/exact_accuracy": 0.5,
            }
        )  # fmt: skip
        for depth in range(1, 9):
            value = 1 / (1 + np.exp(3 - 0.5 * np.log2(width / 16) - np.log2(n + 1) - np.log2(depth)))
            points.append({"fingerprint": name, "metric": "depth/exact_accuracy", "axis": "depth", "at": depth, "value": value})
    return Tables(pd.DataFrame(records), split_bins(pd.DataFrame(points)))


@pytest.mark.parametrize("made", ["crowded", "rich"])
def test_texts_of_the_frontier_hide_neither_each_other_nor_a_point(
    made: str, rich: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = inference_frontier(rich if made == "rich" else crowded())
    assert figure is not None and figure.series[0].texts
    axes = static_axes(figure, tmp_path, monkeypatch)
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    boxes = [note.get_window_extent() for note in notes]
    assert len(notes) >= 5
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    marked = [point for series in figure.series if series.style != "curve" for point in zip(series.x, series.y, strict=True)]
    for point in axes.transData.transform(marked):
        assert not any(box.contains(*point) for box in boxes)
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)


def test_a_text_without_room_is_left_out_and_the_pointer_shows_it() -> None:
    figure = inference_frontier(crowded())
    assert figure is not None
    (places, *_), trace = place_texts(figure), interactive(figure).data[0]
    hidden = [number for number, place in enumerate(places) if place is None]
    assert hidden and all(trace.text[number] == "" for number in hidden)
    assert list(trace.hovertext) == figure.series[0].texts
    assert [place for place in places if place] == [
        place for text, place in zip(trace.text, trace.textposition, strict=True) if text
    ]


@pytest.mark.parametrize(
    ("measure", "rows", "words"),
    [
        ("clues", ["8", "6", "5", "4"], "clues (fewer clues: harder)"),
        ("guesses", ["4", "5", "6", "8"], "difficulty (guesses)"),
        ("path_length", ["4", "5", "6", "8"], "difficulty (path length)"),
    ],
)
def test_difficulties_stand_from_easy_to_hard_and_the_axis_says_which_are_hard(
    rich: Tables, measure: str, rows: list[str], words: str
) -> None:
    places = {1.0: 4.0, 2.0: 5.0, 4.0: 6.0, 8.0: 8.0}
    told = rich.curves.assign(
        binned_by=rich.curves["binned_by"].where(rich.curves["binned_by"].isna(), measure),
        difficulty=rich.curves["difficulty"].map(places),
    )
    tables = Tables(rich.trials, told)
    figure = accuracy_by_difficulty(tables)
    assert figure is not None and figure.heatmap is not None
    assert figure.heatmap.rows == rows and figure.y_label == words
    if measure == "clues":
        assert required_depth(tables) is None
    else:
        assert required_depth(tables).x_label == words


def test_numbers_of_a_state_are_ordered_and_joined_by_lines(rich: Tables) -> None:
    trials = rich.trials.drop(columns="model.state_reset").assign(
        **{"model.state_noise": [0.1, 0.0, 0.5] * (len(rich.trials) // 3)}
    )
    figure = state_reset(Tables(trials, rich.curves))
    assert figure is not None and {series.style for series in figure.series} == {"line"}
    assert [name for _, name in figure.x_marks] == ["state noise 0.0", "state noise 0.1", "state noise 0.5"]


@pytest.mark.parametrize(("count", "words"), [(9, "width 14."), (20, "width 11; width 12; width 14; width 16 and 8 others.")])
def test_a_caption_names_the_lines_of_a_law_that_are_left_out(count: int, words: str) -> None:
    points = pd.DataFrame({"line": "", "x": [1, 2], "measured": [0.5, 0.4], "fitted": [0.5, 0.4], "misfit": 0.0})
    law = InferenceDepth()
    fits = [Fit(law, "depth/error", {"model.hidden_size": size}, 2, 1, 2, points=points) for size in range(10, 10 + count)]
    caption = fit_figure(fits, law.drawing).caption
    assert caption.split("lines are shown, without ")[1].count("width") == min(4, count - 8)
    assert caption.endswith(words)
