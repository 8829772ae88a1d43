"""Whether the space of a search holds as many different trials as the search asks for."""

from rrm.errors import UserError
from sweeps.spec.constraints import known_costs
from sweeps.spec.sweep import SweepSpec

MAX_LISTED = 2000  # points of a space that are listed; each takes about a millisecond


def count_missing_trials(spec: SweepSpec) -> int:
    """How many trials fewer than search.num_trials the space holds; 0 where it holds enough, or too many points to list them.

    A point counts if it gives a valid trial whose known costs keep the constraints.
    """
    points = spec.search.list_points(MAX_LISTED) if spec.search else None
    if spec.search is None or points is None:
        return 0
    known: set[str] = set()
    for point in points:
        try:
            config = spec.trial_with(point, "search.space")
            costs = known_costs(config)
        except UserError:
            continue
        if all(limit.violation(costs) <= 0 for limit in spec.search.limits if limit.metric in costs):
            known.add(config.fingerprint)
        if len(known) == spec.search.num_trials:
            break
    return spec.search.num_trials - len(known)


def describe_shortfall(spec: SweepSpec, missing: int) -> str:
    """Why a search ends with fewer trials than it asks for."""
    assert spec.search is not None
    asked = spec.search.num_trials
    return f"the search space holds {asked - missing} different trials within the constraints, search.num_trials asks for {asked}"
