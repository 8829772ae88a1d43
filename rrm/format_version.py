"""Versions of the formats of files; a file without one has version 1."""

from rrm.errors import UserError

# The version of spec.yaml, design.json, identity.json, rows.jsonl, attempts.jsonl and killed.json in the store of a sweep.
STORE_FORMAT = 2


def check_format(version: object, newest: int, where: str) -> int:
    """The version of a file's format.

    Args:
        version: what the file states, None where it states nothing.
        newest: the latest version that this program reads.
        where: the file, for the error.

    Raises:
        UserError: the version is later than `newest`, or no version at all.
    """
    if version is None:
        return 1
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(where, f"must state its format as a whole number from 1 on, got {version!r}")
    if version > newest:
        raise UserError(
            where, f"has format {version}, and this version of rrm-sweeps reads up to {newest}: install a newer rrm-sweeps"
        )
    return version
