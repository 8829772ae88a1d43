"""Effects and interactions on tables whose truth is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import Tables
from analysis.statistics.effects import ALL_CELLS, Effect, describe_step, measure_effects, measure_interactions
from benchmarks.coverage import judge_effects

WIDTH, N, STEPS, RESET = "model.hidden_size", "model.l_cycles", "model.supervision_steps", "model.state_reset"
RESPONSE = "test/exact_accuracy"


def effect_of(trials: pd.DataFrame, axis: str, others: list[str]) -> Effect:
    """The only effect of an axis over all cells."""
    (effect,) = effects_of(trials, axis, others)
    return effect


def effects_of(trials: pd.DataFrame, axis: str, others: list[str]) -> list[Effect]:
    effects = measure_effects(trials, [*others, axis], RESPONSE)
    return [effect for effect in effects if effect.axis == axis and effect.where == ALL_CELLS]


def test_an_effect_compares_cells_that_differ_in_one_axis(tables: Tables) -> None:
    effect = effect_of(tables.completed, N, [WIDTH, STEPS])
    assert effect.pairs == 4
    assert effect.change.low < 0.2 < effect.change.high and effect.change.is_clear
    assert effect.change.high - effect.change.low < 0.04


def test_an_axis_without_effect_is_not_clear(tables: Tables) -> None:
    effect = effect_of(tables.completed, STEPS, [WIDTH, N])
    assert not effect.change.is_clear


def test_a_cell_without_its_partner_is_left_out(tables: Tables) -> None:
    trials = tables.completed
    trials = trials[~((trials[WIDTH] == 32) & (trials[N] == 3))]
    effect = effect_of(trials, N, [WIDTH, STEPS])
    assert effect.pairs == 2


def test_without_replicates_nothing_is_claimed(tables: Tables) -> None:
    trials = tables.completed[tables.completed["seed"] == 0]
    assert effects_of(trials, N, [WIDTH, STEPS]) == []


def test_the_only_axis_is_compared_directly(tables: Tables) -> None:
    trials = tables.completed
    trials = trials[(trials[WIDTH] == 16) & (trials[STEPS] == 1)]
    effect = effect_of(trials, N, [])
    assert effect.pairs == 1 and effect.change.estimate == pytest.approx(0.2, abs=0.03)


def reset_trials(gain: dict[tuple[str, int], float], seeds: int = 3, noise: float = 0.01) -> pd.DataFrame:
    """Two widths and the resets of `gain`, which has what each adds at each width; a seed shifts all cells alike."""
    rng = np.random.default_rng(3)
    shifts = 0.05 * rng.standard_normal(seeds)
    rows = [
        {WIDTH: width, RESET: reset, "seed": seed, RESPONSE: 0.4 + added + shifts[seed] + noise * rng.standard_normal()}
        for ((reset, width), added), seed in itertools.product(gain.items(), range(seeds))
    ]
    return pd.DataFrame(rows)


HARMS = {("carry", 16): 0.0, ("carry", 64): 0.1, ("all", 16): -0.2, ("all", 64): -0.1}
HARMS_THE_NARROW = {("carry", 16): 0.0, ("carry", 64): 0.1, ("all", 16): -0.3, ("all", 64): 0.1}


def test_each_level_of_words_is_compared_with_the_default() -> None:
    gain = HARMS | {("answer", 16): 0.1, ("answer", 64): 0.2}
    effects = [effect for effect in measure_effects(reset_trials(gain), [WIDTH, RESET], RESPONSE) if effect.axis == RESET]
    overall = {effect.level: effect for effect in effects if effect.where == ALL_CELLS}
    assert set(overall) == {"all", "answer"} and all(effect.base == "carry" for effect in effects)
    assert overall["all"].change.estimate == pytest.approx(-0.2, abs=0.03) and overall["all"].is_clear
    assert overall["answer"].change.estimate == pytest.approx(0.1, abs=0.03) and overall["answer"].pairs == 2
    assert {effect.where for effect in effects} == {ALL_CELLS, "width 16", "width 64"}
    assert describe_step(overall["all"]) == "state reset all instead of carry"


def test_an_effect_that_is_the_same_at_both_widths_is_no_interaction() -> None:
    (one,) = measure_interactions(reset_trials(HARMS), [WIDTH, RESET], RESPONSE)
    assert (one.axis, one.level, one.other) == (RESET, "all", WIDTH) and not one.is_clear
    assert [level for level, _ in one.changes] == [16, 64]


def test_an_effect_at_one_width_alone_is_an_interaction() -> None:
    (one,) = measure_interactions(reset_trials(HARMS_THE_NARROW), [WIDTH, RESET], RESPONSE)
    assert one.is_clear
    assert [change.estimate for _, change in one.changes] == pytest.approx([-0.3, 0.0], abs=0.03)


def test_what_a_seed_does_to_all_cells_does_not_widen_an_effect() -> None:
    trials = reset_trials(HARMS)
    blocked = effect_of(trials, RESET, [WIDTH]).change
    unknown = effect_of(trials.drop(columns="seed"), RESET, [WIDTH]).change
    assert unknown.high - unknown.low > 2 * (blocked.high - blocked.low)


def test_one_pass_is_the_base_of_the_kinds_of_models() -> None:
    trials = reset_trials(HARMS).rename(columns={RESET: "model.kind"}).replace({"carry": "trm", "all": "direct"})
    assert effect_of(trials, "model.kind", [WIDTH]).base == "direct"


def test_the_first_word_is_the_base_where_the_default_is_not_there() -> None:
    trials = reset_trials(HARMS).replace({"carry": "latent"})
    assert effect_of(trials, RESET, [WIDTH]).base == "all"


def test_a_truth_value_is_compared_as_a_word() -> None:
    trials = reset_trials(HARMS).rename(columns={RESET: "optim.ema_warmup"}).replace({"carry": True, "all": False})
    trials["optim.ema_warmup"] = trials["optim.ema_warmup"].astype(bool)
    effect = effect_of(trials, "optim.ema_warmup", [WIDTH])
    assert describe_step(effect) == "ema warmup False instead of True"


def test_a_number_that_follows_from_the_width_leaves_the_width_its_effect() -> None:
    trials = reset_trials(HARMS)
    trials["optim.lr"] = 0.1 / trials[WIDTH]
    effects = measure_effects(trials, [WIDTH, "optim.lr", RESET], RESPONSE)
    assert {effect.axis for effect in effects} == {WIDTH, RESET}


def test_a_numeric_setting_that_is_no_axis_has_an_effect() -> None:
    trials = reset_trials(HARMS).rename(columns={RESET: "model.damping"}).replace({"carry": 0.0, "all": 0.5})
    trials["model.damping"] = trials["model.damping"].astype(float)
    effect = effect_of(trials, "model.damping", [WIDTH])
    assert (effect.base, effect.level) == (0.0, 0.5) and effect.change.estimate == pytest.approx(-0.2, abs=0.03)


def test_the_widest_range_that_has_pairs_of_cells_is_compared() -> None:
    trials = reset_trials({("carry", 16): 0.0, ("carry", 32): 0.1, ("all", 32): 0.0, ("all", 64): 0.2})
    effect = effect_of(trials, WIDTH, [RESET])
    assert {(effect.base, effect.level)} <= {(16, 32), (32, 64)} and effect.pairs == 1


def test_tasks_are_not_compared_with_each_other() -> None:
    trials = reset_trials(HARMS).rename(columns={RESET: "task.kind"})
    assert {effect.axis for effect in measure_effects(trials, [WIDTH, "task.kind"], RESPONSE)} == {WIDTH}


KIND = "model.kind"


def kind_trials(kinds: dict[str, tuple[int, ...]], seeds: int = 3) -> pd.DataFrame:
    """Kinds of models at two widths, each at its numbers of supervision steps; 0 where it has none. Recursion adds 0.2."""
    rng = np.random.default_rng(5)
    rows = [
        {
            KIND: kind,
            WIDTH: width,
            STEPS: n,
            "seed": seed,
            RESPONSE: 0.3 + 0.2 * (n > 0) + width / 200 + 0.01 * rng.standard_normal(),
        }
        for kind, width, seed in itertools.product(kinds, (16, 32), range(seeds))
        for n in kinds[kind]
    ]
    return pd.DataFrame(rows)


def test_a_model_of_one_pass_is_compared_with_the_mean_over_the_recursions_of_the_others() -> None:
    effects = effects_of(kind_trials({"direct": (0,), "trm": (1, 4), "hrm": (1, 4)}), KIND, [WIDTH, STEPS])
    assert {(effect.base, effect.level, effect.pairs) for effect in effects} == {("direct", "hrm", 2), ("direct", "trm", 2)}
    assert all(effect.change.estimate == pytest.approx(0.2, abs=0.02) and effect.is_clear for effect in effects)


def test_levels_without_cells_like_those_of_the_base_are_compared_with_each_other() -> None:
    trials = kind_trials({"trm": (1, 4), "hrm": (1, 4), "looped": (8,)})
    (effect,) = effects_of(trials, KIND, [WIDTH, STEPS])
    assert {effect.base, effect.level} == {"hrm", "trm"}


def test_a_level_that_a_model_does_not_have_is_no_end_of_a_range() -> None:
    (effect,) = effects_of(kind_trials({"direct": (0,), "trm": (1, 4)}), STEPS, [KIND, WIDTH])
    assert (effect.base, effect.level) == (1, 4)


def test_cells_whose_seeds_score_the_same_take_the_noise_of_the_table() -> None:
    trials = reset_trials(HARMS).sort_values([WIDTH, RESET, "seed"])
    flat = trials.assign(**{RESPONSE: np.where(trials[WIDTH] == 16, np.where(trials[RESET] == "all", 0.01, 0.0), trials[RESPONSE])})
    at_16 = next(effect for effect in measure_effects(flat, [WIDTH, RESET], RESPONSE) if effect.where == "width 16")
    assert at_16.change.estimate == pytest.approx(0.01) and at_16.change.low < 0 < at_16.change.high and not at_16.is_clear


def test_without_any_noise_over_seeds_nothing_is_clear() -> None:
    effect = effect_of(reset_trials(HARMS, noise=0.0).assign(**{RESPONSE: [0.0] * 6 + [0.01] * 6}), RESET, [WIDTH])
    assert not effect.is_clear and np.isinf(effect.change.high)


@pytest.mark.more
@pytest.mark.parametrize("name", ["effects, 3 seeds, unequal noise", "effects, 2 seeds"])
def test_intervals_of_effects_cover_the_truth(name: str) -> None:
    """A small part of `python benchmarks/coverage.py`."""
    draws = [judge_effects(name, seed) for seed in range(20)]
    inside = [is_inside for covered, _, _ in draws for is_inside in covered.values()]
    assert len(inside) == 20 * 7 and np.mean(inside) >= 0.89
    assert sum(flagged or False for _, flagged, _ in draws) <= 4
