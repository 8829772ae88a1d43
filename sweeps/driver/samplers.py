"""Optuna's sampler for each kind that a search can name."""

import warnings
from collections.abc import Callable

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

from sweeps.spec.search import Search


def build_sampler(search: Search, trials_so_far: int) -> BaseSampler:
    """The sampler of a search. Its seed grows with the study, so that a restarted sweep does not propose the same points again."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # the user has chosen the sampler
    seed = search.sampler.seed + trials_so_far
    kind = search.sampler.kind
    if kind == "tpe":
        # Conditional parameters are modelled group by group.
        return TPESampler(seed=seed, multivariate=True, group=True) if search.when else TPESampler(seed=seed)
    if kind == "qmc":  # the study holds the position in the sequence, which all drivers of a sweep share
        return QMCSampler(seed=search.sampler.seed, scramble=True, warn_independent_sampling=False)
    if kind == "cmaes":
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if kind == "gp":
        return GPSampler(seed=seed, warn_independent_sampling=False)
    samplers: dict[str, Callable[..., BaseSampler]] = {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "random": RandomSampler}
    return samplers[kind](seed=seed)
