"""The trackers that a spec can choose: a module here has the name of its kind, and defines or imports a subclass of `Tracker`."""

from importlib import import_module
from pkgutil import iter_modules

from rrm.errors import UserError
from sweeps.tracking.tracker import KINDS, Tracker


def find_tracker(kind: str) -> type[Tracker]:
    """The tracker of this kind.

    Raises:
        UserError: there is none.
    """
    modules = {module.name for module in iter_modules(__path__)}
    if kind in modules:
        import_module(f"{__name__}.{kind}")
    if kind not in KINDS:
        raise UserError("tracking.kind", f"must be one of {', '.join(sorted(modules | set(KINDS)))}, got {kind!r}")
    return KINDS[kind]
