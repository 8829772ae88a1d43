"""The backend of a location: a folder, or an object store behind a URI."""

import re
from pathlib import Path

from sweeps.store.backend import Backend
from sweeps.store.folder import Folder
from sweeps.store.object_store import ObjectStore

URI = re.compile(r"^[a-z0-9+.-]+://")


def open_backend(location: str | Path) -> Backend:
    """The backend at a folder or a URI.

    Raises:
        UserError: no storage can be opened there.
    """
    return ObjectStore(str(location)) if URI.match(str(location)) else Folder(Path(location))
