"""What the fits say, in sentences; each number with its interval."""

from analysis.fits import Estimate, Fit

REASONS = {
    "too_few_scales": "the design has too few sizes or depths",
    "too_few_seeds": "most cells have a single seed",
    "confounded": "depth rises with width, so that neither can be told from the other",
    "floor": "no cell differs from another beyond seed noise: all are at the floor",
    "ceiling": "no cell differs from another beyond seed noise: all are at the ceiling",
    "lack_of_fit": "the cells differ from it by more than seed noise",
    "no_interior_optimum": "the best size is an edge of the design",
}


def describe_fits(fits: list[Fit]) -> list[str]:
    """A sentence for each thing that the laws of recursion and depth say; refusals last."""
    one = [fit for fit in fits if fit.law == "recurrence" and fit.form == "one_exponent"]
    said = [sentence for fit in one if fit.is_fitted for sentence in _recurrence(fit)]
    said += [_required_depth(fit) for fit in fits if fit.law == "required_depth" and "exponent" in fit.estimates]
    said += _collapses([fit for fit in fits if fit.law == "test_time" and "collapse" in fit.flags])
    return said + [
        f"{_where(fit)}the recurrence law is not fitted: {REASONS[str(fit.reason)]}." for fit in one if not fit.is_fitted
    ]


def _recurrence(fit: Fit) -> list[str]:
    """What one doubling of recursion is worth, and where it ends."""
    rate = fit.estimates.get("exchange_rate")
    sizes, recursion = fit.fitted_range["params_recursed"], fit.fitted_range["recursion"]
    over = f"over R {recursion[0]:g} to {recursion[1]:g} and {sizes[0]:,.0f} to {sizes[1]:,.0f} recursed parameters"
    if rate is None:
        slope = fit.estimates["slope_log_recursion"]
        return [
            f"{_where(fit)}the loss does not fall clearly with parameters, so that a doubling of recursion has no price in them; "
            f"log loss changes by {_interval(slope, -0.693)} a doubling, {over}."
        ]
    sentences = [f"{_where(fit)}one doubling of recursion is worth {_interval(rate)} times the recursed parameters, {over}."]
    if "plateau" in fit.flags:
        sentences.append("At the largest R more recursion brings nothing: the rate above is of the middle of the design.")
    elif "curvature" in fit.flags:
        sentences.append("The gain is not the same over all R: the rate above is of the middle of the design.")
    return sentences


def _required_depth(fit: Fit) -> str:
    return f"{_where(fit)}the depth that solves half of the items grows as k to the power {_interval(fit.estimates['exponent'])}."


def _collapses(fits: list[Fit]) -> list[str]:
    """One sentence for all cells whose error rises beyond the chosen depth."""
    if not fits:
        return []
    worst = max(fits, key=lambda fit: fit.estimates["rise"].estimate if "rise" in fit.estimates else 0.0)
    width, steps = worst.group.get("model.hidden_size"), worst.group.get("model.supervision_steps")
    rise = _interval(worst.estimates["rise"]) if "rise" in worst.estimates else "more than 0.03"
    return [
        f"Run deeper than the depth chosen on validation, {len(fits)} {'cell collapses' if len(fits) == 1 else 'cells collapse'}; "
        f"the worst (width {width}, N_sup {steps}) gains {rise} in error."
    ]


def _where(fit: Fit) -> str:
    """`On sudoku (trm), `."""
    task, kind = fit.group.get("task.kind"), fit.group.get("model.kind")
    if task is None:
        return ""
    return f"On {task}{f' ({kind})' if kind else ''}, "


def _interval(estimate: Estimate, scale: float = 1.0) -> str:
    """`1.70 (95 % interval 1.41 to 2.10)`."""
    low, high = sorted((scale * estimate.low, scale * estimate.high))
    return f"{scale * estimate.estimate:.2f} (95 % interval {low:.2f} to {high:.2f})"
