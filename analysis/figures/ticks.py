"""Marks of logarithmic axes and positions of texts, which the two renderers share."""

import itertools
import math
import re
from collections.abc import Sequence

from analysis.figures.data import FigureData, Series

MAX_TICKS, MIN_TICKS = 9, 3
MAX_VALUES = 8  # with at most 8 values, the values are the marks
MIN_GAP = 0.09  # smallest distance between marks, as a share of the axis: about the width of a label
STEPS_OF_A_DECADE = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))
NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
LETTER_WIDTH, LETTER_HEIGHT = 0.0095, 0.034  # size of a letter beside a point, as shares of the axes
MARK_WIDTH, MARK_HEIGHT = 0.012, 0.018  # size of a point, as shares of the axes
Y_MARGIN = 0.02  # space that renderers add above `FigureData.y_range`
SAMPLES = 12  # places along a line between two points that a text must not hide
PLACES = ("bottom right", "top left", "top right", "bottom left", "middle right", "middle left", "top center", "bottom center")
Box = tuple[float, float, float, float]  # left, bottom, right, top


def number_label(value: float) -> str:
    """`0.5`, `20`, `12,288`, `1.5e6`, `2e-5`: three digits below 1000, all digits up to a million, else a power of ten."""
    if 0 < abs(value) < 1e-4 or abs(value) >= 1e6:
        return re.sub(r"(\.0)?e([+-])0*(\d+)", lambda match: f"e{match[2].replace('+', '')}{match[3]}", f"{value:.1e}")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def log_ticks(values: Sequence[float]) -> list[float]:
    """Marks of a logarithmic axis: the values themselves if they are few and far apart, else numbers with few digits."""
    positive = sorted({value for value in values if value > 0})
    if len(positive) < 2:
        return positive
    span = math.log(positive[-1] / positive[0])
    gaps = (math.log(second / first) / span for first, second in itertools.pairwise(positive))
    if len(positive) <= MAX_VALUES and min(gaps) >= MIN_GAP:
        return positive
    return round_ticks(positive[0], positive[-1])


def round_ticks(low: float, high: float) -> list[float]:
    """Between 3 and 9 numbers with few digits over a range of positive values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for decades, steps in [
        *((1, steps) for steps in STEPS_OF_A_DECADE),
        *((decades, (1.0,)) for decades in range(2, last - first + 1)),
    ]:
        ticks = [step * 10.0**power for power in range(first, last + 1, decades) for step in steps]
        inside = [tick for tick in ticks if low / 1.001 <= tick <= high * 1.001]
        if MIN_TICKS <= len(inside) <= MAX_TICKS:
            return inside
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * nice for nice in NICE_STEPS if unit * nice >= rough)
    return [float(f"{number * step:.6g}") for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def place_texts(figure: FigureData) -> list[list[str | None]]:
    """The position of the text of each point of each series, one of `PLACES`; None if it would hide a point or a text."""
    if not any(series.texts for series in figure.series):
        return [[None] * len(series.x) for series in figure.series]
    points = [[_share(figure, x, y) for x, y in zip(series.x, series.y, strict=True)] for series in figure.series]
    taken = [_around(point) for point in itertools.chain(*points)]
    lines = [sample for pair in zip(figure.series, points, strict=True) for sample in _samples(*pair)]
    places: list[list[str | None]] = []
    for series, series_points in zip(figure.series, points, strict=True):
        chosen: list[str | None] = [None] * len(series_points)
        for number in _ends_first(len(series_points) if series.texts else 0):
            boxes = {place: _text_box(series_points[number], (series.texts or [])[number], place) for place in PLACES}
            free = [place for place, box in boxes.items() if _is_inside(box) and not any(_overlap(box, other) for other in taken)]
            if free:
                place = min(free, key=lambda name: sum(_overlap(boxes[name], (*line, *line)) for line in lines))
                chosen[number] = place
                taken.append(boxes[place])
        places.append(chosen)
    return places


def _share(figure: FigureData, x: float, y: float) -> tuple[float, float]:
    """The position of a point as shares of the axes, from 0 to 1."""
    across = _along(x, [x for series in figure.series for x in series.x], figure.x_scale)
    if figure.y_range:
        low, high = figure.y_range
        return across, (y - low) / (high + Y_MARGIN - low)
    return across, _along(y, [y for series in figure.series for y in series.y], figure.y_scale)


def _along(value: float, values: Sequence[float], scale: str) -> float:
    """The position of a value, from 0 to 1, on an axis that shows these values with a margin of 5 %."""
    low, high, here = (math.log(number) if scale == "log" else number for number in (min(values), max(values), value))
    return 0.5 if high == low else 0.05 + 0.9 * (here - low) / (high - low)


def _samples(series: Series, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Positions along the line of a series; none for a series of points."""
    if series.style == "points":
        return []
    shares = [step / SAMPLES for step in range(SAMPLES)]
    return [(a + (c - a) * share, b + (d - b) * share) for (a, b), (c, d) in itertools.pairwise(points) for share in shares]


def _ends_first(count: int) -> list[int]:
    return sorted(range(count), key=lambda number: (number not in {0, count - 1}, number))


def _around(point: tuple[float, float]) -> Box:
    x, y = point
    return x - MARK_WIDTH / 2, y - MARK_HEIGHT / 2, x + MARK_WIDTH / 2, y + MARK_HEIGHT / 2


def _text_box(point: tuple[float, float], text: str, place: str) -> Box:
    vertical, horizontal = place.split()
    width, height = LETTER_WIDTH * len(text), LETTER_HEIGHT
    left = point[0] + {"right": MARK_WIDTH, "left": -MARK_WIDTH - width, "center": -width / 2}[horizontal]
    bottom = point[1] + {"top": MARK_HEIGHT, "bottom": -MARK_HEIGHT - height, "middle": -height / 2}[vertical]
    return left, bottom, left + width, bottom + height


def _is_inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= 1 and box[3] <= 1


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
