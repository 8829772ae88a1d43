"""`Law`: what the analysis requires of a law. A new law is a subclass in a file here, or a plug-in (docs/extending.md)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar

from analysis.figures.data import FigureData
from analysis.laws.draft import SCALES, Draft
from analysis.laws.drawing import Drawing
from analysis.laws.fit import Fit
from analysis.laws.groups import Budgets, Group
from analysis.laws.sentence import Sentence
from rrm.errors import UserError
from rrm.extensions import Extension
from sweeps.design.reasons import Reason

ItemT = TypeVar("ItemT")


class Law(Extension):
    """One law: its columns, its fit, and how a report states it, draws it, and suggests a design for it."""

    family: ClassVar[str] = "law"
    name: ClassVar[str]
    """The word for it in fits.json and on a terminal."""
    needs: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Columns of trials: the law is fitted to tables that have one column of each tuple."""
    spans: ClassVar[tuple[str, ...]] = ()
    """Settings that may differ within a group of trials, beside the axes of `sweeps.design.axes`."""
    rank: ClassVar[int] = 100
    """The place of its fits in fits.json; laws of equal rank are ordered by name."""
    is_leading: ClassVar[bool] = False
    """Whether a report states and draws it before the effects of single axes: a law of size against recursion."""
    shows: ClassVar[str] = ""
    """What its figures show, for the line of a report on figures that a table lacks columns for; no line where empty."""
    drawing: ClassVar[Drawing | None] = None
    """How `Fit.points` are drawn; None for a law without points."""
    grows: ClassVar[tuple[Literal["size", "recursion"], ...]] = ("size", "recursion")
    """Axes along which a suggested design has more values."""
    suggestion_note: ClassVar[str] = ""
    """A comment in YAML above each suggested spec."""

    @classmethod
    def extension_kind(cls) -> str | None:
        return getattr(cls, "name", None)

    def drawing_of(self, form: str | None) -> Drawing | None:
        """How `Fit.points` of a form are drawn; by default all forms alike."""
        return self.drawing

    @abstractmethod
    def fit(self, group: Group) -> list[Fit]:
        """Fits and refusals of one group of completed trials, which has the columns in `needs`."""

    def sentences(self, fits: Sequence[Fit]) -> list[Sentence]:
        """What a report states about all fits of this law."""
        fitted = [fit for fit in fits if fit.is_fitted]
        return [one for fit in fitted for one in require_list(self, "sentence", self.sentence(fit), Sentence)]

    def sentence(self, fit: Fit) -> list[Sentence]:
        """What a report states about one fit that is not refused."""
        return []

    def refusals(self, fits: Sequence[Fit]) -> list[Sentence]:
        """What a report states about refusals; by default its table of laws alone has them."""
        return []

    def figure(self, fit: Fit) -> FigureData | None:
        """A figure of one fit beside that of its points and that of their misfit."""
        return None

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        """Change a draft of the sweep into a design for which the law is not refused for the reason of this fit.

        Seeds and budgets are changed elsewhere, for all laws alike.

        Returns:
            False where no design of this model and task would do.
        """
        axes = [draft.size_axis()] if "size" in self.grows else []
        if "recursion" in self.grows:
            recursion = draft.recursion_axis()
            if recursion is None:
                return False
            axes.append(recursion)
        if not all(draft.levels(axis) for axis in axes):  # a model that is no stack of blocks
            return False
        more = 1 if fit.reason == Reason.LACK_OF_FIT else 0
        for axis in axes:
            draft.cross(axis, draft.grow(axis, max(SCALES, len(draft.levels(axis)) + more)))
        return True

    def unanswered(self, fits: Sequence[Fit], budgets: Budgets) -> list[str]:
        """A note for each budget that the user gave and that no fit of this law answers."""
        return []


def require_list(law: Law, method: str, returned: list[ItemT], item: type[ItemT]) -> list[ItemT]:
    """What a method of a law returned.

    Raises:
        UserError: it is no list of such items.
    """
    given: object = returned
    if isinstance(given, list) and all(isinstance(one, item) for one in given):
        return given
    got = f"a list with {given!r}" if isinstance(given, list) else type(given).__name__
    raise UserError(f"law {law.name}", f"{method} must return a list of {item.__name__}, got {got}")
