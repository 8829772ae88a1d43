"""Sentences of a report, and the parts that those on laws share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.data.tables import is_parameter
from analysis.statistics.effects import name_level
from analysis.statistics.interval import Interval
from sweeps.design.axes import AXES

if TYPE_CHECKING:
    from analysis.laws.fit import Fit


@dataclass(frozen=True)
class Sentence:
    """A claim, and the name of the figure that shows it."""

    text: str
    figure: str = ""
    is_detail: bool = False  # no part of the answer, which says the same more shortly

    def __str__(self) -> str:
        return self.text


def capitalize(text: str) -> str:
    """The text with a capital letter at its start; the rest stays as it is."""
    return text[0].upper() + text[1:]


def name_place(fit: "Fit") -> str:
    """`On sudoku (trm, state reset all), `: the settings by which the group of trials differs from others."""
    task, kind = fit.group.get("task.kind"), fit.group.get("model.kind")
    if task is None:
        return ""
    settings = [name for name in fit.group if is_parameter(name) and name not in ("task.kind", "model.kind", *AXES)]
    names = ", ".join([*([str(kind)] if kind else []), *(name_level(name, fit.group[name]) for name in settings)])
    return f"On {task}{f' ({names})' if names else ''}, "


def state_interval(interval: Interval, scale: float = 1.0) -> str:
    """`1.70 (95 % CI 1.41 to 2.10)`."""
    low, high = sorted((scale * interval.low, scale * interval.high))
    return f"{scale * interval.estimate:.2f} (95 % CI {low:.2f} to {high:.2f})"


def state_change(slope: Interval) -> str:
    """`-7.0 % (95 % CI -12.1 % to -1.6 %)`: the change of a loss with a doubling.

    Args:
        slope: by how much log L falls a step in the log of what is doubled.
    """
    change = slope.map(lambda fall: 100 * (2**-fall - 1))
    low, high = sorted((change.low, change.high))
    return f"{change.estimate:+.1f} % (95 % CI {low:+.1f} % to {high:+.1f} %)"


def state_range(interval: Interval) -> str:
    """`95 % CI 12,300 to 45,600`."""
    return f"95 % CI {interval.low:,.3g} to {interval.high:,.3g}"


def state_refusals(fits: Sequence["Fit"], law: str, figure: str) -> list[Sentence]:
    """One sentence for all groups of trials in which a law is refused for the same reason.

    Args:
        figure: start of the name of the figure for a group.
    """
    sentences = []
    for reason in dict.fromkeys(fit.reason for fit in fits if fit.reason is not None):
        refused = [fit for fit in fits if fit.reason == reason]
        places = "; ".join(dict.fromkeys(name_place(fit).removesuffix(", ").removeprefix("On ") for fit in refused))
        text = f"{f'on {places}, ' if places else ''}{law} is not fitted: {reason.sentence}."
        sentences.append(Sentence(text, f"{figure}{refused[0].suffix}"))
    return sentences
