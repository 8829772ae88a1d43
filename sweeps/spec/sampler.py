"""Samplers of a search: their settings, and the interface of a sampler of your own (docs/extending.md)."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from rrm.config import StrictConfig
from rrm.extensions import Extension

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from sweeps.spec.search import Search

BuiltInKind = Literal["tpe", "gp", "nsga2", "nsga3", "cmaes", "qmc", "random"]


class SamplerOptions(StrictConfig):
    """Settings that every sampler has."""

    kind: str
    """Name of the sampler."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the sampler."""


class BuiltInSampler(SamplerOptions):
    """The sampler of Optuna that proposes candidates."""

    kind: BuiltInKind = "tpe"
    """Optuna's sampler of that name; `cmaes` requires a space of numbers. A plug-in may have further ones."""


class StoredSampler(SamplerOptions):
    """The sampler of a stored spec, whose plug-in need not be there to read it."""

    model_config = ConfigDict(extra="allow")


class Sampler(Extension):
    """Proposes the trials of a search. A subclass has a `kind` and `build`, and may have `Options` of its own."""

    family: ClassVar[str] = "sampler"
    kind: ClassVar[str]
    """The word that a spec chooses it by: `search: {sampler: {kind: NAME}}`."""
    Options: ClassVar[type[SamplerOptions]] = SamplerOptions
    """A class with the fields that a spec may set, derived from `Sampler.Options`."""

    def __init__(self, search: "Search") -> None:
        self.search = search

    @property
    def options(self) -> Any:
        """The validated settings of the spec: an instance of `Options`."""
        return self.search.sampler

    @abstractmethod
    def build(self, seed: int) -> "BaseSampler":
        """Optuna's sampler.

        Args:
            seed: the seed of the spec plus the number of trials so far, so that a driver that starts again does not repeat points.
        """
