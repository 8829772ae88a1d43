"""The backend of a location: a folder, or an object store behind a URI."""

import re
from pathlib import Path

from rrm.errors import UserError
from rrm.files import expand_home
from sweeps.store.backend import Backend
from sweeps.store.folder import Folder
from sweeps.store.object_store import ObjectStore

URI = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/")
SCHEMES = {"s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "https"}


def open_backend(location: str | Path) -> Backend:
    """The backend at a folder or a URI.

    Raises:
        UserError: no storage can be opened there.
    """
    text = str(location)
    uri = URI.match(text)
    if uri is None:
        return Folder(Path(expand_home(text)))
    scheme, path = uri["scheme"].lower(), text[uri.end() :]
    if scheme == "file":
        raise UserError(text, f"must be written as a path: /{path.lstrip('/')}")
    if scheme not in SCHEMES or not path.startswith("/"):
        raise UserError(text, "must be a folder, or a URI such as s3://bucket/sweeps, gs://... or az://...")
    return ObjectStore(f"{scheme}:/{path}")
