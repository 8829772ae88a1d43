"""Writing files so that a reader, also after a crash, sees the old content or the new one."""

import os
from pathlib import Path

from rrm.files import draft_of


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step and force it to the disk; a crash or a full disk leaves the previous one."""
    with draft_of(path) as draft, draft.open("wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        file.flush()
        os.fsync(file.fileno())
