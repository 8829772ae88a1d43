"""The list of models: adding one means adding its class here, its name to `ModelKind` and its settings to `DEFAULTS`."""

from rrm.baselines import Looped, OnePass
from rrm.config import ModelConfig
from rrm.hrm import HRM
from rrm.reasoner import Reasoner
from rrm.tasks.task import PuzzleShape
from rrm.trm import TRM

REASONERS: dict[str, type[Reasoner]] = {
    "trm": TRM,
    "hrm": HRM,
    "direct": OnePass,
    "untied": OnePass,
    "looped": Looped,
    "outer_loop": Looped,
}


def build_reasoner(config: ModelConfig, shape: PuzzleShape) -> Reasoner:
    """A freshly initialised model; its weights follow torch's global random state."""
    return REASONERS[config.kind](config, shape)
