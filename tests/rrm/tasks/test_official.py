"""Folders of the official dataset builders: where rows go, in which order they train, votes of ARC, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.__main__ import main as rrm_trial
from lightning_modules.config import parse_trial
from lightning_modules.datamodule import TrainingStream, load_splits
from lightning_modules.fit import fit
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from rrm.tasks import build_task
from rrm.tasks.cache import Data, load_data
from rrm.tasks.official import OfficialConfig
from rrm.tasks.official_files import OfficialSet
from rrm.tasks.official_rows import TokenMap, join_sets
from tests.conftest import tiny_sections
from tests.rrm.tasks.official_folders import Puzzle, metadata, write_arc, write_folder, write_set, write_sudoku


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_DATA_CACHE", str(tmp_path / "cache"))


def load(path: Path, **settings: Any) -> Data:
    """The splits of a folder."""
    return load_data(build_task(OfficialConfig(path=path, **settings).located(path.parent)))


def numbered(identifiers: list[list[int]], rows: int, first: int = 1) -> list[list[Puzzle]]:
    """Groups of puzzles with these identifiers; row number r of the folder is [r, 1], its label [r, 2]."""
    groups, at = [], first
    for group in identifiers:
        groups.append([])
        for identifier in group:
            row = np.arange(at, at + rows)[:, None]
            groups[-1].append(Puzzle(identifier, np.hstack([row, 0 * row + 1]), np.hstack([row, 0 * row + 2])))
            at += rows
    return groups


def write_numbered(folder: Path, train: list[list[int]], test: list[list[int]], rows: int = 2) -> Path:
    facts = metadata(2, 250, 100)
    return write_folder(folder, facts, numbered(train, rows), numbered(test, rows, 200), [str(name) for name in range(100)])


def rows_in(data: Data) -> dict[str, list[int]]:
    """The numbers of the rows of each split."""
    return {split: examples.inputs[:, 0].tolist() for split, examples in data.splits.items()}


def test_rows_of_any_integer_type_train_alike_and_nothing_is_copied(tmp_path: Path) -> None:
    batches = []
    for dtype in (np.uint8, np.int64, ">i2"):
        path = write_sudoku(tmp_path / np.dtype(dtype).name, dtype=dtype)
        config = parse_trial(tiny_sections(task={"kind": "official", "path": str(path)}), tmp_path)
        data = load_splits(config.task)
        batches.append(TrainingStream(data.task, data.splits["train"], config, 0).batch(3)["inputs"].tolist())
    assert batches[0] == batches[1] == batches[2]
    assert all(file.name.startswith("facts-") for file in (tmp_path / "cache").iterdir())


def test_a_pass_offers_one_puzzle_of_every_group(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "f", [[0, 0, 0]] * 9, [[0]])
    sections = tiny_sections(task={"kind": "official", "path": str(path)}, fit__batch_size=16)
    config = parse_trial(sections, tmp_path)
    data = load_splits(config.task)
    stream = TrainingStream(data.task, data.splits["train"], config, 0)
    assert len(data.splits["train"]) == 48
    for step in range(4):  # eight groups, a puzzle of two rows each, are a batch
        rows = stream.batch(step)["inputs"][:, 0].numpy() - 1
        assert len(set(rows // 6)) == 8 and len(set(rows // 2)) == 8 and len(set(rows)) == 16


def test_groups_with_a_common_identifier_leave_training_as_a_whole_and_validate_by_their_first_puzzle(tmp_path: Path) -> None:
    rows = rows_in(load(write_numbered(tmp_path / "f", [[0, 0]] * 10, [[0]] * 3), validation=0.2))
    held = sorted({(row - 1) // 4 for row in rows["validation"]})
    assert rows["validation"] == [1 + 4 * group + row for group in held for row in (0, 1)] and len(held) == 2
    assert rows["train"] == [row for row in range(1, 41) if (row - 1) // 4 not in held]
    assert rows["test"] == list(range(200, 206))


def test_of_a_group_with_identifiers_of_its_own_the_last_row_of_each_puzzle_is_held_out(tmp_path: Path) -> None:
    rows = rows_in(load(write_numbered(tmp_path / "f", [[1, 2], [3, 4], [5, 6]], [[9]], rows=3), validation=0.4))
    group = (rows["validation"][0] - 1) // 6
    assert rows["validation"] == [1 + 6 * group + 2]
    assert sorted(set(range(1, 19)) - set(rows["train"])) == [1 + 6 * group + 2, 1 + 6 * group + 5]


def test_groups_whose_identifiers_are_tested_stay_in_training(tmp_path: Path) -> None:
    path = write_numbered(
        tmp_path / "some", [[number, number + 20] for number in range(1, 9)], [[number] for number in range(1, 8)]
    )
    rows = rows_in(load(path, validation=0.5))
    assert rows["validation"] == [30] and set(range(1, 33)) - set(rows["train"]) == {30, 32}  # the last group alone
    path = write_numbered(tmp_path / "all", [[1], [2], [3]], [[1], [2], [3]])
    assert len(rows_in(load(path))["validation"]) == 1  # there is no other group


def test_a_group_with_single_rows_validates_as_a_whole(tmp_path: Path) -> None:
    rows = rows_in(load(write_numbered(tmp_path / "f", [[1, 2], [3, 4]], [[9]], rows=1)))
    assert len(rows["validation"]) == 1 and len(rows["train"]) == 2


def test_sets_are_joined_or_chosen(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "f", [[0]] * 4, [[0]] * 2)
    write_set(path / "train", "more", numbered([[0]] * 4, 2, first=101), np.int64)
    (path / "train/dataset.json").write_text(json.dumps(metadata(2, 250, 100, sets=["all", "more"])))
    both, one = (rows_in(load(path, **settings)) for settings in ({}, {"sets": ("all",)}))
    assert sorted(both["train"] + both["validation"]) == [*range(1, 9), *range(101, 109)]
    assert sorted(one["train"] + one["validation"]) == list(range(1, 9)) and one["test"] == both["test"]
    with pytest.raises(UserError, match=r"task.sets: must name sets of .*\(all, more\), got 'mor'"):
        load(path, sets=("all", "mor"))
    with pytest.raises(UserError, match=r"task.sets: must name at least one set of .*test \(all\), got more"):
        load(path, sets=("more",))


def test_fewer_test_groups_are_drawn_by_the_seed(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "f", [[0]] * 4, [[0, 0]] * 10)
    rows = [rows_in(load(path, test_groups=2, seed=seed))["test"] for seed in (0, 1)]
    assert rows[0] != rows[1] and all(len({(row - 200) // 4 for row in part}) == 2 and len(part) == 8 for part in rows)


@pytest.mark.parametrize(
    ("ignored", "vocabulary", "inputs", "labels"),
    [
        (0, 4, [0, 1, 2, 3], [0, 1, 2, 3]),
        (2, 4, [2, 1, 0, 3], [2, 1, 0, 3]),
        (None, 5, [1, 2, 3, 4], [1, 2, 3, 4]),
        (-100, 5, [1, 2, 3, 4], [1, 2, 3, 4, 0]),
    ],
)
def test_the_ignored_token_becomes_0_and_no_other_token_does(
    ignored: int | None, vocabulary: int, inputs: list[int], labels: list[int]
) -> None:
    tokens = TokenMap(4, ignored)
    assert tokens.vocabulary == vocabulary
    assert tokens.inputs(np.arange(4)).tolist() == inputs
    assert tokens.labels(np.array([0, 1, 2, 3, ignored or 0]))[: len(labels)].tolist() == labels


def test_rows_at_one_place_of_the_puzzles_of_a_group_are_one_item() -> None:
    inputs = np.ones((8, 1), dtype=np.uint8)
    sizes, groups = np.array([2, 2, 1, 2, 1]), np.array([2, 3])
    rows = join_sets([OfficialSet(inputs, inputs, np.zeros(5, int), sizes, groups)], TokenMap(2, 0), scores_all=True)
    assert rows.items.tolist() == [0, 1, 0, 1, 2, 2, 3, 2]


@pytest.mark.parametrize("separator", ["|||", "_"])
def test_arc_folders_are_answered_by_votes(tmp_path: Path, separator: str) -> None:
    """Of the second puzzle's two inputs, one is answered rightly under one view of three: it passes with two tries."""
    data = load(write_arc(tmp_path / "arc", separator=separator))
    examples = data.splits["test"]
    answers, confidence = examples.labels, np.full(len(examples), 0.5)
    last = np.flatnonzero(examples.items == examples.items.max())
    answers[last[:2]] = examples.inputs[last[:2]]
    scores = data.task.judge(examples, answers, confidence)
    assert scores["pass_at_1"] == 0.75 and scores["pass_at_2"] == scores["pass_at_1000"] == 1
    assert (
        scores["valid_accuracy"] == pytest.approx(1 - 2 / len(examples)) and examples.unknown.sum() == (examples.labels > 0).sum()
    )


def test_an_arc_folder_trains_and_is_scored(tmp_path: Path) -> None:
    task = {"kind": "official", "path": str(write_arc(tmp_path / "arc"))}
    changes = {"fit__budget__amount": 2, "eval__validations": 1, "fit__batch_size": 2, "model__prefix_length": 1}
    record = fit(parse_trial(tiny_sections(task=task, **changes), tmp_path)).record
    assert 0 <= record["test/pass_at_1"] <= record["test/pass_at_1000"] <= 1 and record["val/examples"] == 1


def test_a_folder_counts_by_its_content(tmp_path: Path) -> None:
    first = OfficialConfig(path=write_sudoku(tmp_path / "one")).located(tmp_path)
    second = OfficialConfig(path=write_sudoku(tmp_path / "two")).located(tmp_path)
    assert (
        first.identity() == second.identity()
        and load_data(build_task(first)).fingerprint == load_data(build_task(second)).fingerprint
    )
    assert first.relocated({str(first.sha256): "/elsewhere"}).path == Path("/elsewhere") and first.relocated({}) is first
    other = OfficialConfig(path=write_sudoku(tmp_path / "three", copies=3)).located(tmp_path)
    assert other.sha256 != first.sha256


def test_a_folder_that_has_changed_is_refused(tmp_path: Path) -> None:
    config = OfficialConfig(path=write_sudoku(tmp_path / "f")).located(tmp_path)
    write_sudoku(tmp_path / "f", copies=3)
    for refused in (lambda: build_task(config.model_copy(update={"seed": 1})).counts, lambda: config.located(tmp_path)):
        with pytest.raises(UserError, match="is not the folder of this trial"):
            refused()


Damage = Callable[[Path], Any]


def facts(**changes: Any) -> Damage:
    """Other values in both `dataset.json`; None removes a key."""

    def damage(folder: Path) -> None:
        content = {name: value for name, value in (metadata(16, 6) | changes).items() if value is not ...}
        for half in ("train", "test"):
            (folder / half / "dataset.json").write_text(json.dumps(content))

    return damage


def array(name: str, change: Callable[[np.ndarray], Any], half: str = "train") -> Damage:
    """Another array in the place of one."""
    return lambda folder: np.save(folder / half / f"all__{name}.npy", change(np.load(folder / half / f"all__{name}.npy")))


def content(name: str, change: Callable[[bytes], bytes]) -> Damage:
    """Other bytes of a file."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def put(place: Any, value: int) -> Callable[[np.ndarray], np.ndarray]:
    """The array as int64 with a value at a place."""

    def change(values: np.ndarray) -> np.ndarray:
        changed = values.astype(np.int64)
        changed[place] = value
        return changed

    return change


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def remove_split(folder: Path) -> None:
    (folder / "test").rename(folder / "tests")


INPUTS, JSON = "train/all__inputs.npy", "test/dataset.json"
BROKEN: dict[str, tuple[Damage, str]] = {
    "no array": (remove(INPUTS), "all__inputs.npy: cannot be read: No such file"),
    "no indices": (remove("test/all__group_indices.npy"), "all__group_indices.npy: cannot be read: No such file"),
    "no dataset.json": (remove(JSON), "test/dataset.json: cannot be read: No such file"),
    "no identifiers": (remove("identifiers.json"), "identifiers.json: cannot be read: No such file"),
    "no split": (remove_split, "test/dataset.json: cannot be read: No such file"),
    "cut array": (content(INPUTS, lambda data: data[:300]), "all__inputs.npy: cannot be read as .npy, it is cut or damaged"),
    "cut indices": (
        content("train/all__puzzle_indices.npy", lambda data: data[:150]),
        "cannot be read as .npy, it is cut or damaged",
    ),
    "cut header": (content(INPUTS, lambda data: data[:20]), "cannot be read as .npy, it is cut or damaged"),
    "no npy": (content(INPUTS, lambda data: b"1,2,3"), "cannot be read as .npy, it is cut or damaged"),
    "empty file": (content(INPUTS, lambda data: b""), "all__inputs.npy: cannot be read as .npy, it is cut or damaged"),
    "objects": (array("inputs", lambda a: a.astype(object)), "inputs.npy: must hold whole numbers, got Python objects"),
    "objects in indices": (
        array("group_indices", lambda a: a.astype(object)),
        "indices.npy: must hold whole numbers, got Python objects",
    ),
    "floats": (array("labels", lambda a: a.astype(np.float32)), "labels.npy: must hold whole numbers, got float32"),
    "booleans": (array("inputs", lambda a: a > 2), "inputs.npy: must hold whole numbers, got bool"),
    "text": (array("inputs", lambda a: a.astype(str)), "inputs.npy: must hold whole numbers, got <U"),
    "floats in indices": (array("puzzle_indices", lambda a: a.astype(float)), "must hold whole numbers, got float64"),
    "flat rows": (array("inputs", np.ravel), r"inputs.npy: must have the shape \[rows, tokens\], got \[1920\]"),
    "grids": (array("inputs", lambda a: a.reshape(-1, 4, 4)), r"must have the shape \[rows, tokens\], got \[120, 4, 4\]"),
    "length": (facts(seq_len=17), r"inputs.npy: must have seq_len \(17\) tokens a row .* got 16"),
    "fewer labels": (
        array("labels", lambda a: a[:-1]),
        r"labels.npy: must have the shape of the inputs \(120, 16\), got \(119, 16\)",
    ),
    "shorter labels": (array("labels", lambda a: a[:, :-1]), r"must have the shape of the inputs \(120, 16\), got \(120, 15\)"),
    "no rows": (array("inputs", lambda a: a[:0]), r"inputs.npy: must hold at least one value, got the shape \[0, 16\]"),
    "empty indices": (array("group_indices", lambda a: a[:0], "test"), r"must hold at least one value, got the shape \[0\]"),
    "falling rows": (array("puzzle_indices", put(5, 9)), "puzzle_indices.npy, value 7: must rise .* got 6 after 9"),
    "falling groups": (
        array("group_indices", put(5, 4)),
        "group_indices.npy, value 7: must rise|value 6: must rise .* got 4 after 8",
    ),
    "a puzzle without rows": (array("puzzle_indices", put(5, 4)), "value 6: must rise from value to value, got 4 after 4"),
    "a late begin": (
        array("puzzle_indices", put(0, 1)),
        r"must begin with 0 and end with the number of rows \(120\), got 1 and 120",
    ),
    "an early end": (
        array("group_indices", lambda a: a[:-1]),
        r"must begin with 0 and end with the number of puzzles \(120\), got 0 and 118",
    ),
    "more rows than indices": (array("puzzle_indices", put(-1, 119)), r"the number of rows \(120\), got 0 and 119"),
    "negative indices": (array("group_indices", put(1, -2)), "value 2: must rise from value to value, got -2 after 0"),
    "identifiers": (array("puzzle_identifiers", put(3, 1)), r"puzzle_identifiers.npy, puzzle 4: must be from 0 to 0 .* got 1"),
    "negative identifier": (array("puzzle_identifiers", put(3, -1)), "puzzle 4: must be from 0 to 0 .* got -1"),
    "fewer identifiers": (array("puzzle_identifiers", lambda a: a[:-1]), r"each puzzle of puzzle_indices \(120\), got 119"),
    "above the vocabulary": (
        array("inputs", put((70, 2), 6)),
        r"inputs.npy, row 71: must hold tokens from 0 to 5 \(vocab_size 6\), got 6 at token 3",
    ),
    "negative token": (
        array("labels", put((1, 0), -1), "test"),
        "test/all__labels.npy, row 2: must hold tokens .* got -1 at token 1",
    ),
    "large token": (
        array("inputs", lambda a: np.full(a.shape, 2**64 - 1, np.uint64)),
        "row 1: .* got 18446744073709551615 at token 1",
    ),
    "nothing scored": (
        array("labels", put(8, 0)),
        r"labels.npy, row 9: must have a token that is scored, got ignore_label_id \(0\)",
    ),
    "no key": (facts(vocab_size=...), "train/dataset.json: vocab_size is required, and absent"),
    "no ignored token": (facts(ignore_label_id=...), "train/dataset.json: ignore_label_id is required, and absent"),
    "text for a number": (facts(seq_len="16"), "train/dataset.json: seq_len must be a valid integer, got '16'"),
    "true for a number": (facts(vocab_size=True), "train/dataset.json: vocab_size must be a valid integer, got True"),
    "null": (facts(pad_id=None), "train/dataset.json: pad_id must have a value, got null"),
    "negative padding": (facts(pad_id=-1), "pad_id must be greater than or equal to 0, got -1"),
    "padding": (facts(pad_id=6), r"pad_id must be below vocab_size \(6\), got 6"),
    "blank": (facts(blank_identifier_id=1), r"blank_identifier_id must be below num_puzzle_identifiers \(1\), got 1"),
    "no set": (facts(sets=[]), "train/dataset.json: sets must have at least 1"),
    "a set twice": (facts(sets=["all", "all"]), "sets must have each name once"),
    "name of a set": (
        facts(sets=["../all"]),
        r"train/dataset.json: sets must have names of letters, digits, .* got '../all': rename",
    ),
    "another set": (facts(sets=["every"]), "every__inputs.npy: cannot be read: No such file"),
    "large vocabulary": (facts(vocab_size=100_000), "vocab_size must be less than or equal to 65535, got 100000"),
    "no JSON": (content(JSON, lambda data: data[:-5]), "test/dataset.json: is not JSON in UTF-8"),
    "no object": (content(JSON, lambda data: b"[1]"), "test/dataset.json: must be an object with the keys seq_len"),
    "byte order mark": (
        content(JSON, lambda data: b"\xef\xbb\xbf" + data),
        "test/dataset.json: is not JSON in UTF-8: Unexpected UTF-8 BOM",
    ),
    "UTF-16": (content(JSON, lambda data: data.decode().encode("utf-16")), "test/dataset.json: is not JSON in UTF-8"),
    "splits that differ": (
        content(JSON, lambda data: data.replace(b": 6", b": 7")),
        r"vocab_size must be 6 as in .*train.dataset.json, got 7",
    ),
    "one group": (lambda folder: write_sudoku(folder, groups=1), "train: must have training groups beside .* got 1"),
    "names": (content("identifiers.json", lambda data: b'["a", "b"]'), r"must have num_puzzle_identifiers \(1\) names, got 2"),
    "numbers for names": (content("identifiers.json", lambda data: b"[1]"), "identifiers.json: must be a list of names"),
}


@pytest.mark.parametrize(("damage", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_folder_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage, problem: str
) -> None:
    damage(write_sudoku(tmp_path / "f"))
    refused(tmp_path, {"path": "f"}, problem, capsys)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "task.path: is required, and absent"),
        ({"path": "absent"}, "absent: cannot be read: No such file or directory: name a folder"),
        ({"path": "f/identifiers.json"}, "identifiers.json: must be a folder, got a file"),
        ({"path": "a" * 300}, "a: cannot be read: File name too long"),
        ({"path": "f/train"}, "train/train/dataset.json: cannot be read: No such file"),
        ({"path": "f", "length": 9}, "task.length: must be 16 as in .*f, got 9: leave it out"),
        ({"path": "f", "vocabulary": 9}, "task.vocabulary: must be 6 as in .*f, got 9: leave it out"),
        ({"path": "f", "identifiers": 9}, "task.identifiers: must be 1 as in .*f, got 9: leave it out"),
        ({"path": "f", "validation": 0.995}, "train: must have training groups beside those held out for validation, got 60"),
        ({"path": "f", "validation": 1.0}, "task.validation: must be less than 1, got 1.0"),
        ({"path": "f", "sets": []}, "task.sets: must have at least 1"),
        ({"path": "f", "sets": ["all", "all"]}, "task: sets must have each name once, .*: remove one"),
        ({"path": "f", "sha256": "0"}, "f: is not the folder of this trial"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_setting_that_does_not_fit_the_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], problem: str
) -> None:
    write_sudoku(tmp_path / "f")
    refused(tmp_path, settings, problem, capsys)


def refused(folder: Path, settings: dict[str, Any], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`rrm-trial` ends with the problem in one line, and writes nothing; the digest of a sound folder is kept."""
    (folder / "trial.yaml").write_text(write_yaml(tiny_sections(task={"kind": "official"} | settings)))
    assert rrm_trial([str(folder / "trial.yaml"), "--out", str(folder / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(problem, error), error
    assert not (folder / "out").exists() and ("sha256" in settings or not (folder / "cache").exists())
