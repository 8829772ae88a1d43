"""The list of models: adding one means adding its class here and its name to `ModelConfig.kind`."""

from rrm.config import ModelConfig
from rrm.reasoner import Reasoner
from rrm.tasks.task import PuzzleShape
from rrm.trm import TRM

REASONERS: dict[str, type[Reasoner]] = {"trm": TRM}


def build_reasoner(config: ModelConfig, shape: PuzzleShape) -> Reasoner:
    """A freshly initialised model; its weights follow torch's global random state."""
    return REASONERS[config.kind](config, shape)
