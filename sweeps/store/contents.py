"""What readers use of the JSON files of a store; a file without it is damaged."""

from pydantic import BaseModel, RootModel


class IdentityFile(BaseModel):
    """identity.json."""

    identity: str


class DesignFile(RootModel[list[str]]):
    """design.json."""


class ImportedFile(BaseModel):
    """imported.json."""

    trials: list[str]


class KilledFile(BaseModel):
    """killed.json."""

    reason: str


class RowPart(BaseModel):
    """The report of a running trial."""

    step: int
    metrics: dict[str, float]


class RowLine(BaseModel):
    """A line of rows.jsonl."""

    fingerprint: str
    row: RowPart | None


class AttemptPart(BaseModel):
    """A line of attempts.jsonl."""

    session: str
    losses: int
