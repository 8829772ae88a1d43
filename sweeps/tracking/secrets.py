"""Secrets, which no worker, file or line of output may hold."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

# Credentials of servers that only the driver uses. Workers keep those of the storage and of the hub.
DRIVER_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "RRM_STUDY_URL",
    "PGPASSWORD",  # password of a study whose URL has none
    "PGPASSFILE",
)
BLANK = "***"
# `token` counts only as the last word of a name: `token_accuracy` is no secret.
SECRET = r"(?:[\w.-]*(?:secret|passw(?:or)?d|passphrase|credential|api_?key|access_?key|private_?key)[\w.-]*|[\w.-]*token)"
ASSIGNED = re.compile(rf"(?i)\b({SECRET})([\"']?\s*[:=]\s*)(?=\S)[^\n]*")  # NAME=value, name: value, "name": value
IN_URL = re.compile(r"(://[^\s:/@]+:)[^\s@/]+@")  # ://user:password@
MIN_SECRET_CHARACTERS = 6  # blanking a shorter value would blank many other words


@contextmanager
def hidden_credentials() -> Iterator[None]:
    """Processes that start while the block runs, and their children, do not inherit the driver's credentials."""
    kept = {name: os.environ.pop(name) for name in DRIVER_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def blank_secrets(text: str) -> str:
    """Blank values of secret-named variables: those that the text assigns, and those of this process's environment."""
    values = {
        value for name, value in os.environ.items() if re.fullmatch(f"(?i){SECRET}", name) and len(value) >= MIN_SECRET_CHARACTERS
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, BLANK)
    return IN_URL.sub(rf"\1{BLANK}@", ASSIGNED.sub(rf"\1\2{BLANK}", text))
