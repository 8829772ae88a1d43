"""Secrets: what no worker, file or line of output may have."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

# Of servers that the driver alone talks to. Workers need others: those of the storage and of the hub.
DRIVERS_OWN = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "RRM_STUDY_URL",
    "PGPASSWORD",  # of a study whose URL has none
    "PGPASSFILE",
)
BLANK = "***"
# `token` only as a name's last word: models are full of tokens.
SECRET = r"(?:[\w.-]*(?:secret|passw(?:or)?d|passphrase|credential|api_?key|access_?key|private_?key)[\w.-]*|[\w.-]*token)"
ASSIGNED = re.compile(rf"(?i)\b({SECRET})([\"']?\s*[:=]\s*)(?=\S)[^\n]*")  # NAME=value, name: value, "name": value
IN_URL = re.compile(r"(://[^\s:/@]+:)[^\s@/]+@")  # ://user:password@
SHORTEST_SECRET = 6  # a shorter value would blank half the text


@contextmanager
def hidden_credentials() -> Iterator[None]:
    """Processes started meanwhile, and whatever they start later, do not inherit the driver's own credentials."""
    kept = {name: os.environ.pop(name) for name in DRIVERS_OWN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def blank_secrets(text: str) -> str:
    """Blank values of secret-named variables: those that the text assigns, and those of this process's environment."""
    values = {value for name, value in os.environ.items() if re.fullmatch(f"(?i){SECRET}", name) and len(value) >= SHORTEST_SECRET}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, BLANK)
    return IN_URL.sub(rf"\1{BLANK}@", ASSIGNED.sub(rf"\1\2{BLANK}", text))
