"""A sweep from its file, with the version of the defaults with which its store was begun."""

from pathlib import Path

from lightning_modules.yaml_file import parse_yaml
from sweeps.spec.load_spec import load_spec, stored_defaults
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import SPEC, Store


def load_sweep(path: Path, overrides: list[str] | None = None) -> SweepSpec:
    """`load_spec`; where neither the file nor an override names a version of the defaults, that of the store if there is one.

    Raises:
        UserError: a mistake that the user can fix, in one line.
    """
    return load_spec(path, overrides, begun_with)


def begun_with(location: str) -> int | None:
    """The version of the defaults of the sweep in a store; None where no sweep has been run.

    Raises:
        UserError: the store cannot be read, or a later version wrote it.
    """
    store = Store(location)
    text, where = store.spec(), f"{store.location}/{SPEC}"
    return None if text is None else stored_defaults(parse_yaml(text, where), where)
