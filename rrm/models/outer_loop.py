"""A transformer inside HRM's outer loop, the control of ARC Prize's analysis of HRM: one call a supervision step."""

from typing import Literal

from pydantic import Field

from rrm.config import IterativeConfig
from rrm.models.looped import Looped


class OuterLoopConfig(IterativeConfig):
    """A transformer inside HRM's outer loop."""

    closed_forms = True

    kind: Literal["outer_loop"] = "outer_loop"
    """A transformer inside HRM's outer loop."""
    num_layers: int = Field(8, ge=1)
    """Layers of the transformer."""
    halting: Literal["act", "act_continue", "fixed"] = "act_continue"
    """When an example leaves: at q > 0; at q_halt > q_continue; after N_sup supervision steps."""


class OuterLoop(Looped):
    """A looped transformer with a single call a supervision step."""

    Config = OuterLoopConfig
