"""A domain of a spec and Optuna's distribution of it hold the same values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, check_distribution_compatibility
from optuna.samplers import RandomSampler
from optuna.study import create_study

from sweeps.driver.distributions import build_distribution
from sweeps.spec.space import Domain

SCALARS = st.one_of(st.booleans(), st.integers(-20, 20), st.floats(-20, 20), st.sampled_from(["a", "b"]))


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """Any valid domain with bounds of at most 20."""
    kind = draw(st.sampled_from(["choice", "int", "log_int", "uniform", "log_uniform"]))
    if kind == "choice":
        values = draw(st.lists(SCALARS, min_size=1, max_size=4, unique_by=lambda value: (isinstance(value, bool), value)))
        return Domain.model_validate({"choice": values})
    numbers = st.integers(1, 20) if kind.endswith("int") else st.floats(0.1, 20)
    low, high = sorted((draw(numbers), draw(numbers)))
    step = {"step": draw(st.integers(1, high - low))} if kind == "int" and high > low and draw(st.booleans()) else {}
    return Domain.model_validate({kind: (low, high)} | step)


@given(domains(), SCALARS)
def test_a_domain_contains_what_its_distribution_contains(domain: Domain, value: Any) -> None:
    distribution = build_distribution(domain)
    if isinstance(distribution, CategoricalDistribution):
        expected = any(type(choice) is type(value) and choice == value for choice in distribution.choices)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        expected = False
    else:
        expected = (value % 1 == 0 or domain.is_continuous) and distribution._contains(float(value))  # 1.0 is the number 1
    assert domain.contains(value) == expected


@given(domains(), st.integers(0, 100))
def test_a_drawn_value_lies_in_the_domain(domain: Domain, seed: int) -> None:
    study = create_study(sampler=RandomSampler(seed=seed))
    assert domain.contains(study.ask({"x": build_distribution(domain)}).params["x"])


@given(domains())
def test_values_to_check_lie_in_the_domain_ends_included(domain: Domain) -> None:
    values = domain.values_to_check()
    assert all(domain.contains(value) for value in values)
    assert domain.choice is not None or (values[0], values[-1]) == domain.bounds


@given(domains(), domains())
def test_domains_are_compatible_where_optuna_takes_both(first: Domain, second: Domain) -> None:
    if first.is_compatible_with(second):
        check_distribution_compatibility(build_distribution(first), build_distribution(second))
        return
    with pytest.raises(ValueError):
        check_distribution_compatibility(build_distribution(first), build_distribution(second))
