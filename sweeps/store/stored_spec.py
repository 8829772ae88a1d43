"""The spec of a sweep as a local file, wherever the sweep lies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_modules.yaml_file import parse_yaml
from rrm.errors import UserError
from sweeps.store.open_backend import URI
from sweeps.store.store import SPEC, Store
from sweeps.store.stored_trials import recall_plugins


@contextmanager
def local_spec(target: str) -> Iterator[Path]:
    """The file of a spec. That of a sweep behind a URI is copied for as long as the block runs, and its plug-ins are held.

    Raises:
        UserError: the URI names no spec of a sweep.
    """
    if URI.match(target) is None:
        yield Path(target)
        return
    folder, _, name = target.rpartition("/")
    store = Store(folder)
    text = store.spec() if name == SPEC else None
    if text is None:
        raise UserError(target, f"is not the spec of a sweep: name the file {SPEC} in the sweep, URI/{SPEC}")
    sections = parse_yaml(text, target)
    recall_plugins(store, sections.get("plugins") if isinstance(sections, dict) else None)
    with TemporaryDirectory() as copy:
        path = Path(copy) / SPEC
        path.write_text(text, encoding="utf-8")
        yield path
