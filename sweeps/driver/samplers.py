"""The built-in samplers, each of them one of Optuna's, and the choice of a sampler for a search."""

import warnings

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from rrm.errors import UserError, first_line
from rrm.extensions import find_extensions, kinds_of_family
from sweeps.spec.sampler import Sampler
from sweeps.spec.sweep import SweepSpec


class Tpe(Sampler):
    kind = "tpe"

    def build(self, seed: int) -> BaseSampler:
        # Conditional parameters are modelled group by group.
        return TPESampler(seed=seed, multivariate=True, group=True) if self.search.when else TPESampler(seed=seed)


class Qmc(Sampler):
    kind = "qmc"

    def build(self, seed: int) -> BaseSampler:
        # The study holds the position in the sequence, which all drivers of a sweep share.
        return QMCSampler(seed=self.options.seed, scramble=True, warn_independent_sampling=False)


class CmaEs(Sampler):
    kind = "cmaes"

    def build(self, seed: int) -> BaseSampler:
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)


class Gp(Sampler):
    kind = "gp"

    def build(self, seed: int) -> BaseSampler:
        return GPSampler(seed=seed, warn_independent_sampling=False)


class Nsga2(Sampler):
    kind = "nsga2"

    def build(self, seed: int) -> BaseSampler:
        return NSGAIISampler(seed=seed)


class Nsga3(Sampler):
    kind = "nsga3"

    def build(self, seed: int) -> BaseSampler:
        return NSGAIIISampler(seed=seed)


class Random(Sampler):
    kind = "random"

    def build(self, seed: int) -> BaseSampler:
        return RandomSampler(seed=seed)


BUILT_IN = kinds_of_family(find_extensions((Tpe, Qmc, CmaEs, Gp, Nsga2, Nsga3, Random)), "sampler")


def build_sampler(spec: SweepSpec, trials_so_far: int) -> BaseSampler:
    """The sampler of a search. Its seed grows with the study, so that a restarted sweep does not propose the same points again.

    Raises:
        UserError: the sampler of a plug-in cannot be built.
    """
    assert spec.search is not None
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # the user has chosen the sampler
    options = spec.search.sampler
    seed = options.seed + trials_so_far
    if options.kind in BUILT_IN:
        return _checked(BUILT_IN[options.kind](spec.search).build(seed), options.kind)  # type: ignore[call-arg,attr-defined]
    found = spec.registry.find_extension("sampler", options.kind)
    assert found is not None and issubclass(found, Sampler)  # the spec was validated
    try:
        return _checked(found(spec.search).build(seed), options.kind)
    except UserError:
        raise
    except Exception as error:
        problem = f"cannot be built: {found.__name__}.build: {type(error).__name__}: {first_line(error)}"
        raise UserError("search.sampler", problem) from error


def _checked(sampler: object, kind: str) -> BaseSampler:
    """The sampler, refused where it is none of Optuna's."""
    if not isinstance(sampler, BaseSampler):
        raise UserError("search.sampler", f"build of {kind} must return a sampler of Optuna, got {type(sampler).__name__}")
    return sampler
