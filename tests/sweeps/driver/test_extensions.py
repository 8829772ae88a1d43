"""Samplers and laws of a user's own, as files and as installed packages; trackers are in test_trackers.py."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import QMCSampler

import analysis.cli
from analysis.data.tables import load
from analysis.laws.fit_all import fit_laws
from analysis.laws.own_laws import own_laws
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.errors import UserError
from rrm.plugins import extension_points, read_file
from sweeps.cli.doctor import examine
from sweeps.driver.samplers import build_sampler
from sweeps.planning.load_sweep import load_sweep
from sweeps.spec.json_schema import sweep_schema
from sweeps.spec.load_spec import load_spec, parse_stored_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.trackers import find_tracker
from tests.conftest import EXAMPLES, ROOT
from tests.sweeps.conftest import ending, measure_sections, search_sections
from tests.sweeps.driver.test_plugins import end_all, open_ledger

SAMPLER, LAW = EXAMPLES["my_sampler.py"], EXAMPLES["my_law.py"]
PROPOSALS = 6


def search_of_own(**sampler: Any) -> dict[str, Any]:
    """A search of six trials by the sampler of docs/extending.md."""
    sections = search_sections() | {"plugins": ["my_sampler.py"], "tracking": {"kind": "memory"}}
    return sections | {"search": sections["search"] | {"sampler": {"kind": "halton"} | sampler, "num_trials": PROPOSALS}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a space in its name, and the files of docs/extending.md."""
    folder = tmp_path / "my plug-ins"
    folder.mkdir()
    for name, text in EXAMPLES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Installs a package with one module and one entry point, by its files and its dist-info folder alone."""

    def install_package(group: str, point: str, source: str) -> None:
        site = tmp_path / "site"
        (site / "own_parts-1.0.dist-info").mkdir(parents=True)
        (site / "own_parts-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 1.0\n")
        (site / "own_parts-1.0.dist-info/entry_points.txt").write_text(f"[{group}]\n{point}\n")
        (site / "own_parts.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        extension_points.cache_clear()

    yield install_package
    monkeypatch.undo()
    sys.modules.pop("own_parts", None)
    extension_points.cache_clear()


def load_from(folder: Path, sections: dict[str, Any]) -> SweepSpec:
    path = folder / "own.yaml"
    path.write_text(write_yaml(sections | {"storage": str(folder.parent / "runs")}))
    return load_sweep(path)


# -- samplers ---------------------------------------------------------------------------------------------------------


def test_a_sampler_of_a_file_gets_its_options_and_proposes_the_trials_of_a_search(folder: Path) -> None:
    spec = load_from(folder, search_of_own(scramble=True, seed=3))
    assert spec.search is not None
    assert spec.search.sampler.model_dump() == {"kind": "halton", "seed": 3, "scramble": True}
    assert isinstance(build_sampler(spec, trials_so_far=0), QMCSampler)
    ledger = open_ledger(spec)
    end_all(ledger)
    assert len(ledger.results) == PROPOSALS


def test_a_search_by_a_sampler_of_a_file_goes_on_after_the_driver_ended(folder: Path) -> None:
    ledger = open_ledger(load_from(folder, search_of_own()))
    first = ledger.ask()
    assert first is not None
    again = open_ledger(load_from(folder, search_of_own()))
    end_all(again)
    assert first.fingerprint in again.results and len(again.results) == PROPOSALS


def test_a_sampler_changes_no_fingerprint_and_an_edited_one_is_taken(folder: Path) -> None:
    own = load_from(folder, search_of_own())
    plain = load_from(folder, search_sections())
    assert own.base.fingerprint == plain.base.fingerprint
    end_all(open_ledger(own))
    (folder / "my_sampler.py").write_text(f"{SAMPLER}\n# edited\n")
    assert len(open_ledger(load_from(folder, search_of_own())).results) == PROPOSALS


def test_a_stored_search_is_read_without_its_sampler(folder: Path) -> None:
    ledger = open_ledger(load_from(folder, search_of_own(scramble=True)))
    text = ledger.store.spec() or ""
    (entry,) = parse_yaml(text, "spec.yaml")["plugins"]
    assert entry["holds"] == ["sampler"]
    unknown = text.replace(entry["sha256"], "a" * 64)  # a file that no process holds
    stored = parse_stored_spec(unknown, "spec.yaml", {})
    assert stored.search is not None and stored.search.sampler.model_dump()["scramble"] is True


@pytest.mark.parametrize(("sampler", "line"), [
    ({"scrambel": True}, "search.sampler.scrambel: unknown key; did you mean 'scramble'?"),
    ({"scramble": 3}, "search.sampler.scramble: must be a valid boolean, got 3"),
    ({"seed": -1}, "search.sampler.seed: must be greater than or equal to 0, got -1"),
    ({"kind": "sobol"}, "search.sampler.kind: got 'sobol'; choose from: cmaes, gp, halton, nsga2, nsga3, qmc, random, tpe"),
])  # fmt: skip
def test_a_mistake_in_the_options_of_a_sampler_is_one_line(folder: Path, sampler: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as refused:
        load_from(folder, search_of_own(**sampler))
    assert line in str(refused.value)


def test_a_sampler_whose_plug_in_is_not_named_is_refused_by_its_kind_and_not_by_its_options(folder: Path) -> None:
    known = r"search.sampler.kind: got 'halton'; choose from: cmaes, gp, nsga2, nsga3, qmc, random, tpe"
    with pytest.raises(UserError, match=known):
        load_from(folder, search_of_own(scramble=True) | {"plugins": ["my_model.py"]})


@pytest.mark.parametrize(("changed", "line"), [
    (SAMPLER.replace('"halton"', '"tpe"'), "plugins: my_sampler.py: defines the sampler 'tpe', which is built in"),
    (SAMPLER.replace("    def build", "    def builds"), "plugins.0: my_sampler.py: cannot be used: Halton must define build"),
    (SAMPLER.replace("class Halton(Sampler)", "class Halton"), "plugins.0: my_sampler.py: must define a task"),
    (f"{SAMPLER}\n{LAW}", "plugins.0: my_sampler.py: must hold laws alone, because rrm-analyze"),
    (SAMPLER.replace("Options = HaltonOptions", "Options = dict"), "my_sampler.py: Options of Halton must be a class that"),
    (SAMPLER.replace("Options = HaltonOptions", "Options = 3"), "derives from Sampler.Options, got 3: derive it"),
    (SAMPLER.replace("(Sampler.Options)", ""), "must be a class that derives from Sampler.Options, got <class"),
])  # fmt: skip
def test_a_sampler_that_cannot_be_used_is_refused_with_its_file(folder: Path, changed: str, line: str) -> None:
    (folder / "my_sampler.py").write_text(changed)
    with pytest.raises(UserError) as refused:
        load_from(folder, search_of_own())
    assert line in str(refused.value)


@pytest.mark.parametrize(("body", "line"), [
    ("return 3", "search.sampler: build of halton must return a sampler of Optuna, got int"),
    ("raise KeyError('absent')", "search.sampler: cannot be built: Halton.build: KeyError: 'absent'"),
])  # fmt: skip
def test_a_sampler_that_cannot_be_built_costs_nothing(folder: Path, body: str, line: str) -> None:
    start = SAMPLER.index("        return QMCSampler")
    (folder / "my_sampler.py").write_text(f"{SAMPLER[:start]}        {body}\n")
    with pytest.raises(UserError) as refused:
        open_ledger(load_from(folder, search_of_own()))
    assert line in str(refused.value)
    assert not list((folder.parent / "runs").rglob("trial.yaml"))


def test_two_files_with_one_kind_are_refused(folder: Path) -> None:
    (folder / "other.py").write_text(f"{SAMPLER}\n# another file\n")
    with pytest.raises(UserError, match=r"defines the sampler 'halton', which my_sampler.py defines too"):
        load_from(folder, search_of_own() | {"plugins": ["my_sampler.py", "other.py"]})


def test_the_schema_has_the_options_of_a_sampler(folder: Path) -> None:
    schema = sweep_schema(load_from(folder, search_of_own()).registry)
    options = schema["$defs"]["HaltonOptions"]["properties"]
    assert options["kind"]["const"] == "halton" and options["scramble"]["type"] == "boolean"


NESTED = """
from optuna.samplers import RandomSampler

from sweeps import Sampler


class {name}(Sampler):
    kind = "{kind}"

    class Options(Sampler.Options):
        {option}: int = 3

    def build(self, seed):
        return RandomSampler(seed=seed + self.options.{option})
"""


def test_options_may_be_a_class_within_the_sampler_and_the_schema_names_each_after_its_sampler(folder: Path) -> None:
    for name, option in (("First", "width"), ("Second", "depth")):
        (folder / f"{name.lower()}.py").write_text(NESTED.format(name=name, kind=name.lower(), option=option))
    spec = load_from(folder, search_of_own(kind="second", depth=5) | {"plugins": ["first.py", "second.py"]})
    assert spec.search is not None and spec.search.sampler.model_dump() == {"kind": "second", "seed": 0, "depth": 5}
    definitions = sweep_schema(spec.registry)["$defs"]
    assert "width" in definitions["FirstOptions"]["properties"] and "depth" in definitions["SecondOptions"]["properties"]


def test_a_sampler_of_an_installed_package_is_imported_where_a_spec_chooses_it(
    folder: Path, install: Callable[[str, str, str], None]
) -> None:
    install("rrm_sweeps.samplers", "halton = own_parts:Halton", SAMPLER)
    sections = search_of_own()
    del sections["plugins"]
    load_from(folder, search_sections())
    assert "own_parts" not in sys.modules
    assert isinstance(build_sampler(load_from(folder, sections), 0), QMCSampler)


def test_a_broken_package_of_a_sampler_is_one_line_and_refuses_no_other_search(
    folder: Path, install: Callable[[str, str, str], None]
) -> None:
    install("rrm_sweeps.samplers", "halton = own_parts:Halton", "import absent_module\n")
    sections = search_of_own()
    del sections["plugins"]
    load_from(folder, search_sections())
    with pytest.raises(UserError, match=r"package own-parts 1.0: its entry point own_parts:Halton cannot be imported"):
        load_from(folder, sections)


def test_the_search_of_the_page_is_valid(folder: Path) -> None:
    spec = load_spec(folder / "search.yaml")
    assert spec.search is not None and spec.search.sampler.model_dump()["scramble"] is True


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith(".py")])
def test_an_example_of_the_page_has_at_most_40_lines(name: str) -> None:
    assert len(EXAMPLES[name].splitlines()) <= 40


# -- laws -------------------------------------------------------------------------------------------------------------


WITHOUT_TORCH = """
import sys
from analysis.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


def fits_of(command: list[str], out: Path) -> list[dict[str, Any]]:
    analysis.cli.app([*command, "--out", str(out), "--fits-only"], standalone_mode=False)
    return [fit for fit in json.loads((out / "fits.json").read_text()) if fit["law"] == "logistic"]


def measured(folder: Path, **changes: Any) -> Store:
    """A store of a measure sweep whose trials have ended."""
    ledger = open_ledger(load_from(folder, measure_sections() | {"tracking": {"kind": "memory"}} | changes))
    while (config := ledger.ask()) is not None:
        accuracy = 1 - 0.5**config.model.l_cycles
        ledger.end(config.fingerprint, ending(config, **{"test/exact_accuracy": accuracy}))
    return ledger.store


def test_a_law_that_a_sweep_names_is_fitted_by_rrm_analyze_without_torch(folder: Path, tmp_path: Path) -> None:
    vary = {"model.hidden_size": [16], "model.l_cycles": [1, 2, 4]}
    store = measured(folder, plugins=["my_law.py"], measure={"vary": vary, "seeds": 2})
    (folder / "my_law.py").unlink()
    command = [sys.executable, "-c", WITHOUT_TORCH, store.location, "--out", str(tmp_path / "out"), "--verbose"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "The logit of accuracy rises by" in ended.stdout
    (fit,) = [fit for fit in json.loads((tmp_path / "out/fits.json").read_text()) if fit["law"] == "logistic"]
    assert fit["status"] == "fitted"


def test_a_law_on_the_command_line_is_fitted_on_any_sweep(folder: Path, tmp_path: Path) -> None:
    store = measured(folder)
    assert fits_of([store.location], tmp_path / "without") == []
    (fit,) = fits_of([store.location, "--laws", str(folder / "my_law.py")], tmp_path / "out")
    assert fit["reason"] == "too_few_scales"


def test_an_edited_law_refuses_no_run_and_is_taken_into_the_store(folder: Path, tmp_path: Path) -> None:
    store = measured(folder, plugins=["my_law.py"])
    (folder / "my_law.py").write_text(LAW.replace("< 3:", "< 2:"))
    measured(folder, plugins=["my_law.py"])
    (fit,) = fits_of([store.location], tmp_path / "out")
    assert fit["status"] == "fitted"


def test_a_law_on_the_command_line_takes_the_place_of_the_sweeps_files_of_its_name(folder: Path, tmp_path: Path) -> None:
    one = measured(folder, plugins=["my_law.py"])
    (folder / "my_law.py").write_text(f"{LAW}\n# another version\n")
    two = measured(folder, plugins=["my_law.py"], name="other")
    both = [one.location, two.location]
    with pytest.raises(UserError, match=r"which my_law.py defines too: name the version to use: --laws my_law.py"):
        fits_of(both, tmp_path / "refused")
    (folder / "my_law.py").write_text(LAW.replace("< 3:", "< 2:"))
    (fit,) = fits_of([*both, "--laws", str(folder / "my_law.py")], tmp_path / "out")
    assert fit["status"] == "fitted"


IN_REPORT = LAW + "\n    def METHOD:\n        return 3\n"


@pytest.mark.parametrize(("source", "line"), [
    (IN_REPORT.replace("METHOD", "figure(self, fit)"), "law logistic: figure must return a FigureData or None, got int"),
    (IN_REPORT.replace("METHOD", "refusals(self, fits)"), "law logistic: refusals must return a list of Sentence, got int"),
    (IN_REPORT.replace("METHOD", "sentences(self, fits)"), "law logistic: sentences must return a list of Sentence, got int"),
    (IN_REPORT.replace("METHOD", "unanswered(self, fits, budgets)"), "law logistic: unanswered must return a list of str, got int"),
    (LAW.replace('(("test/exact_accuracy",), ("recursion",))', '("test/exact_accuracy", "recursion")'),
     "my_law.py: Logistic.needs must be such as"),
    (LAW.replace("grows =", 'spans = ["model.state_reset"]\n    grows ='), "my_law.py: Logistic.spans must be such as"),
    (LAW.replace('grows = ("recursion",)', 'grows = ("sizes",)'), "my_law.py: Logistic.grows must be such as"),
    (LAW.replace("Reason.TOO_FEW_SCALES", "'because'"), "law logistic: the reason of a fit must be one of analysis.Reason"),
    (LAW.replace("< 3", "< 1").replace("line.interval(np.array([0.0, 1.0]))", "0.5"), "law logistic: the estimate b of a fit"),
    (LAW.replace("< 3", "< 1").replace("return [S", "1 / 0\n        return [S"), "sentence raised ZeroDivisionError"),
])  # fmt: skip
def test_a_law_that_a_report_cannot_use_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, source: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = measured(folder)
    (folder / "my_law.py").write_text(source)
    command = ["rrm-analyze", store.location, "--out", str(tmp_path / "out"), "--laws", str(folder / "my_law.py")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        analysis.cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and line in error and len(error.splitlines()) == 1, error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("source", "line"), [
    ("import torch\n" + LAW, "my_law.py: must not import torch"),
    (LAW.replace('"logistic"', '"recurrence"'), "my_law.py: defines the law 'recurrence', which is built in"),
    ("VALUE = 3\n", "my_law.py: must hold laws alone, got no law"),
    ("1 / 0\n", "line 1: cannot be imported: ZeroDivisionError"),
    (LAW.replace("    def fit", "    def __init__(self, b): ...\n\n    def fit"), "cannot be used: Logistic(): TypeError"),
    (LAW.replace("    fit = Fit(", "    return 3\n        fit = Fit("), "law logistic: fit must return a list of Fit, got int"),
])  # fmt: skip
def test_a_law_that_cannot_be_used_is_one_line_and_leaves_no_folder(folder: Path, tmp_path: Path, source: str, line: str) -> None:
    store = measured(folder)
    (folder / "my_law.py").write_text(source)
    command = ["analysis.cli", store.location, "--out", str(tmp_path / "out"), "--laws", str(folder / "my_law.py")]
    ended = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and line in ended.stderr and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("returned", "got"), [("3", "int"), ("['3']", "a list with ['3']")])
def test_a_sentence_that_is_none_is_refused_by_the_name_of_its_law(folder: Path, returned: str, got: str) -> None:
    start = LAW.index("        return [Sentence")
    store = measured(folder, measure={"vary": {"model.l_cycles": [1, 2, 4]}, "seeds": 2})
    (folder / "my_law.py").write_text(f"{LAW[:start]}        return {returned}\n")
    (law,) = own_laws([read_file(folder / "my_law.py")], [])
    with pytest.raises(UserError, match=re.escape(f"law logistic: sentence must return a list of Sentence, got {got}")):
        law.sentences(fit_laws(load(store.location), laws=[law]))


def test_a_law_of_an_installed_package_is_fitted(folder: Path, tmp_path: Path, install: Callable[[str, str, str], None]) -> None:
    store = measured(folder)
    install("rrm_sweeps.laws", "logistic = own_parts:Logistic", LAW)
    (fit,) = fits_of([store.location], tmp_path / "out")
    assert fit["reason"] == "too_few_scales"


def test_a_trial_names_no_file_without_its_task_or_model(folder: Path) -> None:
    sections = measure_sections() | {"plugins": ["my_law.py", "my_tracker.py"], "tracking": {"kind": "json_lines"}}
    ledger = open_ledger(load_from(folder, sections))
    config = ledger.ask()
    assert config is not None and config.plugins is None
    entries = parse_yaml(ledger.store.spec() or "", "spec.yaml")["plugins"]
    assert [entry["holds"] for entry in entries] == [["law"], ["tracker"]]


def test_a_tracker_of_an_installed_package_is_imported_where_a_spec_chooses_it(
    folder: Path, install: Callable[[str, str, str], None]
) -> None:
    install("rrm_sweeps.trackers", "json_lines = own_parts:JsonLines", EXAMPLES["my_tracker.py"])
    load_from(folder, measure_sections())
    assert "own_parts" not in sys.modules
    spec = load_from(folder, measure_sections() | {"tracking": {"kind": "json_lines"}})
    assert find_tracker(spec).__module__ == "own_parts"


def test_doctor_lists_installed_samplers_and_refuses_a_broken_one(tmp_path: Path, install: Callable[[str, str, str], None]) -> None:
    install("rrm_sweeps.samplers", "halton = own_parts:Halton", SAMPLER)
    assert "ok      plug-in own-parts 1.0 (sampler halton)" in map(str, examine(str(tmp_path)))


@pytest.mark.parametrize(("point", "line"), [
    ("halton = own_parts:Absent", "its entry point own_parts:Absent cannot be imported"),
    ("other = own_parts:Halton", "its entry point of the sampler 'halton' must have that name, got 'other'"),
    ("halton = own_parts:HaltonOptions", "its entry point own_parts:HaltonOptions must be a complete sampler"),
])  # fmt: skip
def test_doctor_names_what_is_wrong_with_an_installed_sampler(
    tmp_path: Path, install: Callable[[str, str, str], None], point: str, line: str
) -> None:
    install("rrm_sweeps.samplers", point, SAMPLER)
    (refused,) = [finding for finding in examine(str(tmp_path)) if "own-parts 1.0" in finding.what]
    assert refused.state == "bad" and line in refused.what
