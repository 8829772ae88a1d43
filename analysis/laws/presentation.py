"""What a report, a terminal and a notebook show of fits: each law gives its own part."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from analysis.figures.data import FigureData
from analysis.laws.drawing import draw_fits
from analysis.laws.fit import Fit
from analysis.laws.groups import Budgets
from analysis.laws.headline import Headline
from analysis.laws.law import Law, require_list
from analysis.laws.sentence import Sentence, capitalize
from rrm.errors import UserError


def describe_fits(fits: Sequence[Fit], headlines: Sequence[Headline] = ()) -> list[Sentence]:
    """What the laws state, the headlines first and refusals last."""
    return [*state_first(fits, headlines), *state_further(fits, headlines)]


def state_first(fits: Sequence[Fit], headlines: Sequence[Headline]) -> list[Sentence]:
    """The headlines, and the budgets that the user asked about.

    A law that spans what separates several headlines comes before them: it is about all trials.
    """
    rated = [one for one in headlines if one.reason is None]
    sentences = [
        sentence
        for law, part in _by_law(fits)
        if _leads(law, rated)
        for sentence in require_list(law, "sentences", law.sentences(part), Sentence)
    ]
    sentences += [sentence for one in rated for sentence in one.sentences]
    asked = [fit for fit in fits if fit.is_asked and fit.is_fitted]
    sentences += [one for fit in asked for one in require_list(fit.fitted_by, "sentence", fit.fitted_by.sentence(fit), Sentence)]
    return _capitalized(sentences)


def state_further(fits: Sequence[Fit], headlines: Sequence[Headline]) -> list[Sentence]:
    """What other fitted laws state, leading ones first; then refusals."""
    rated = [one for one in headlines if one.reason is None]
    parts = sorted(_by_law(fits), key=lambda part: not part[0].is_leading)
    others = [(law, [fit for fit in part if not fit.is_asked]) for law, part in parts if not _leads(law, rated)]
    sentences = [sentence for law, part in others for sentence in require_list(law, "sentences", law.sentences(part), Sentence)]
    sentences += [sentence for one in headlines if one.reason is not None for sentence in one.sentences]
    sentences += [sentence for law, part in parts for sentence in require_list(law, "refusals", law.refusals(part), Sentence)]
    return _capitalized(sentences)


def _leads(law: Law, rated: Sequence[Headline]) -> bool:
    return law.is_leading and bool(law.spans) and len(rated) > 1


def _capitalized(sentences: Sequence[Sentence]) -> list[Sentence]:
    return [replace(sentence, text=capitalize(sentence.text)) for sentence in sentences]


def draw_laws(fits: Sequence[Fit]) -> tuple[list[FigureData], list[FigureData]]:
    """Figures of single fits, then the lines and the misfit of each law and form.

    Returns:
        Those of single fits and of leading laws; and the lines of the other laws.
    """
    single = [figure for law, part in _by_law(fits) for fit in part if (figure := _figure(law, fit)) is not None]
    leading, other = list[FigureData](), list[FigureData]()
    for law, part in _by_law(fits):
        for form in dict.fromkeys(fit.form for fit in part):
            (leading if law.is_leading else other).extend(
                draw_fits([fit for fit in part if fit.form == form], law.drawing_of(form))
            )
    return [*single, *leading], other


def _figure(law: Law, fit: Fit) -> FigureData | None:
    """The figure of a fit.

    Raises:
        UserError: the law returns something else.
    """
    figure: object = law.figure(fit)
    if figure is not None and not isinstance(figure, FigureData):
        raise UserError(f"law {law.name}", f"figure must return a FigureData or None, got {type(figure).__name__}")
    return figure


def note_unanswered(fits: Sequence[Fit], budgets: Budgets, laws: Sequence[Law]) -> list[str]:
    """A note for each budget that no law answers."""
    own = {law: [fit for fit in fits if fit.law == law.name] for law in laws}
    return [note for law in laws for note in require_list(law, "unanswered", law.unanswered(own[law], budgets), str)]


def _by_law(fits: Sequence[Fit]) -> Iterator[tuple[Law, list[Fit]]]:
    """Each law with its fits, in the order of the fits."""
    for name in dict.fromkeys(fit.law for fit in fits):
        part = [fit for fit in fits if fit.law == name]
        yield part[0].fitted_by, part
