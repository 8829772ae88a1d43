"""Files of JSON objects, one a line, that survive a writer's crash."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rrm.errors import UserError


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn last line, left by a crash, is dropped."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield parse_json(line, str(path))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object to a JSON-lines file in one write; a torn last line is cut off first."""
    data = (json.dumps(value) + "\n").encode()
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(data)
        file.flush()


def parse_json(text: bytes | str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        UserError: the text is damaged; `where` names the file.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(where, f"is damaged ({error}): restore or remove it") from None
