"""`rrm-sweep new`: from a table of puzzles to a report with three commands."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis.cli
from sweeps.cli.new import PRESETS
from sweeps.spec.load_spec import load_spec
from tests.conftest import ROOT
from tests.sweeps.conftest import run_command

ROWS, LENGTH = 1000, 6


@pytest.fixture
def table(tmp_path: Path) -> dict[str, np.ndarray]:
    """1,000 rows of six digits to be sorted, in a file of each format."""
    inputs = np.random.default_rng(0).integers(1, 9, (ROWS, LENGTH))
    columns = {"input": inputs, "label": np.sort(inputs, axis=1)}
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), tmp_path / "rows.parquet")
    np.savez(tmp_path / "rows.npz", **columns)
    lines = (",".join(" ".join(map(str, columns[name][row])) for name in columns) for row in range(ROWS))
    (tmp_path / "rows.csv").write_text("\n".join(["input,label", *lines]))
    return columns


@pytest.mark.parametrize("size", PRESETS)
def test_every_size_is_a_valid_spec_with_a_plan(
    typed: Callable[..., Any], tmp_path: Path, table: dict[str, np.ndarray], size: str
) -> None:
    ended = typed("new", "mine", "--train", "rows.parquet", "--size", size)
    assert ended.returncode == 0, ended.stderr
    assert "wrote mine.yaml" in ended.stdout and "27 trials" in ended.stdout
    spec = load_spec(tmp_path / "mine.yaml")
    assert len(spec.cells) == 9 and spec.base.flat()["task.kind"] == "table"
    assert sorted(path.name for path in tmp_path.glob("*mine*")) == ["mine.yaml"]


def test_text_has_an_alphabet_and_a_character_for_padding(typed: Callable[..., Any], tmp_path: Path) -> None:
    words = ["".join(letters) for letters in itertools.product("abc.", repeat=3) if letters[0] != "."]
    (tmp_path / "words.csv").write_text("\n".join(["input,label", *(f"{word},{word}" for word in words)]))
    ended = typed("new", "mine", "--train", "words.csv", "--alphabet", "abc", "--pad", ".")
    assert ended.returncode == 0, ended.stderr
    task = load_spec(tmp_path / "mine.yaml").base.task
    assert task.shape == (3, 4, 1)


def test_a_puzzle_of_a_built_in_kind_needs_no_file(typed: Callable[..., Any], tmp_path: Path) -> None:
    assert typed("new", "cups", "--task", "permutations").returncode == 0
    assert load_spec(tmp_path / "cups.yaml").base.flat()["task.kind"] == "permutations"


@pytest.mark.parametrize("name", ["2024", "null", "1e3", "off"])
def test_a_name_that_yaml_reads_as_another_type_is_quoted(typed: Callable[..., Any], tmp_path: Path, name: str) -> None:
    ended = typed("new", name, "--task", "permutations")
    assert ended.returncode == 0, ended.stderr
    assert load_spec(tmp_path / f"{name}.yaml").name == name


@pytest.mark.parametrize("file", ["a: b #c's {x}.csv", 'it"s, [q].csv', "- rows.csv", "*rows.csv"])
def test_a_file_may_have_any_name(typed: Callable[..., Any], tmp_path: Path, table: dict[str, np.ndarray], file: str) -> None:
    (tmp_path / "rows.csv").rename(tmp_path / file)
    ended = typed("new", "mine", "--train", file)
    assert ended.returncode == 0, ended.stderr
    spec = load_spec(tmp_path / "mine.yaml")
    assert spec.description == f"Wider, or more recursion, on {file}?"
    assert spec.base.flat()["task.train"] == str(tmp_path / file)


def test_an_official_folder_needs_its_path_alone(typed: Callable[..., Any], tmp_path: Path) -> None:
    ended = typed("new", "mine", "--task", "official", "--train", str(ROOT / "lightning_modules/trials/official"))
    assert ended.returncode == 0, ended.stderr
    assert load_spec(tmp_path / "mine.yaml").base.flat()["task.kind"] == "official"


@pytest.mark.parametrize(("arguments", "message"), [
    (["mine"], "--train: is required for --task table"),
    (["mine", "--train", "absent.csv"], "absent.csv: cannot be read"),
    (["mine", "--train", "rows.parquet", "--test", "2"], "task.test: "),
    (["mine", "--train", "rows.parquet", "--alphabet", "01"], "input must hold text, because alphabet is given"),
    (["mine", "--task", "sudok"], "--task: must be a kind of task, got 'sudok'; did you mean 'sudoku'?"),
    (["mine", "--task", "sudoku", "--train", "rows.parquet"], "--train: has an effect on --task table and official alone"),
    (["mine", "--task", "official"], "--train: is required for --task official: a folder of the official builders"),
    (["mine", "--task", "official", "--train", "absent"], "absent"),
    (["mine", "--task", "official", "--train", "absent", "--alphabet", "01"], "--alphabet: has an effect on --task table alone"),
    (["mine", "--train", "rows.parquet", "--alphabet", ""], "trial.task.alphabet: "),
    (["mine", "--task", "sudoku", "--alphabet", ""], "--alphabet: has an effect on --task table alone"),
    (["a/b", "--task", "sudoku"], "NAME: must be letters, digits, dots"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_writes_nothing(
    typed: Callable[..., Any], tmp_path: Path, table: dict[str, np.ndarray], arguments: list[str], message: str
) -> None:
    before = sorted(tmp_path.iterdir())
    ended = typed("new", *arguments)
    assert ended.returncode == 2 and message in ended.stderr and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    ended = run_command("new", "mine", "--task", "sudoku", cwd=Path("/proc"))
    assert (ended.returncode, ended.stderr) == (2, "/proc: cannot be written: No such file or directory; go to another folder\n")


def test_a_file_that_exists_is_kept(typed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("kept")
    ended = typed("new", "mine", "--task", "sudoku")
    assert (ended.returncode, ended.stderr) == (2, "mine.yaml: exists: choose another name, or remove the file\n")
    assert (tmp_path / "mine.yaml").read_text() == "kept"


@pytest.mark.timeout(900)
@pytest.mark.ray
@pytest.mark.more
def test_three_commands_lead_from_a_table_to_a_report_and_each_format_gives_the_same_numbers(
    typed: Callable[..., Any], tmp_path: Path, table: dict[str, np.ndarray]
) -> None:
    design = ["measure.vary.model.hidden_size=[16]", "measure.vary.model.l_cycles=[1,2]", "measure.seeds=1"]
    scores = {}
    for suffix in ("parquet", "npz", "csv"):
        name = f"mine_{suffix}"
        assert typed("new", name, "--train", f"rows.{suffix}").returncode == 0
        ended = typed("run", f"{name}.yaml", *design, "trial.fit.budget.amount=12")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        reported = typed(name, main=analysis.cli.main, name="rrm-analyze")
        assert reported.returncode == 0, reported.stderr
        assert (tmp_path / f"runs/{name}/report/report.html").stat().st_size > 0
        records = [json.loads(path.read_text()) for path in (tmp_path / f"runs/{name}/trials").glob("*/result.json")]
        scores[suffix] = sorted((record["model.l_cycles"], record["test/nll"], record["data_fingerprint"]) for record in records)
    assert len(scores["parquet"]) == 2 and scores["parquet"] == scores["npz"] == scores["csv"]
