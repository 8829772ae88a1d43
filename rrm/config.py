"""What a model is: `ModelConfig`, its axes, and the strict base of every config in the project."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StrictConfig(BaseModel):
    """Frozen, without unknown keys, without silent conversions, without infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


class ModelConfig(StrictConfig):
    """A recursive reasoning model. The comment behind a field gives its paper symbol (HRM 2506.21734, TRM 2510.04871)."""

    kind: Literal["trm"] = "trm"
    h_cycles: int = Field(3, ge=1)  # T: cycles a supervision step
    l_cycles: int = Field(6, ge=1)  # n: latent updates a cycle
    supervision_steps: int = Field(16, ge=1)  # N_sup: supervision steps an example lives in training
    halting: Literal["act", "fixed"] = "act"  # act: a row leaves its slot when q > 0; fixed: after N_sup steps
    halt_exploration: float = Field(0.1, ge=0, le=1)  # probability that act must wait for a random minimum of steps
    hidden_size: int = Field(128, ge=1)
    head_size: int = Field(16, ge=2, multiple_of=2)  # heads follow from it, so that width is one number
    num_layers: int = Field(2, ge=1)
    expansion: float = Field(4.0, gt=0)  # SwiGLU's inner width is 2/3 expansion hidden_size, rounded up to ...
    mlp_multiple: int = Field(8, ge=1)  # ... a multiple of this (256 in the papers)
    positions: Literal["rotary", "learned", "none"] = "rotary"
    prefix_length: int = Field(0, ge=0)  # puzzle-embedding slots before the grid (16 in TRM's recipes)

    @model_validator(mode="after")
    def _width_is_whole_heads(self) -> Self:
        if self.hidden_size % self.head_size:
            raise ValueError(
                f"hidden_size must be a multiple of head_size, got hidden_size {self.hidden_size} and head_size {self.head_size}"
            )
        return self

    @property
    def num_heads(self) -> int:
        return self.hidden_size // self.head_size

    @property
    def mlp_size(self) -> int:
        """Inner width of the SwiGLU (official: `_find_multiple(round(expansion * hidden_size * 2 / 3), 256)`)."""
        return math.ceil(round(self.expansion * self.hidden_size * 2 / 3) / self.mlp_multiple) * self.mlp_multiple

    @property
    def layers_per_step(self) -> int:
        """Layers executed in one supervision step: T (n + 1) layers (TRM paper, Table 1 "depth")."""
        return self.h_cycles * (self.l_cycles + 1) * self.num_layers

    @property
    def recursion(self) -> int:
        """How often a recursed parameter is applied to an example that lives N_sup supervision steps: T (n + 1) N_sup."""
        return self.h_cycles * (self.l_cycles + 1) * self.supervision_steps
