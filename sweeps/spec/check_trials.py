"""Checks of the trials that a sweep leads to, before anything is spent."""

from collections.abc import Mapping

from rrm.config import fields_by_path
from rrm.errors import UserError, join_keys, suggest_field
from sweeps.spec.search import Search
from sweeps.spec.space import Scalar
from sweeps.spec.sweep import SweepSpec, first_values

SAME_IN_ALL = {
    "plugins": "all trials of a sweep have the plug-ins that stand at the top of the file",
    "seed": "measure.seeds is the number of seeds",
    "fit.budget.unit": "budgets of one sweep have the same unit",
}
SAME_IN_SEARCHES = {"fit.budget.amount": "a search compares trials of equal budgets; measure.vary may have it"}


def check_trials(spec: SweepSpec) -> None:
    """Build every trial that can be known now.

    Raises:
        UserError: one of them is not valid; the error names the field in the spec.
    """
    same = SAME_IN_ALL | (SAME_IN_SEARCHES if spec.search else {})
    known = [path for path in fields_by_path(spec.trial_class) if path not in same]
    _check_paths(spec, known, same)
    _check_ties(spec, known)
    if "plugins" in spec.trial:
        raise UserError("trial.plugins", "must stand at the top of the file, as all trials have the same plug-ins: move it there")
    if "seed" in spec.trial:
        raise UserError("trial.seed", "is set by the sweep: leave it out (see measure.seeds and measure.first_seed)")
    for where, path, values in spec.corners():
        _check_value(spec, values, path, where)
    if spec.search is not None:
        _check_scheduler(spec, spec.search)
        _check_points(spec, spec.search)
    elif spec.measure is not None:
        unit = spec.budget_unit
        if spec.measure.matching != unit:
            raise UserError("measure.matching", f"must equal trial.fit.budget.unit, got {spec.measure.matching!r} and {unit!r}")
        _ = spec.design  # builds every trial


def _check_paths(spec: SweepSpec, known: list[str], same: Mapping[str, str]) -> None:
    """Every varied path is a field of a trial that may differ between trials."""
    for where, block in spec.blocks.items():
        for path in block:
            if path in same:
                raise UserError(f"{where}.{path}", f"cannot be varied: {same[path]}")
            if path not in known:
                raise UserError(join_keys(where, path), f"is not a field of a trial; {suggest_field(path, known)}")


def _check_ties(spec: SweepSpec, known: list[str]) -> None:
    """Every field that is solved for is a whole number of a trial, and has no other source."""
    for number, tie in enumerate(spec.ties):
        where = f"{spec.section}.tie.{number}.solve"
        if tie.solve not in known:
            raise UserError(where, f"is not a field of a trial that can be solved for; {suggest_field(tie.solve, known)}")
        if not _is_whole(spec, tie.solve):
            raise UserError(where, f"must be a field of whole numbers, got {tie.solve}")
        if tie.solve in [*spec.varied_paths, *(other.solve for other in spec.ties[:number])]:
            raise UserError(where, f"{tie.solve} is varied or solved for already")


def _is_whole(spec: SweepSpec, path: str) -> bool:
    """Whether a field of a trial holds a whole number, and nothing else but its absence."""
    return all(annotation in (int, int | None) for annotation in fields_by_path(spec.trial_class)[path])


def _check_value(spec: SweepSpec, values: dict[str, Scalar], path: str, where: str) -> None:
    """Build a trial with one value of `path` and the first values of the other paths of its block.

    Raises:
        UserError: the trial is not valid. It names the varied field that breaks the rule; this may be another one than `path`.
    """
    try:
        spec.trial_with(values, "trial")
    except UserError as error:
        if error.where.startswith("search.tie"):
            return  # nothing can be solved for in this corner of the space; the sampler rejects such candidates
        broken = [name.removeprefix("trial.") for name in (error.where, *error.fields)]
        varied = next((name for name in (broken[0], path, *values) if name in broken and name in values), None)
        if varied is None:
            raise  # a field that the sweep does not vary, or a data file
        raise UserError(f"{where}.{varied}", f"the value {values[varied]!r} is not valid: {error}") from None


def _check_scheduler(spec: SweepSpec, search: Search) -> None:
    """A scheduler counts in the unit of the budget and has a validation at which it may stop a trial."""
    time, grace = search.scheduler.time, search.scheduler.grace
    unit = spec.budget_unit  # builds a trial, which also solves the ties
    if time is not None and time != unit:
        raise UserError("search.scheduler.time", f"must equal trial.fit.budget.unit, got {time!r} and {unit!r}")
    validations = spec.base.eval.validations
    if grace is not None and grace > 1 - 1 / validations:
        raise UserError(
            "search.scheduler",
            f"has no effect with eval.validations {validations}: no validation lies between grace ({grace:g}) and the end",
        )


def _check_points(spec: SweepSpec, search: Search) -> None:
    """Every first point lies in the space and gives a valid trial."""
    for number, point in enumerate(search.points):
        for path, value in point.items():
            if not any(domain.contains(value) for domain in search.domains(path)):
                raise UserError(f"search.points.{number}.{path}", f"must lie in the space, got {value!r}")
        try:
            spec.trial_with(first_values(spec.blocks["search.space"]) | point, "trial")
        except UserError as error:
            raise UserError(f"search.points.{number}", f"is not a valid trial: {error}") from None
