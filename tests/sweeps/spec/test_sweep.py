"""A spec is checked as a whole before anything is spent; every mistake is one line that names the field."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.yaml_file import write_yaml
from rrm.config import RuleError
from rrm.errors import UserError
from sweeps.spec.data import check_data
from sweeps.spec.load_spec import load_spec
from sweeps.spec.sweep import Origin, SweepSpec
from tests.conftest import ROOT
from tests.sweeps.conftest import Sections, assert_refused, measure_sections, run_command, search_sections


def changed(sections: Sections, path: str, value: Any) -> Sections:
    """Set one field; `path` is split at slashes, since keys may hold dots."""
    sections = copy.deepcopy(sections)
    *parents, last = path.split("/")
    section = sections
    for parent in parents:
        section = section[parent]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return sections


MEASURE, SEARCH = measure_sections(), search_sections()
BAD: dict[str, tuple[Sections, str]] = {
    "section of the trial beside it": (changed(MEASURE, "model", {}), "model: unknown key; did you mean 'trial.model'?"),
    "seeds outside the design": (changed(MEASURE, "seeds", 3), "seeds: unknown key; did you mean 'measure.seeds' or"),
    "letter in a space": (
        changed(SEARCH, "search/space/model.T", {"choice": [1, 2]}),
        "search.space.model.T: is not a field of a trial; did you mean 'model.h_cycles' (T, cycles a supervision step)?",
    ),
    "list for a domain": (
        changed(SEARCH, "search/space/optim.lr", [1e-3, 1e-2]),
        "search.space.optim.lr: must be a section of key: value lines, got [0.001, 0.01]; write optim.lr: {choice: [0.001, 0.01]}",
    ),
    "word for a sampler": (
        changed(SEARCH, "search/sampler", "gp"),
        "search.sampler: must be a section of key: value lines, got 'gp'; write sampler: {kind: gp}",
    ),
    "unknown key": (changed(MEASURE, "mesure", {}), "mesure: unknown key; did you mean 'measure'?"),
    "empty key of a design": (changed(MEASURE, "measure/vary", {"": [1]}), "measure.vary.'': is not a field of a trial"),
    "key of a space that is a type": (changed(SEARCH, "search/space/int", {"int": [1, "a"]}), "search.space.int.int.1: must be"),
    "form of a space that is a type": (changed(SEARCH, "search/space/optim.lr", {"float": [1, 2]}), "optim.lr.float: unknown key"),
    "dash for underscore": (
        MEASURE | {"resources": {"max-retries": 1}},
        "resources.max-retries: unknown key; did you mean 'max_re",
    ),
    "unknown key in a trial": (changed(MEASURE, "trial/model/depth", 3), "trial.model.depth: unknown key"),
    "no name": (changed(MEASURE, "name", ...), "name: is required"),
    "name with a slash": (changed(MEASURE, "name", "a/b"), "name: "),
    "no design": (changed(MEASURE, "measure", ...), "exactly one of the sections measure and search"),
    "two designs": (MEASURE | {"search": SEARCH["search"]}, "exactly one of the sections measure and search"),
    "misspelt path": (
        changed(MEASURE, "measure/vary/model.hiden_size", [16]),
        "measure.vary.model.hiden_size: is not a field of a trial; did you mean 'model.hidden_size'?",
    ),
    "path of a section": (changed(MEASURE, "measure/vary/model", [16]), "measure.vary.model: is not a field of a trial"),
    "seed varied": (
        changed(MEASURE, "measure/vary/seed", [1, 2]),
        "measure.vary.seed: cannot be varied: measure.seeds is the number of seeds",
    ),
    "unit of the budget varied": (
        changed(MEASURE, "measure/vary/fit.budget.unit", ["steps", "train_flops"]),
        "measure.vary.fit.budget.unit: cannot be varied: budgets of one sweep have the same unit",
    ),
    "name of MLflow's own experiment": (changed(MEASURE, "name", "Default"), "name: must not be Default, MLflow's experiment for"),
    "reserved name": (changed(MEASURE, "name", "trials"), "name: must not be one of mlartifacts, mlflow.db, trials"),
    "date": (changed(MEASURE, "trial/model/num_layers", "2024-01-01"), "trial.model.num_layers: must be a valid integer"),
    "betas": (changed(MEASURE, "trial/optim", {"betas": [1.5, 2]}), "trial.optim.betas.0: must be less than 1, got 1.5"),
    "folder": (changed(MEASURE, "folder", "/x"), "folder: unknown key"),
    "bad level": (
        changed(MEASURE, "measure/vary/model.hidden_size", [16, 20]),
        "measure.vary.model.hidden_size: the value 20 is not valid: trial.model: hidden_size must be a multiple of head_size",
    ),
    "level of a wrong type": (
        changed(MEASURE, "measure/vary/model.l_cycles", [1, "two"]),
        "measure.vary.model.l_cycles: the value 'two' is not valid: trial.model.l_cycles: must be a valid integer",
    ),
    "level twice": (changed(MEASURE, "measure/vary/model.l_cycles", [1, 1]), "must be a list of different values"),
    "no levels": (changed(MEASURE, "measure/vary/model.l_cycles", []), "must be a list of different values"),
    "empty vary": (changed(MEASURE, "measure/vary", {}), "measure.vary: must have at least 1, got {}"),
    "no seeds": (changed(MEASURE, "measure/seeds", 0), "measure.seeds: must be greater than or equal to 1, got 0"),
    "matching another unit": (
        changed(MEASURE, "measure/matching", "train_flops"),
        "measure.matching: must equal trial.fit.budget.unit, got 'train_flops' and 'steps'",
    ),
    "negative budget": (
        changed(MEASURE, "trial/fit/budget/amount", -5),
        "trial.fit.budget.amount: must be greater than or equal to 0, got -5",
    ),
    "seed of the trial": (changed(MEASURE, "trial/seed", 3), "trial.seed: is set by the sweep"),
    "misspelt search path": (
        changed(SEARCH, "search/space/optim.rate", {"choice": [1]}),
        "search.space.optim.rate: is not a field of a trial",
    ),
    "end of a range": (
        changed(SEARCH, "search/space/model.num_layers", {"int": [0, 2]}),
        "search.space.model.num_layers: the value 0 is not valid: trial.model.num_layers: must be greater than or equal to 1",
    ),
    "middle of a range": (
        changed(SEARCH, "search/space/model.hidden_size", {"int": [16, 32]}),
        "search.space.model.hidden_size: the value 17 is not valid",
    ),
    "range upside down": (
        changed(SEARCH, "search/space/optim.lr", {"uniform": [1, 0.1]}),
        "uniform must be [low, high] with low <= high",
    ),
    "log of zero": (
        changed(SEARCH, "search/space/optim.lr", {"log_uniform": [0, 1]}),
        "log_uniform must be [low, high] with 0 < low",
    ),
    "unknown domain": (
        changed(SEARCH, "search/space/optim.lr", {"lognormal": [0, 1]}),
        "search.space.optim.lr.lognormal: unknown key",
    ),
    "two domains": (
        changed(SEARCH, "search/space/optim.lr", {"uniform": [0.1, 1], "choice": [1]}),
        "exactly one of choice, int, log_int, uniform, log_uniform",
    ),
    "unknown metric": (
        changed(SEARCH, "search/objectives", [{"metric": "val/accuracy", "goal": "maximize"}]),
        "metric must be a recorded metric other than test/..., got 'val/accuracy'",
    ),
    "test metric": (
        changed(SEARCH, "search/objectives", [{"metric": "test/nll", "goal": "minimize"}]),
        "metric must be a recorded metric other than test/..., got 'test/nll'",
    ),
    "unknown goal": (
        changed(SEARCH, "search/objectives", [{"metric": "val/nll", "goal": "down"}]),
        "search.objectives.0.goal: must be 'maximize' or 'minimize', got 'down'",
    ),
    "asha on a cost": (
        SEARCH
        | {"search": SEARCH["search"] | {"scheduler": {"kind": "asha"}, "objectives": [{"metric": "params", "goal": "minimize"}]}},
        "scheduler asha requires a first objective that is measured during training, got 'params'",
    ),
    "unknown sampler": (
        changed(SEARCH, "search/sampler", {"kind": "bayes"}),
        "search.sampler.kind: got 'bayes'; choose from: cmaes, gp",
    ),
    "no trials": (changed(SEARCH, "search/num_trials", 0), "search.num_trials: must be greater than or equal to 1"),
    "no cpus": (MEASURE | {"resources": {"cpus": 0}}, "resources.cpus: must be greater than 0"),
    "empty section": (MEASURE | {"resources": None}, "resources: is empty; null is not a value"),
    "data that is not there": (
        changed(MEASURE, "trial/task", {"size": 9, "train": "no.csv", "test": "no.csv"}),
        "no.csv: cannot be read: No such file or directory",
    ),
    "no trial": (changed(MEASURE, "trial", ...), "trial: is required, and absent"),
    "list of trials": (changed(MEASURE, "trial", [{}]), "trial: must be a section of key: value lines, got [{}]"),
    "name too long": (changed(MEASURE, "name", "a" * 101), "name: must be up to 100 letters, digits, dots"),
    "name that is a number": (changed(MEASURE, "name", 3), "name: must be a valid string, got 3"),
    "storage of nothing": (changed(MEASURE, "storage", ""), "storage: must have at least 1 character, got ''"),
    "objectives of a design": (
        changed(MEASURE, "measure/objectives", []),
        "measure.objectives: unknown key; did you mean 'search.objectives'?",
    ),
    "design that is a list": (changed(MEASURE, "measure", [1]), "measure: must be a section of key: value lines, got [1]"),
    "vary without values": (
        changed(MEASURE, "measure/vary", "model.hidden_size"),
        "measure.vary: must be paths and their values, or a list of such blocks, got 'model.hidden_size'; write vary: {model.",
    ),
    "vary with sections": (
        changed(MEASURE, "measure/vary", {"model": {"l_cycles": [1, 2]}}),
        "measure.vary: vary.model must be a list of values, got a section: write model.l_cycles: [1, 2]",
    ),
    "level that is a list": (
        changed(MEASURE, "measure/vary", {"optim.betas": [[0.9, 0.95]]}),
        "measure.vary.optim.betas.0: must be a number, a word, true or false, got [0.9, 0.95]",
    ),
    "level that is infinite": (
        changed(MEASURE, "measure/vary", {"optim.lr": [1e-3, float("inf")]}),
        "measure.vary.optim.lr.1: must be a finite number, got inf",
    ),
    "level in a block that is no number": (
        changed(MEASURE, "measure/vary", [{"optim.lr": 1e-3}, {"optim.lr": float("nan")}]),
        "measure.vary.1.optim.lr.0: must be a finite number, got nan",
    ),
    "level that is a word": (
        changed(MEASURE, "measure/vary", {"optim.lr": ["1e-3"]}),
        "measure.vary.optim.lr: the value '1e-3' is not valid: trial.optim.lr: must be a valid number, got '1e-3'",
    ),
    "true for a number": (
        changed(MEASURE, "measure/vary/model.l_cycles", [True, 2]),
        "measure.vary.model.l_cycles: the value True is not valid: trial.model.l_cycles: must be a valid integer, got True",
    ),
    "level twice, as 1 and 1.0": (
        changed(MEASURE, "measure/vary", {"optim.lr": [1, 1.0]}),
        "vary.optim.lr must be a list of different values, got [1, 1.0]",
    ),
    "path with the section trial": (
        changed(MEASURE, "measure/vary", {"trial.model.l_cycles": [1, 2]}),
        "measure.vary.trial.model.l_cycles: is not a field of a trial; did you mean 'model.l_cycles'?",
    ),
    "path below a field": (
        changed(MEASURE, "measure/vary", {"optim.lr.x": [1]}),
        "measure.vary.optim.lr.x: is not a field of a trial",
    ),
    "a first seed that is too large": (
        changed(MEASURE, "measure/first_seed", 2**32),
        "measure.first_seed: must be less than or equal to 4294967295, got 4294967296",
    ),
    "a last seed that is too large": (
        changed(changed(MEASURE, "measure/first_seed", 2**32 - 1), "measure/seeds", 2),
        "measure: first_seed must leave room for 2 seeds up to 4294967295, got 4294967295",
    ),
    "seeds in a list": (changed(MEASURE, "measure/seeds", [0, 1]), "measure.seeds: must be a valid integer, got [0, 1]"),
    "seeds as a word": (changed(MEASURE, "measure/seeds", "3"), "measure.seeds: must be a valid integer, got '3'"),
    "true for seeds": (changed(MEASURE, "measure/seeds", True), "measure.seeds: must be a valid integer, got True"),
    "half a seed": (changed(MEASURE, "measure/seeds", 1.5), "measure.seeds: must be a valid integer, got 1.5"),
    "millions of trials": (
        changed(MEASURE, "measure/seeds", 1_000_000),
        "measure.vary: must lead to at most 100,000 trials, seeds included, got 4e+06",
    ),
    "unknown unit": (
        changed(MEASURE, "measure/matching", "epochs"),
        "measure.matching: must be 'steps', 'fresh_examples' or 'train_flops', got 'epochs'",
    ),
    "tie of what is varied": (
        changed(MEASURE, "measure/tie", [{"solve": "model.hidden_size", "so_that": "params", "equals": 1e4}]),
        "measure.tie.0.solve: model.hidden_size is varied or solved for already",
    ),
    "unknown section of a trial": (changed(MEASURE, "trial/modle", {}), "trial.modle: unknown key; did you mean 'model'?"),
    "unknown task": (changed(MEASURE, "trial/task/kind", "sodoku"), "trial.task.kind: got 'sodoku'; did you mean 'sudoku'?"),
    "field of another task": (changed(MEASURE, "trial/task/nodes", 5), "trial.task.nodes: unknown key"),
    "half of the data": (changed(MEASURE, "trial/task", {"train": "a.csv"}), "trial.task: train and test must be given together"),
    "learning rate as a word": (
        changed(MEASURE, "trial/optim", {"lr": "1e-3"}),
        "trial.optim.lr: must be a valid number, got '1e-3'",
    ),
    "no learning": (changed(MEASURE, "trial/optim", {"lr": 0}), "trial.optim.lr: must be greater than 0, got 0"),
    "learning rate beyond numbers": (
        changed(MEASURE, "trial/optim", {"lr": float("inf")}),
        "trial.optim.lr: must be a finite number, got inf",
    ),
    "one beta": (changed(MEASURE, "trial/optim", {"betas": 0.9}), "trial.optim.betas: must be a list, got 0.9"),
    "cosine without an end": (changed(MEASURE, "trial/optim", {"schedule": "cosine"}), "min_lr_ratio goes with schedule cosine"),
    "rate of no embedding": (
        changed(MEASURE, "trial/optim", {"puzzle_lr": 1e-2}),
        "trial: optim.puzzle_lr has no effect without puzzle embeddings (model.prefix_length 0): leave it out",
    ),
    "decay of no embedding": (
        changed(MEASURE, "trial/optim", {"puzzle_weight_decay": 0.1}),
        "trial: optim.puzzle_weight_decay has no effect without puzzle embeddings",
    ),
    "warm-up of no average": (
        changed(MEASURE, "trial/optim", {"ema_decay": 0, "ema_warmup": False}),
        "trial: optim.ema_warmup has no effect where weights are not averaged (optim.ema_decay 0): leave it out",
    ),
    "exploration without halting": (
        changed(MEASURE, "trial/model/halt_exploration", 0.1),
        "trial.model: halt_exploration has no effect where halting is fixed: leave it out",
    ),
    "place of no noise": (
        changed(MEASURE, "trial/model/state_noise_at", "carry"),
        "trial.model: state_noise_at has no effect without state_noise: leave it out",
    ),
    "field of another kind": (
        changed(MEASURE, "trial/model", {"kind": "direct", "h_cycles": 2}),
        "trial.model: h_cycles has no effect on the kind 'direct': leave it out (it is understood by trm, hrm, untied)",
    ),
    "gradient of nothing": (
        changed(MEASURE, "trial/model/gradient", "half"),
        "trial.model.gradient: must be 'one_step', 'last_cycle' or 'full' or be a valid integer, got 'half'",
    ),
    "curve too short": (
        changed(MEASURE, "trial/eval/max_depth", 1),
        "trial: eval.max_depth must be at least model.supervision_steps, got 1 and 2",
    ),
    "rollouts that are alike": (
        changed(MEASURE, "trial/eval/rollouts", 3),
        "trial: eval.rollouts has no effect where runs do not differ",
    ),
    "budget without a unit": (
        changed(MEASURE, "trial/fit/budget", 1000),
        "trial.fit.budget: must be a section of key: value lines, got 1000",
    ),
    "budget in epochs": (
        changed(MEASURE, "trial/fit/budget/unit", "epochs"),
        "trial.fit.budget.unit: must be 'steps', 'fresh_examples'",
    ),
    "budget with a letter": (
        changed(MEASURE, "trial/fit/budget/amount", "1k"),
        "trial.fit.budget.amount: must be a valid number, got '1k'",
    ),
    "batch of a half": (changed(MEASURE, "trial/fit/batch_size", 7.5), "trial.fit.batch_size: must be a valid integer, got 7.5"),
    "true for a batch": (changed(MEASURE, "trial/fit/batch_size", True), "trial.fit.batch_size: must be a valid integer, got True"),
    "weights that are not there": (
        changed(MEASURE, "trial/fit/start_from", "no.pt"),
        "no.pt: cannot be read: No such file or directory",
    ),
    "seeds of a search": (
        changed(SEARCH, "search/seeds", 3),
        "search.seeds: unknown key; did you mean 'measure.seeds' or",
    ),
    "no space": (changed(SEARCH, "search/space", ...), "search.space: is required, and absent"),
    "budget sampled": (
        changed(SEARCH, "search/space/fit.budget.amount", {"int": [10, 20]}),
        "search.space.fit.budget.amount: cannot be varied: a search compares trials of equal budgets; measure.vary may have it",
    ),
    "domain without a kind": (
        changed(SEARCH, "search/space/optim.lr", [1e-4, 1e-2]),
        "search.space.optim.lr: must be a section of key: value lines, got [0.0001, 0.01]",
    ),
    "empty domain": (
        changed(SEARCH, "search/space/optim.lr", {}),
        "search.space.optim.lr: must be exactly one of choice, int, log_int",
    ),
    "choice of nothing": (
        changed(SEARCH, "search/space/optim.lr", {"choice": []}),
        "search.space.optim.lr.choice: must have at least 1, got []",
    ),
    "choice without a list": (
        changed(SEARCH, "search/space/optim.lr", {"choice": 1e-3}),
        "search.space.optim.lr.choice: must be a list, got 0.001",
    ),
    "choice twice": (
        changed(SEARCH, "search/space/model.hidden_size", {"choice": [16, 24, 16]}),
        "search.space.model.hidden_size: choice must be a list of different values, got [16, 24, 16]",
    ),
    "range of three": (
        changed(SEARCH, "search/space/model.num_layers", {"int": [1, 2, 3]}),
        "search.space.model.num_layers.int: must have at most 2, got [1, 2, 3]",
    ),
    "range of one": (
        changed(SEARCH, "search/space/model.num_layers", {"int": [1]}),
        "search.space.model.num_layers.int.1: is required",
    ),
    "range of halves": (
        changed(SEARCH, "search/space/model.num_layers", {"int": [0.5, 2]}),
        "search.space.model.num_layers.int.0: must be a valid integer, got 0.5",
    ),
    "range without an end": (
        changed(SEARCH, "search/space/optim.lr", {"uniform": [0.1, float("inf")]}),
        "search.space.optim.lr.uniform.1: must be a finite number, got inf",
    ),
    "range of words": (
        changed(SEARCH, "search/space/optim.lr", {"log_uniform": ["1e-4", 1e-2]}),
        "search.space.optim.lr.log_uniform.0: must be a valid number, got '1e-4'",
    ),
    "step of a choice": (
        changed(SEARCH, "search/space/model.hidden_size", {"choice": [16, 24], "step": 8}),
        "search.space.model.hidden_size: step has an effect on int only: leave it out",
    ),
    "step beyond the range": (
        changed(SEARCH, "search/space/model.num_layers", {"int": [1, 3], "step": 5}),
        "search.space.model.num_layers: step must lead from low to another value, got 5 for [1, 3]",
    ),
    "fractions for a whole number": (
        changed(SEARCH, "search/space/model.num_layers", {"uniform": [1, 3]}),
        "search.space.model.num_layers: the value 1.0 is not valid: trial.model.num_layers: must be a valid integer, got 1.0",
    ),
    "trials without number": (
        changed(SEARCH, "search/num_trials", "many"),
        "search.num_trials: must be a valid integer, got 'many'",
    ),
    "objective without a goal": (
        changed(SEARCH, "search/objectives", [{"metric": "val/nll"}]),
        "search.objectives.0.goal: is required",
    ),
    "objective as a word": (
        changed(SEARCH, "search/objectives", ["val/nll"]),
        "search.objectives.0: must be a section of key: value lines, got 'val/nll'",
    ),
    "one objective for a list": (
        changed(SEARCH, "search/objectives", {"metric": "val/nll", "goal": "minimize"}),
        "search.objectives: must be a list, got {'metric': 'val/nll', 'goal': 'minimize'}",
    ),
    "share of a machine": (
        MEASURE | {"resources": {"gpus": 1.5}},
        "resources.gpus: must be a share of one or a whole number, got 1.5",
    ),
    "cpus as a word": (MEASURE | {"resources": {"cpus": "two"}}, "resources.cpus: must be a valid number, got 'two'"),
    "memory with a unit": (MEASURE | {"resources": {"memory_gb": "8GB"}}, "resources.memory_gb: must be a valid number, got '8GB'"),
    "time that is up": (
        MEASURE | {"resources": {"trial_timeout_minutes": 0}},
        "resources.trial_timeout_minutes: must be greater than 0, got 0",
    ),
    "none at once": (
        MEASURE | {"resources": {"max_concurrent": 0}},
        "resources.max_concurrent: must be greater than or equal to 1 or be 'auto', got 0",
    ),
    "all at once": (
        MEASURE | {"resources": {"max_concurrent": "all"}},
        "resources.max_concurrent: must be a valid integer or be 'auto', got 'all'",
    ),
    "fewer retries than none": (
        MEASURE | {"resources": {"max_retries": -1}},
        "resources.max_retries: must be greater than or equal to 0",
    ),
    "misspelt resource": (MEASURE | {"resources": {"cpu": 1}}, "resources.cpu: unknown key; did you mean 'cpus'?"),
    "line break in a key": (MEASURE | {"a\nb": 1}, "a b: unknown key"),
}


@pytest.mark.parametrize(("sections", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_spec_is_one_line_that_names_the_field_and_costs_nothing(
    write_spec: Callable, typed: Callable, tmp_path: Path, sections: Sections, message: str
) -> None:
    assert_refused(typed("run", str(write_spec(sections))), message, tmp_path)


BAD_TEXTS = {
    "empty": ("", "sweep.yaml: is empty"),
    "comment": ("# later\n", "sweep.yaml: is empty"),
    "list": ("- a\n- b\n", "sweep.yaml: must hold sections of key: value lines, got list"),
    "word": ("demo\n", "sweep.yaml: must hold sections of key: value lines, got str"),
    "malformed": ("name: [", "sweep.yaml, line 1: is not valid YAML"),
    "open quote": ("name: 'a\n", "sweep.yaml, line 2: is not valid YAML"),
    "colon": ("name: a: b\n", "sweep.yaml, line 1: is not valid YAML: mapping values are not allowed here"),
    "indent": ("name: a\n  trial: {}\n", "sweep.yaml, line 2: is not valid YAML"),
    "tab": ("name: a\ntrial:\n\tmodel: {}\n", "sweep.yaml, line 3: is not valid YAML: found character '\\t'"),
    "key twice": ("name: a\nname: b\n", "sweep.yaml, line 2: is not valid YAML: the key 'name' stands twice"),
    "inner key twice": ("trial: {fit: {}, fit: {}}\n", "sweep.yaml, line 1: is not valid YAML: the key 'fit' stands twice"),
    "two documents": ("name: a\n---\nname: b\n", "sweep.yaml, line 2: is not valid YAML"),
    "unknown anchor": ("name: *base\n", "sweep.yaml, line 1: is not valid YAML: found undefined alias 'base'"),
    "code": ("name: !!python/object:os.system x\n", "sweep.yaml, line 1: is not valid YAML: could not determine a constructor"),
    "list for a key": ("? [a, b]\n: 1\n", "sweep.yaml, line 1: is not valid YAML: a key must be a word"),
    "set": ("name: !!set {a}\n", "sweep.yaml, line 1: is not valid YAML: could not determine a constructor"),
    "in itself": ("name: a\ntrial: &a {fit: *a}\n", "sweep.yaml: holds a value that cannot be read: Circular reference"),
    "too deep": ("name: " + "[" * 3000, "sweep.yaml: nests too deeply"),
    "too long a number": ("name: " + "9" * 5000, "sweep.yaml: holds a value that cannot be read"),
    "null": ("name: ~\n", "name: is empty; null is not a value: leave the key out for its default"),
    "yes for a name": ("name: yes\ntrial: {}\nmeasure: {vary: {model.l_cycles: 1}}\n",
                       "name: must be a valid string, got True; put it in quotes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_what_is_no_spec_at_all_is_one_line_and_costs_nothing(typed: Callable, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    assert_refused(typed("run", "sweep.yaml"), message, tmp_path)


def test_a_spec_in_another_encoding_is_one_line(typed: Callable, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_bytes("name: café\n".encode("latin-1"))
    assert_refused(typed("run", "sweep.yaml"), "sweep.yaml: is not text in UTF-8", tmp_path)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_process_of_its_own_ends_with_exit_code_2_too(write_spec: Callable, tmp_path: Path, command: str) -> None:
    write_spec(changed(MEASURE, "measure/seeds", 0))
    ended = run_command(command, "sweep.yaml", cwd=tmp_path)
    assert_refused(ended, "measure.seeds: must be greater than or equal to 1, got 0", tmp_path)


def test_a_bad_row_of_data_ends_the_command_at_once(write_spec: Callable, typed: Callable, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("source,question,answer,rating\nx,123,456,0\n")
    sections = changed(MEASURE, "trial/task", {"size": 9, "train": "test.csv", "test": "test.csv"})
    ended = typed("run", str(write_spec(sections)))
    assert ended.returncode == 2
    assert "test.csv, line 2: question must have 81 characters, got 3" in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_trial_is_refused_with_the_command_to_use(write_spec: Callable) -> None:
    with pytest.raises(UserError, match="use rrm-trial"):
        load_spec(write_spec(MEASURE["trial"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.optim.lr", "must be dotted.path=value"),
        ("trial.optim.lt=1", "trial.optim.lt: unknown key"),
        ("trial.optim.lr=", "trial.optim.lr: is empty"),
        ("trial.optim.lr=[1", "trial.optim.lr, line 1: is not valid YAML"),
        ("name.x=1", "name is a value, not a section"),
        ("=1", "override: must be dotted.path=value, got '=1'"),
        ("trial..optim.lr=1", "override: must be dotted.path=value, got 'trial..optim.lr=1'"),
        ("measure.vary=3", "measure.vary: must be paths and their values, or a list of such blocks, got 3; write vary: {model."),
        ("trial=3", "trial: must be a section of key: value lines, got 3; write trial: {task: {kind: sudoku}}"),
        ("measure.tie=abc", "measure.tie: must be a list, got 'abc'; write tie: [{solve: ..., so_that: ...}]"),
        ("trial.optim.betas=0.9", "trial.optim.betas: must be a list, got 0.9; write betas: [0.9, 0.95]"),
        ("measure.vary.model.l_cycles=[1, ~]", "measure.vary.model.l_cycles.1: is empty"),
        ("trial.task.train={a: 1}", "trial.task: validation_examples has no effect where puzzles come from CSV files"),
        ("seeds=3", "seeds: unknown key"),
        ("trial.model.n_sup=4", "trial.model.n_sup: unknown key; did you mean 'supervision_steps' (N_sup, supervision steps an"),
        (
            "measure.vary.model.width=[8, 16]",
            "model.width: is not a field of a trial; did you mean 'model.hidden_size' (width)",
        ),
        ("lr=1e-3", "lr: unknown key; did you mean 'trial.optim.lr'?"),
        ("trial.model.num_layers=2024-01-01", "must be a valid integer, got '2024-01-01'"),
    ],
)
def test_a_bad_override_is_one_line(write_spec: Callable, override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_spec(write_spec(MEASURE), [override])
    assert message in str(error.value)


@pytest.mark.parametrize("sections", [MEASURE, SEARCH], ids=["measure", "search"])
@pytest.mark.parametrize(
    ("path", "value", "remedy"),
    [
        ("trial/model", "trm", "write model: {kind: trm}"),
        ("trial/model", ["hrm"], "write model: {kind: trm}"),
        ("trial/task", "maze", "write task: {kind: maze}"),
        ("trial/optim", "adamw", "write optim: {kind: adamw}"),
        ("trial/loss", "softmax", "write loss: {kind: softmax}"),
        ("trial/fit", 750, "write fit: {batch_size: 128, "),
        ("trial/fit/budget", 750, "write budget: {unit: steps, amount: 1000}"),
        ("trial/eval", 16, "write eval: {validations: 10, max_depth: 16}"),
        ("resources", 2, "write resources: {cpus: 1, gpus: 0}"),
        ("tracking", False, "write tracking: {kind: mlflow}"),
        ("measure", 3, "write measure: {vary: ..., seeds: 3}"),
        ("search", "tpe", "write search: {space: ..., objectives: ...}"),
    ],
)
def test_a_word_or_number_in_the_place_of_a_section_is_blamed_itself(
    write_spec: Callable, sections: Sections, path: str, value: Any, remedy: str
) -> None:
    """And not a value of a path that the design varies below that section."""
    with pytest.raises(UserError) as error:
        load_spec(write_spec(changed(sections, path, value)))
    assert str(error.value).startswith(f"{path.replace('/', '.')}: must be a section of key: value lines, got {value!r}; {remedy}")


TIED = changed(MEASURE, "measure/tie", [{"solve": "model.hidden_size", "so_that": "params", "equals": 3000, "within": 0.9}])
RESETS = {"model.state_reset": ["carry", "all"]}
IN_VARY = "override measure.vary.model.state_reset="
TWO_BLOCKS = [RESETS, RESETS | {"model.l_cycles": [4]}]


@pytest.mark.parametrize(
    ("sections", "override", "remedy"),
    [
        (changed(MEASURE, "measure/vary", RESETS), "trial.model.state_reset=latent", f"{IN_VARY}[latent]"),
        (changed(MEASURE, "measure/vary", [RESETS]), "trial.model={state_reset: all}", f"{IN_VARY}[all]"),
        (changed(MEASURE, "measure/vary", TWO_BLOCKS), "trial.model.state_reset=all", "change it there"),
        (SEARCH, "trial.optim.lr=1e-3", "override search.space.optim.lr={choice: [0.001]}"),
        (changed(TIED, "measure/vary", RESETS), "trial.model.hidden_size=16",
         "measure.tie.0 solves for it in every trial: leave it out"),
    ],
)  # fmt: skip
def test_an_override_of_a_field_that_every_trial_has_from_the_design_is_refused(
    write_spec: Callable, sections: Sections, override: str, remedy: str
) -> None:
    with pytest.raises(UserError, match=r"^trial\.\w+\.\w+: has no effect, ") as error:
        load_spec(write_spec(sections), [override])
    assert str(error.value).endswith(remedy)
    if "override " in remedy:
        load_spec(write_spec(sections), [remedy.split(" ", 1)[1]])


def test_an_override_of_a_field_that_one_block_of_several_varies_has_an_effect(write_spec: Callable) -> None:
    vary = [{"model.l_cycles": [1, 2]}, RESETS]
    spec = load_spec(write_spec(changed(MEASURE, "measure/vary", vary)), ["trial.model.l_cycles=4"])
    assert {trial.model.l_cycles for trial in spec.design} == {1, 2, 4}


def test_a_field_that_stands_in_the_file_under_trial_and_in_the_design_is_allowed(write_spec: Callable) -> None:
    sections = changed(changed(MEASURE, "measure/vary", RESETS), "trial/model/state_reset", "latent")
    assert load_spec(write_spec(sections), ["trial.optim.lr=1e-3"]).varied_paths == ["model.state_reset"]


def test_overrides_reach_any_field(write_spec: Callable) -> None:
    spec = load_spec(write_spec(MEASURE), ["trial.optim.lr=3e-4", "measure.seeds=2", "measure.vary.model.l_cycles=[1, 3]"])
    assert spec.base.optim.lr == 3e-4
    assert {(trial.model.l_cycles, trial.seed) for trial in spec.design} == {(1, 0), (3, 0), (1, 1), (3, 1)}


def test_a_design_is_every_combination_times_seeds(write_spec: Callable) -> None:
    design = load_spec(write_spec(changed(MEASURE, "measure/seeds", 3))).design
    assert len(design) == len({trial.fingerprint for trial in design}) == 2 * 2 * 3


def test_another_first_seed_gives_the_same_cells_with_other_trials(write_spec: Callable) -> None:
    first, other = (load_spec(write_spec(MEASURE), ["measure.seeds=2", f"measure.first_seed={seed}"]) for seed in (0, 100))
    assert {trial.seed for trial in other.design} == {100, 101}
    assert [cell.model for cell in other.cells] == [cell.model for cell in first.cells] and len(first.cells) == 4
    assert not {trial.fingerprint for trial in first.design} & {trial.fingerprint for trial in other.design}


def test_a_design_over_training_puzzles_nests_them_in_all_trials_that_generate_them(write_spec: Callable) -> None:
    varied = changed(MEASURE, "measure/vary/task.train_examples", [60, 30])
    assert {trial.task.nested for trial in load_spec(write_spec(varied)).design} == {True}
    assert {trial.task.nested for trial in load_spec(write_spec(MEASURE)).design} == {None}
    given = changed(varied, "trial/task", MEASURE["trial"]["task"] | {"nested": False})
    assert {trial.task.nested for trial in load_spec(write_spec(given)).design} == {False}
    begun_before = load_spec(write_spec(varied | {"defaults": 2}))
    assert {trial.task.nested for trial in begun_before.design} == {None}


def test_a_file_with_fewer_rows_than_a_design_asks_for_is_refused(write_spec: Callable, tmp_path: Path) -> None:
    grids = "source,question,answer,rating\n" + 12 * "x,.234341221434321,1234341221434321,0\n"
    (tmp_path / "rows.csv").write_text(grids)
    files = {"kind": "sudoku", "size": 4, "train": "rows.csv", "test": "rows.csv"}
    varied = changed(changed(MEASURE, "trial/task", files), "measure/vary/task.train_examples", [4, 40])
    with pytest.raises(UserError, match=r"^task.train_examples: must be at most \d+, the training rows of the file, got 40: vary"):
        check_data(load_spec(write_spec(varied)))


def test_a_design_may_vary_the_budget_and_trains_the_most_expensive_trials_first(write_spec: Callable) -> None:
    spec = load_spec(write_spec(changed(MEASURE, "measure/vary/fit.budget.amount", [4, 400])))
    amounts = [trial.fit.budget.amount for trial in spec.design if trial.seed == 0]
    assert sorted(amounts, reverse=True) == amounts and set(amounts) == {4, 400}


def test_the_trial_section_need_not_be_valid_without_what_is_varied(write_spec: Callable) -> None:
    sections = changed(MEASURE, "trial/model/supervision_steps", ...)  # 16, beyond eval.max_depth
    sections["measure"]["vary"] = {"model.supervision_steps": [1, 2]}
    assert len(load_spec(write_spec(sections)).design) == 2


@pytest.mark.parametrize("name", ["demo", "sudoku4_search"])
def test_every_spec_that_is_shipped_is_valid(name: str) -> None:
    spec = load_spec(ROOT / f"sweeps/specs/{name}.yaml")
    assert spec.name == name


def test_the_9x9_spec_is_valid_with_data(tmp_path: Path) -> None:
    question = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
    answer = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
    data = tmp_path / "data.csv"
    data.write_text("source,question,answer,rating\n" + f"x,{question},{answer},0\n" * 5)
    path = ROOT / "sweeps/specs/sudoku_hard.yaml"
    spec = load_spec(path, [f"trial.task.train={data}", f"trial.task.test={data}"])
    check_data(spec)
    assert spec.base.task.train == data


def test_paths_start_at_the_spec(write_spec: Callable, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        (tmp_path / f"data/{name}.csv").write_text("source,question,answer,rating\n")
    task = {"size": 9, "train": "data/train.csv", "test": "data/test.csv"}
    spec = load_spec(write_spec(changed(MEASURE, "trial/task", task)))
    assert spec.base.task.train == tmp_path / "data/train.csv"


def test_plan_prints_the_design_and_writes_nothing(write_spec: Callable, typed: Callable, tmp_path: Path) -> None:
    ended = typed("plan", str(write_spec(MEASURE)))
    assert ended.returncode == 0, ended.stderr
    assert "4 cells x 1 seed at" in ended.stdout and "4 trials, about" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_plan_of_models_of_several_kinds_leaves_out_what_one_does_not_have(write_spec: Callable, typed: Callable) -> None:
    blocks = [
        {"model.kind": "trm", "model.l_cycles": [1, 2]},
        {"model.kind": "looped", "model.l_cycles": 2},
        {"model.kind": "direct"},
    ]
    sections = changed(MEASURE, "measure/vary", blocks)
    sections["trial"]["model"] = {"hidden_size": 16, "head_size": 8, "num_layers": 1}
    sections["trial"]["eval"] = {"max_depth": 16, "validations": 1}
    ended = typed("plan", str(write_spec(sections)))
    assert ended.returncode == 0, ended.stderr
    assert "4 cells x 1 seed" in ended.stdout and "direct  -" in ended.stdout


def test_a_sweep_may_go_over_tasks(write_spec: Callable) -> None:
    sections = changed(
        MEASURE, "measure/vary", [{"task.kind": ["automaton", "neighbours"]}, {"task.kind": "maze", "task.size": [5, 7]}]
    )
    del sections["trial"]["task"]
    design = load_spec(write_spec(sections)).design
    assert sorted(trial.task.kind for trial in design) == ["automaton", "maze", "maze", "neighbours"]  # type: ignore[attr-defined]


def test_plan_of_a_search_prints_its_corners(write_spec: Callable, typed: Callable) -> None:
    ended = typed("plan", str(write_spec(SEARCH)))
    assert ended.returncode == 0, ended.stderr
    assert "6 trials by tpe" in ended.stdout and "at most about" in ended.stdout


def test_yaml_survives_the_store(write_spec: Callable, tmp_path: Path) -> None:
    """What the store keeps is a spec that gives the same trials."""
    spec = load_spec(write_spec(MEASURE))
    copy_ = tmp_path / "copy.yaml"
    copy_.write_text(write_yaml(spec.model_dump(mode="json", exclude_none=True, by_alias=True)))
    assert [t.fingerprint for t in load_spec(copy_).design] == [t.fingerprint for t in spec.design]


def test_blocks_are_a_union_and_a_cell_named_twice_counts_once(write_spec: Callable) -> None:
    blocks = [
        {"model.kind": "trm", "model.supervision_steps": [1, 2]},
        {"model.kind": "trm", "model.supervision_steps": [2], "model.hidden_size": [16, 24]},
        {"model.kind": "hrm", "model.num_layers": 1},
    ]
    design = load_spec(write_spec(changed(MEASURE, "measure/vary", blocks))).design
    assert [(t.model.kind, t.model.supervision_steps, t.model.hidden_size) for t in design] == [
        ("trm", 2, 24), ("trm", 1, 16), ("trm", 2, 16), ("hrm", 2, 16),
    ]  # fmt: skip


def test_a_mistake_in_a_block_names_the_block(write_spec: Callable) -> None:
    blocks = [{"model.l_cycles": [1]}, {"model.l_cycles": [1, 0]}]
    with pytest.raises(UserError, match=r"measure.vary.1.model.l_cycles: the value 0 is not valid"):
        load_spec(write_spec(changed(MEASURE, "measure/vary", blocks)))


def test_weights_that_cannot_be_read_are_refused_before_anything_is_spent(write_spec: Callable, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    spec = load_spec(write_spec(measure_sections(fit__start_from="weights.pt")))
    with pytest.raises(UserError, match=r"weights\.pt: is empty, and must be a file of weights"):
        check_data(spec)


@pytest.mark.parametrize("wording", ["no name of a field", "eval.max_depth and head_size and kind"])
@pytest.mark.parametrize(
    ("vary", "blamed"),
    [
        ({"model.head_size": [8], "model.hidden_size": [16, 20]}, "model.hidden_size"),
        ({"model.kind": ["trm", "direct"]}, "model.kind"),
        ({"optim.schedule": ["constant", "cosine"]}, "optim.schedule"),
        ({"task.size": [4, 9]}, "task.size"),
    ],
)
def test_a_reworded_rule_blames_the_same_field(
    write_spec: Callable, monkeypatch: pytest.MonkeyPatch, wording: str, vary: dict[str, Any], blamed: str
) -> None:
    monkeypatch.setattr(RuleError, "__str__", lambda error: wording)
    trial = {"task": {"size": 4, "clues": [8, 12]}, "model": {"hidden_size": 16, "head_size": 8, "num_layers": 1, "l_cycles": 1}}
    sections = {"name": "reworded", "trial": trial, "measure": {"vary": vary, "seeds": 1}}
    with pytest.raises(UserError) as caught:
        load_spec(write_spec(sections))
    assert caught.value.where == f"measure.vary.{blamed}" and wording in str(caught.value)


def test_a_spec_has_its_folder_and_its_moved_files_when_it_is_made(tmp_path: Path) -> None:
    digest = "0" * 64
    task = {"size": 9, "train": "train.csv", "test": "test.csv", "train_sha256": digest, "test_sha256": digest}
    text = json.dumps(changed(MEASURE, "trial/task", task))
    moved = SweepSpec.model_validate_json(text, context=Origin(moved_files={digest: "/elsewhere/data.csv"}))
    assert moved.base.files_by_digest == {digest: "/elsewhere/data.csv"}
    with pytest.raises(UserError, match=f"^{tmp_path}/train.csv: cannot be read"):
        _ = SweepSpec.model_validate_json(text, context=Origin(tmp_path)).base


@pytest.mark.parametrize(("storage", "sweep", "location"), [
    ("runs", "other", "runs/other"),
    ("s3://bucket/runs/", "other", "s3://bucket/runs/other"),
    ("s3://bucket/runs/", "./runs/other", "./runs/other"),
    ("runs", "gs://bucket/other", "gs://bucket/other"),
])  # fmt: skip
def test_another_sweep_is_named_by_its_name_in_the_storage_its_folder_or_its_uri(
    write_spec: Callable, storage: str, sweep: str, location: str
) -> None:
    assert load_spec(write_spec(MEASURE | {"storage": storage})).location_of(sweep) == location
