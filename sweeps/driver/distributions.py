"""Domains of a search space as Optuna's distributions."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweeps.spec.space import Domain


def build_distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """The distribution of every path of a space."""
    return {path: build_distribution(domain) for path, domain in space.items()}


def build_distribution(domain: Domain) -> BaseDistribution:
    """The distribution that draws the values of a domain."""
    if domain.choice is not None:
        return CategoricalDistribution(domain.choice)
    low, high = domain.bounds
    if domain.is_continuous:
        return FloatDistribution(low, high, log=domain.is_logarithmic)
    return IntDistribution(int(low), int(high), log=domain.is_logarithmic, step=domain.step or 1)
