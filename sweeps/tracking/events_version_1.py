"""Version 1 of an event's line, which held the statuses and tags of MLflow."""

from typing import Any

STATES = {"RUNNING": "running", "SCHEDULED": "waiting", "FINISHED": "finished", "KILLED": "stopped"}
OUTCOMES = {"FINISHED": "completed", "KILLED": "pruned", "FAILED": "failed"}
TAGS = {"mlflow.user": "user", "mlflow.source.git.commit": "git.commit"}
CONSTANT_TAGS = {"mlflow.source.name", "mlflow.source.type"}  # the same in every run


def upgrade(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of version 2 of an event.

    Raises:
        KeyError: a field is absent, or its value is unknown.
    """
    values = dict(fields)
    kind, status = values["kind"], values.pop("status", "")
    if "tags" in values:
        values["tags"] = {TAGS.get(name, name): value for name, value in values["tags"].items() if name not in CONSTANT_TAGS}
    match kind:
        case "sweep":
            values["digest"] = status
        case "state":
            values["state"] = STATES[status]
        case "end":
            values["outcome"] = OUTCOMES[status]
        case "cell":
            values["cell"] = values.pop("tags")["cell"]
        case "curves":
            values["num_events"] = int(status)
        case "models":
            trials = [name.partition("#") for name in status.split()]  # fingerprint, or fingerprint#attempt
            values["attempts"] = [int(attempt or 1) for _, _, attempt in trials]
    return values
