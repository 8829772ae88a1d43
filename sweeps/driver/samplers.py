"""Optuna's samplers as a search names them."""

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

from sweeps.spec.search import Search


def build_sampler(search: Search, trials_so_far: int) -> BaseSampler:
    """Optuna's sampler. Its seed moves with the study, else a restarted sweep would propose the same points again."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # the spec names it, so it is wanted
    seed = search.sampler.seed + trials_so_far
    kind = search.sampler.kind
    if kind == "tpe":
        # Conditional parameters are modelled group by group.
        return TPESampler(seed=seed, multivariate=True, group=True) if search.when else TPESampler(seed=seed)
    if kind == "qmc":  # one sequence for all drivers: where it goes on is kept in the study, and it is not seeded anew
        return QMCSampler(seed=search.sampler.seed, scramble=True, warn_independent_sampling=False)
    if kind == "cmaes":
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if kind == "gp":
        return GPSampler(seed=seed, warn_independent_sampling=False)
    return {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "random": RandomSampler}[kind](seed=seed)
