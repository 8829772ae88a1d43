"""The trackers that a spec can choose: a module here has the name of its kind, and defines or imports a subclass of `Tracker`."""

from importlib import import_module
from pkgutil import iter_modules

from rrm.errors import UserError
from sweeps.spec.resources import Tracking
from sweeps.tracking.tracker import KINDS, Tracker


def find_tracker(tracking: Tracking) -> type[Tracker]:
    """The tracker that a spec chooses.

    Raises:
        UserError: there is none of this kind, or it has no use for a number of models.
    """
    kind = tracking.kind
    modules = {module.name for module in iter_modules(__path__)}
    if kind in modules:
        import_module(f"{__name__}.{kind}")
    if kind not in KINDS:
        raise UserError("tracking.kind", f"must be one of {', '.join(sorted(modules | set(KINDS)))}, got {kind!r}")
    tracker = KINDS[kind]
    if tracking.models and not tracker.takes_models:
        problem = f"must be absent or 0, because the tracker {kind} takes no models, got {tracking.models}"
        raise UserError("tracking.models", problem, ("tracking.kind",))
    return tracker
