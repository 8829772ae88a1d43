"""Names of files that are made from values of a table."""

import hashlib
import re

from rrm.files import PLAIN_NAME

MAX_KEPT_LETTERS = 32
DIGEST_DIGITS = 6


def slug(value: object) -> str:
    """A value as part of a file's name on any system.

    A plain word stays as it is; any other text gets a digest, so that different texts have different names.
    """
    text = str(value)
    if PLAIN_NAME.fullmatch(text):
        return text
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:MAX_KEPT_LETTERS]
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]
    return f"{kept}-{digest}" if kept else digest
