"""The trackers that a spec can choose: a module here has the name of its kind, and defines or imports a subclass of `Tracker`."""

from importlib import import_module
from pkgutil import iter_modules

from rrm.errors import UserError
from rrm.extensions import find_extensions
from sweeps.spec.sweep import SweepSpec
from sweeps.tracking.tracker import Tracker


def find_tracker(spec: SweepSpec) -> type[Tracker]:
    """The tracker that a spec chooses: a built-in one, or one of a plug-in.

    Raises:
        UserError: there is none of this kind, a plug-in has the kind of a built-in one, or the tracker takes no models.
    """
    kind = spec.tracking.kind
    tracker = _find_built_in(kind)
    own = spec.registry.find_extension("tracker", kind)
    if tracker is not None and own is not None:
        raise UserError("plugins", f"define the tracker {kind!r}, which is built in: choose another kind")
    if tracker is None and own is not None and issubclass(own, Tracker):
        tracker = own
    if tracker is None:
        known = sorted({*built_in_kinds(), *spec.registry.extension_kinds("tracker")})
        raise UserError("tracking.kind", f"must be one of {', '.join(known)}, got {kind!r}")
    if spec.tracking.models and not tracker.takes_models:
        problem = f"must be absent or 0, because the tracker {kind} takes no models, got {spec.tracking.models}"
        raise UserError("tracking.models", problem, ("tracking.kind",))
    return tracker


def built_in_kinds() -> list[str]:
    """The kinds of the modules here."""
    return [module.name for module in iter_modules(__path__)]


def _find_built_in(kind: str) -> type[Tracker] | None:
    """The tracker of the module of this name, which is imported now."""
    if kind not in built_in_kinds():
        return None
    classes = [value for value in vars(import_module(f"{__name__}.{kind}")).values() if isinstance(value, type)]
    found = find_extensions(one for one in classes if getattr(one, "kind", None) == kind)["tracker", kind]
    assert issubclass(found, Tracker)
    return found
