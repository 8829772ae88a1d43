"""Puzzles of a user's own: three formats with one set of rules, wide tokens through a whole trial, splits, and what is refused."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_modules.__main__ import main as rrm_trial
from lightning_modules.config import load_trial, parse_trial
from lightning_modules.datamodule import to_batch
from lightning_modules.saved_model import SavedModel, save_model
from lightning_modules.thinking import read_thinking
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from rrm.models import build_model
from rrm.tasks import build_task, table_scan
from rrm.tasks.cache import Data, load_data
from rrm.tasks.table import Table, TableConfig
from rrm.tasks.table_rules import TableFormat
from rrm.tasks.table_scan import Source, scan_table
from tests.conftest import tiny_sections

Columns = dict[str, Any]
ROWS, LENGTH = 60, 6


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_DATA_CACHE", str(tmp_path / "cache"))


def made_columns(largest: int = 9, first_puzzle: int = 0) -> Columns:
    """Rows of six tokens whose answer adds one to the first `steps` of them, three rows a puzzle; the last token is not scored."""
    rng = np.random.default_rng(largest)
    inputs, steps = rng.integers(1, largest, size=(ROWS, LENGTH)), rng.integers(1, 5, size=ROWS)
    inputs[0, 0] = largest - 1
    labels = inputs + (np.arange(LENGTH) < steps[:, None])
    labels[:, -1] = 0
    return {
        "input": inputs,
        "label": labels,
        "puzzle": first_puzzle + np.arange(ROWS) // 3,
        "item": np.arange(ROWS) // 2,
        "steps": steps,
    }


def write_parquet(path: Path, columns: Columns) -> Path:
    pq.write_table(pa.table({name: list(values) if np.ndim(values) > 1 else values for name, values in columns.items()}), path)
    return path


def write_npz(path: Path, columns: Columns) -> Path:
    np.savez(path, **columns)
    return path


def write_csv(path: Path, columns: Columns) -> Path:
    cells = [[" ".join(map(str, value)) if np.ndim(value) else str(value) for value in values] for values in columns.values()]
    lines = [",".join(columns), *(",".join(row) for row in zip(*cells, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


WRITERS: dict[str, Callable[[Path, Columns], Path]] = {"parquet": write_parquet, "npz": write_npz, "csv": write_csv}


def load(folder: Path, **settings: Any) -> Data:
    """The splits of a table whose paths start at a folder."""
    config = TableConfig.model_validate_json(json.dumps({"test": 0.2, "validation": 0.2} | settings))
    return load_data(build_task(config.located(folder)))


def test_the_same_rows_in_three_formats_have_one_fingerprint(tmp_path: Path) -> None:
    columns = made_columns() | {"unknown": np.tile([1, 0, 1, 0, 1, 0], (ROWS, 1))}
    files = [write(tmp_path / f"rows.{suffix}", columns) for suffix, write in WRITERS.items()]
    loaded = [load(tmp_path, train=file.name, difficulty={"steps": [1, 3]}) for file in files]
    assert len({data.fingerprint for data in loaded}) == 1
    assert len({data.task.config.train_sha256 for data in loaded}) == 3  # type: ignore[attr-defined]
    train = loaded[0].splits["train"]
    assert train.inputs.dtype == np.uint8 and train.unknown.sum() == 3 * len(train)


def test_text_is_read_by_its_alphabet_and_other_ways_to_write_a_list_are_the_same(tmp_path: Path) -> None:
    words = {"input": ["ab.", "b.a", "..a"] * 3, "label": ["abb", "bba", "aba"] * 3}
    lists = {name: [[1 + "ab.".index(letter) for letter in word] for word in texts] for name, texts in words.items()}
    write_parquet(tmp_path / "words.parquet", words)
    write_csv(tmp_path / "words.csv", words)
    write_npz(tmp_path / "words.npz", {name: np.array(texts) for name, texts in words.items()})
    write_parquet(tmp_path / "lists.parquet", {name: np.array(rows, dtype=np.float32) for name, rows in lists.items()})
    quoted = [f'"{row}","{answer}"'.replace("1", "1.0") for row, answer in zip(lists["input"], lists["label"], strict=True)]
    (tmp_path / "lists.csv").write_text("\ufeff\r\ninput,label\r\n" + "\r\n".join(quoted), encoding="utf-8")
    texts = [load(tmp_path, train=f"words.{suffix}", alphabet="ab.") for suffix in WRITERS]
    numbers = [load(tmp_path, train=f"lists.{suffix}") for suffix in ("parquet", "csv")]
    assert len({data.fingerprint for data in texts + numbers}) == 1
    assert texts[0].task.shape == (3, 4, 1)


def test_the_padding_of_text_is_token_0(tmp_path: Path) -> None:
    words = {"input": ["ab.", "b..", "ba."] * 4, "label": ["abb", "b..", "ab."] * 4}
    lists = {name: np.array([[".ab".index(letter) for letter in word] for word in texts]) for name, texts in words.items()}
    write_csv(tmp_path / "words.csv", words)
    write_parquet(tmp_path / "lists.parquet", lists)
    text = load(tmp_path, train="words.csv", alphabet="ab", pad=".")
    assert text.fingerprint == load(tmp_path, train="lists.parquet").fingerprint and text.task.shape == (3, 3, 1)


def test_every_type_of_list_in_parquet_is_a_list(tmp_path: Path) -> None:
    types = [pa.list_(pa.int8()), pa.large_list(pa.uint64()), pa.list_(pa.int16(), 3), pa.list_view(pa.int32()),
             pa.large_list_view(pa.uint8()), pa.list_(pa.float16())]  # fmt: skip
    for number, kind in enumerate(types):
        rows = pa.array([np.array(row, kind.value_type.to_pandas_dtype()) for row in GOOD], kind)
        pq.write_table(pa.table({"input": rows, "label": rows}), tmp_path / f"{number}.parquet", row_group_size=5)
    assert len({load(tmp_path, train=f"{number}.parquet").fingerprint for number in range(len(types))}) == 1


def table_trial(folder: Path, largest: int = 60_000, **task: Any) -> dict[str, Any]:
    """Sections of a tiny trial on a table with large tokens."""
    write_parquet(folder / "rows.parquet", made_columns(largest))
    settings = {"kind": "table", "train": "rows.parquet", "test": 0.2, "difficulty": {"steps": [1, 3]}, "grid": [2, 3]} | task
    return tiny_sections(task=settings, fit__budget__amount=2, eval__validations=1, model__hidden_size=8)


def test_wide_tokens_go_through_a_whole_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trial.yaml").write_text(write_yaml(table_trial(tmp_path)))
    assert rrm_trial([str(tmp_path / "trial.yaml"), "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    config = load_trial(tmp_path / "trial.yaml")
    test = load_data(build_task(config.task)).splits["test"]
    assert test.inputs.dtype == np.uint16 and config.task.shape == (LENGTH, 60_001, 21)
    batch = to_batch(test)
    assert np.array_equal(batch["inputs"].numpy(), test.inputs) and (batch["labels"].numpy()[:, -1] == -100).all()
    thinking = read_thinking((tmp_path / "out/thinking.npz").read_bytes(), "thinking.npz")
    assert thinking["answers"].dtype == thinking["labels"].dtype == np.uint16 and thinking["grid"].tolist() == [2, 3]
    assert thinking["answers"].max() > 255
    assert set(pq.read_table(tmp_path / "out/items.parquet")["item"].to_pylist()) == set(test.items.tolist())
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert {"depth/exact_accuracy/steps1", "depth/exact_accuracy/steps3"} <= {point["metric"] for point in result["curves"]}
    assert result["test_examples_seen_in_training"] == 0 and result["task.validation"] == 0.1 and result["val/examples"] == 6


def test_a_saved_model_of_a_table_answers_with_wide_tokens_and_without_its_files(tmp_path: Path) -> None:
    sections = table_trial(tmp_path)
    sections["model"] |= {"state_init": "random"}  # the program of torch.export, which takes seconds, is left out
    config = parse_trial(sections, tmp_path)
    save_model(tmp_path / "model", config, build_model(config.model, config.task.shape).state_dict())
    puzzles = load_data(build_task(config.task)).splits["test"].inputs
    (tmp_path / "rows.parquet").unlink()
    answers = SavedModel(tmp_path / "model").answer(puzzles.astype(np.int64)).answers
    assert answers.shape == puzzles.shape and answers.max() > 255


def test_rows_of_a_puzzle_stay_in_one_split(tmp_path: Path) -> None:
    write_parquet(tmp_path / "rows.parquet", made_columns())
    splits = load(tmp_path, train="rows.parquet").splits
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 39, "validation": 9, "test": 12}
    held = [set(examples.puzzle_identifiers.tolist()) for examples in splits.values()]
    assert sum(map(len, held)) == len(set().union(*held)) == 20 and set().union(*held) == set(range(1, 21))


def test_puzzles_have_numbers_in_the_order_of_their_names_in_every_format(tmp_path: Path) -> None:
    names = [f"maze {number // 3}" if number >= 3 else "007" for number in range(ROWS)]
    columns = made_columns() | {"puzzle": names}
    columns.pop("item")
    for suffix, write in WRITERS.items():
        write(tmp_path / f"rows.{suffix}", columns | ({"puzzle": np.array(names)} if suffix == "npz" else {}))
    loaded = [load(tmp_path, train=f"rows.{suffix}") for suffix in WRITERS]
    assert len({data.fingerprint for data in loaded}) == 1
    found = {
        int(number): sorted({names[item] for item in examples.items[examples.puzzle_identifiers == number]})
        for examples in loaded[0].splits.values()
        for number in np.unique(examples.puzzle_identifiers)
    }
    assert [found[number] for number in range(1, 21)] == [[name] for name in sorted(set(names))]


def test_a_puzzle_is_one_whether_a_file_has_its_number_as_a_number_or_as_text(tmp_path: Path) -> None:
    write_npz(tmp_path / "numbers.npz", TINY | {"puzzle": np.arange(12)})
    write_parquet(tmp_path / "names.parquet", TINY | {"puzzle": [*"abcdefghijk", "011"]})
    with pytest.raises(UserError, match=r"got 11, which .*numbers.npz has in row 12"):
        load(tmp_path, train="numbers.npz", test="names.parquet")


def test_rows_of_an_item_stay_in_one_split_where_there_are_no_puzzles(tmp_path: Path) -> None:
    columns = made_columns()
    columns.pop("puzzle")
    write_npz(tmp_path / "rows.npz", columns)
    held = [set(examples.items.tolist()) for examples in load(tmp_path, train="rows.npz").splits.values()]
    assert sum(map(len, held)) == len(set().union(*held)) == ROWS // 2


def test_fewer_training_rows_are_the_first_of_more_and_other_splits_stay(tmp_path: Path) -> None:
    write_parquet(tmp_path / "rows.parquet", made_columns())
    some, more, all_rows, other = (
        load(tmp_path, train="rows.parquet", **settings).splits
        for settings in ({"train_examples": 5}, {"train_examples": 20}, {}, {"seed": 1})
    )
    assert np.array_equal(some["train"].inputs, more["train"].inputs[:5]) and len(some["train"]) == 5
    assert np.array_equal(more["train"].items, all_rows["train"].items[:20])
    assert np.array_equal(some["test"].inputs, all_rows["test"].inputs)
    assert not np.array_equal(other["test"].items, all_rows["test"].items)


def test_files_of_every_split_are_read_in_their_order(tmp_path: Path) -> None:
    parts = ("train", "test", "validation", "ood")
    for number, split in enumerate(parts):
        write_npz(tmp_path / f"{split}.npz", made_columns(first_puzzle=100 * number))
    splits = load(tmp_path, **{split: f"{split}.npz" for split in parts}).splits
    assert splits.keys() == {"train", "validation", "test", "ood"}
    for split in ("validation", "test", "ood"):
        assert np.array_equal(splits[split].inputs, made_columns()["input"])
        assert np.array_equal(splits[split].items, made_columns()["item"])
    assert splits["ood"].puzzle_identifiers.min() == 61 and splits["ood"].puzzle_identifiers.max() == 80


def test_tokens_with_label_0_are_neither_scored_nor_unknown(tmp_path: Path) -> None:
    write_npz(tmp_path / "rows.npz", made_columns())
    data = load(tmp_path, train="rows.npz")
    examples = data.splits["test"]
    answers = examples.labels.copy()
    answers[:, -1] = 7
    assert data.task.score(examples, answers).all() and not examples.unknown[:, -1].any()
    assert np.array_equal(examples.unknown, (examples.inputs != examples.labels) & (examples.labels > 0))
    answers[0, 0] += 1
    assert data.task.score(examples, answers).tolist() == [False] + [True] * (len(examples) - 1)


def test_a_file_is_scanned_once_and_again_where_its_facts_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[Source] = []

    def scan_file(source: Source, given: TableFormat) -> object:
        scanned.append(source)
        return scan(source, given)

    scan = table_scan._scan_file
    monkeypatch.setattr(table_scan, "_scan_file", scan_file)
    path = write_npz(tmp_path / "rows.npz", made_columns())
    shape = TableConfig(train=path, test=0.2).located(tmp_path).shape
    (kept,) = (tmp_path / "cache").glob("facts-*.json")
    for damage, times in ((str, 1), (lambda text: text.replace('"length": 6', '"length": 7'), 2), (lambda text: text[:20], 3)):
        kept.write_text(damage(kept.read_text()))
        scan_table.cache_clear()
        path = path.rename(tmp_path / f"moved{times}.npz")
        assert TableConfig(train=path, test=0.2).located(tmp_path).shape == shape and len(scanned) == times


def test_a_table_counts_by_digest_and_by_the_order_of_its_measures(tmp_path: Path) -> None:
    write_npz(tmp_path / "rows.npz", made_columns() | {"other": np.arange(ROWS)})
    (tmp_path / "copy.npz").write_bytes((tmp_path / "rows.npz").read_bytes())

    def identity(**settings: Any) -> str:
        given = {"train": "rows.npz", "test": 0.2} | settings
        return json.dumps(TableConfig.model_validate_json(json.dumps(given)).located(tmp_path).identity(), sort_keys=True)

    measures = {"steps": [1], "other": [0]}
    first = identity(difficulty=measures)
    assert first == identity(difficulty=measures, train="copy.npz", length=6, vocabulary=10) and str(tmp_path) not in first
    assert first != identity(difficulty=dict(reversed(measures.items())))
    assert first != identity(difficulty=measures, vocabulary=300)


def test_a_file_that_has_changed_since_it_was_located_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "rows.npz", made_columns())
    config = TableConfig(train=path, test=0.2).located(tmp_path)
    write_npz(path, made_columns(largest=8))
    with pytest.raises(UserError, match="is not the file of this trial"):
        load_data(Table(config))


GOOD = [[1, 2, 3], [3, 2, 1]] * 6
TINY: Columns = {"input": GOOD, "label": GOOD}
INTEGERS = pa.list_(pa.int64())


def parquet_bytes(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(TINY | columns), sink)
    return sink.getvalue().to_pybytes()


def npz_bytes(folder: Path, **columns: Any) -> bytes:
    np.savez(folder / "made.npz", **{name: np.array(values) for name, values in (TINY | columns).items()})
    return (folder / "made.npz").read_bytes()


def workbook_bytes(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "made.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return (folder / "made.xlsx").read_bytes()


def no_array_bytes(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        for name in TINY:
            archive.writestr(f"{name}.npy", "1 2 3")
    return (folder / "made.zip").read_bytes()


def large_bytes(folder: Path) -> bytes:
    """Arrays whose headers state more values than there are."""
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        for name in TINY:
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, {"descr": "<i8", "fortran_order": False, "shape": (10**13, 81)})
    return (folder / "made.zip").read_bytes()


# Content of the file, settings of the task, and a part of the line.
Broken = tuple[str, bytes | str | Callable[[Path], bytes], dict[str, Any], str]
BROKEN: dict[str, Broken] = {
    "ragged": (
        "a.parquet",
        parquet_bytes(input=[*GOOD[:11], [1, 2]]),
        {},
        r"row 12: input must have 3 tokens as row 1, got 2: give",
    ),
    "other length of label": (
        "a.csv",
        "input,label\n1 2,1\n",
        {},
        r"row 1 \(line 2\): label must have as many tokens as input \(2\)",
    ),
    "negative": (
        "a.parquet",
        parquet_bytes(input=[[1, -4, 3]] * 12),
        {},
        "row 1: input must hold whole numbers .* got -4 at token 2",
    ),
    "above 65,535": ("a.csv", "input,label\n1 70000,1 2\n", {}, "from 0 to 65,535, got 70000 at token 2"),
    "above the vocabulary": (
        "a.parquet",
        parquet_bytes(),
        {"vocabulary": 3},
        "vocabulary: must be larger .* got 3 and the token 3 in .*row 1",
    ),
    "fraction": ("a.parquet", parquet_bytes(input=[[1.5, 2.0, 3.0]] * 12), {}, "got 1.5 at token 1"),
    "fraction in text": ("a.csv", "input,label\n1 2.5,1 2\n", {}, "got 2.5 at token 2"),
    "NaN": (
        "a.npz",
        lambda at: npz_bytes(at, input=[[1, 2, np.nan]] * 12),
        {},
        r"row 1: input .* got no value \(null or NaN\) at token 3",
    ),
    "infinity": ("a.npz", lambda at: npz_bytes(at, input=np.full((12, 3), np.inf, np.float16)), {}, "got inf at token 1"),
    "null list": (
        "a.parquet",
        parquet_bytes(input=pa.array([*GOOD[:11], None], INTEGERS)),
        {},
        "row 12: input must have at least 1",
    ),
    "null among lists of a fixed size": (
        "a.parquet",
        parquet_bytes(label=pa.array([*GOOD[:11], None], pa.list_(pa.int64(), 3))),
        {},
        "must have no null in a column of lists of a fixed size: fill it",
    ),
    "null token": ("a.parquet", parquet_bytes(input=pa.array([[1, None, 3]] * 12, INTEGERS)), {}, "got no value .* at token 2"),
    "empty cell": ("a.csv", "input,label\n1 2,\n", {}, "label must have a value, got an empty cell"),
    "gap in a list": ("a.csv", 'input,label\n"1,,3",1 2 3\n', {}, "input must be a list of whole numbers, got '1,,3'"),
    "missing column": (
        "a.parquet",
        parquet_bytes(),
        {"difficulty": {"steps": [1]}},
        "must have the column 'steps', got 'input', 'label'",
    ),
    "other columns": (
        "a.csv",
        "question,answer\n1,2\n",
        {},
        "must have the column 'input', got 'question', 'answer': rename or add it",
    ),
    "semicolons": ("a.csv", "input;label\n1;2\n", {}, "separated by commas"),
    "column twice": ("a.csv", "input,label,input\n1,2,3\n", {}, "must have each column once, got 'input' twice"),
    "no rows": ("a.csv", "input,label\n", {}, "has no rows"),
    "empty file": ("a.csv", "", {}, "is empty"),
    "character outside the alphabet": (
        "a.csv",
        "input,label\nab,ax\n",
        {"alphabet": "ab"},
        "label .* alphabet 'ab', got 'x' at character 2: .* if it is padding, name it in task.pad",
    ),
    "rows of text of two lengths": (
        "a.csv",
        "input,label\nab,ab\nabb,abb\n",
        {"alphabet": "ab"},
        r"input must have 2 tokens as row 1, got 3: .*in text the character of task.pad; rrm-sweep new: --pad",
    ),
    "text without an alphabet": (
        "a.csv",
        "input,label\nab,ab\n",
        {},
        "must be a list of whole numbers, got 'ab': .*name them in task.alphabet",
    ),
    "alphabet on lists": (
        "a.parquet",
        parquet_bytes(),
        {"alphabet": "ab"},
        "must hold text, because alphabet is given, got lists of int64",
    ),
    "cut Parquet": ("a.parquet", parquet_bytes()[:-20], {}, "cannot be read as Parquet, it is cut or damaged"),
    "Parquet without its beginning": ("a.parquet", parquet_bytes()[9:], {}, "cannot be read as .parquet, it is cut or damaged"),
    "cut npz": ("a.npz", lambda at: npz_bytes(at)[:-40], {}, "cannot be read as .npz, it is cut or damaged"),
    "damaged npz": (
        "a.npz",
        lambda at: npz_bytes(at).replace(b"NUMPY", b"NUMPI"),
        {},
        "cannot be read as .npz, it is cut or damaged",
    ),
    "more rows than memory": ("a.npz", large_bytes, {}, "input takes more memory than there is, or is damaged: save it again"),
    "single array": ("a.npy", b"\x93NUMPY\x01\x00", {}, "is a single array"),
    "objects": ("a.npz", lambda at: npz_bytes(at, input=np.array([None] * 12)), {}, "input must be an array .* got Python objects"),
    "dimensions": (
        "a.npz",
        lambda at: npz_bytes(at, input=np.ones((12, 3, 3), int)),
        {},
        r"input .* got array \[rows, 3, 3\] of int64",
    ),
    "rows of columns": (
        "a.npz",
        lambda at: npz_bytes(at, input=GOOD[:5]),
        {},
        r"label must have as many rows as input \(5\), got 12",
    ),
    "true and false": ("a.npz", lambda at: npz_bytes(at, input=np.ones((12, 3), bool)), {}, "got lists of true and false"),
    "strings in lists": (
        "a.parquet",
        parquet_bytes(input=[["a", "b", "c"]] * 12),
        {},
        "must hold lists of whole numbers, got list<",
    ),
    "UTF-16": ("a.csv", "input,label\n1,2\n".encode("utf-16"), {}, "is not text in UTF-8"),
    "UTF-16 without a mark": ("a.csv", "input,label\n1,2\n".encode("utf-16-le"), {}, "is not text in UTF-8"),
    "Latin-1": ("a.csv", "input,label\nä,ä\n".encode("latin-1"), {"alphabet": "ä"}, "is not text in UTF-8"),
    "open quote": ("a.csv", 'input,label\n"1 2,1 2\n', {}, "cannot be read as CSV, it is cut or damaged"),
    "list without quotes": (
        "a.csv",
        "input,label\n1,2,1,2\n",
        {},
        "must have 2 fields as the header, got 4: put a list with commas in quotes",
    ),
    "workbook": ("a.xlsx", workbook_bytes, {}, "is an Excel workbook: save its sheet as CSV"),
    "empty archive": ("a.npz", b"PK\x05\x06" + bytes(18), {}, "is a zip archive without arrays"),
    "old workbook": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", {}, "is an Excel workbook: save its sheet as CSV"),
    "nothing scored": ("a.parquet", parquet_bytes(label=[[0, 0, 0]] * 12), {}, "row 1: label must have a token above 0"),
    "share": ("a.parquet", parquet_bytes(), {"test": 0.99}, "must leave puzzles for training .* got 12 and the shares test 0.99"),
    "share of one puzzle": (
        "a.parquet",
        parquet_bytes(puzzle=[4] * 12),
        {},
        "must leave puzzles for training .* got 1 and the shares",
    ),
    "share above one": ("a.parquet", parquet_bytes(), {"test": 1.5}, "task.test: must be a path or be less than 1, got 1.5"),
    "puzzle": ("a.parquet", parquet_bytes(puzzle=["1.5"] * 12), {}, "puzzle must be a whole number .* or a name, got '1.5'"),
    "number among names": ("a.parquet", parquet_bytes(puzzle=["one", "-1"] * 6), {}, "row 2: puzzle must be .* a name .* got '-1'"),
    "puzzle without a value": ("a.csv", "input,label,puzzle\n1,2,a\n1,2,\n", {}, "row 2 .*: puzzle must be .* got an empty cell"),
    "single value": ("a.npz", lambda at: npz_bytes(at, item=3), {}, "item must be an array .* got a single value"),
    "member that is no array": ("a.npz", no_array_bytes, {}, "cannot be read as .npz, it is cut or damaged"),
    "bin above all measures": (
        "a.parquet",
        parquet_bytes(steps=[1] * 12),
        {"difficulty": {"steps": [1, 2**31]}},
        "difficulty.steps.1: must be less than or equal to 2147483647",
    ),
    "item": ("a.parquet", parquet_bytes(item=[2**31] * 12), {}, "item must be a whole number .* got 2147483648"),
    "measure": (
        "a.parquet",
        parquet_bytes(steps=[0.5] * 12),
        {"difficulty": {"steps": [1]}},
        "steps must be a whole number .* got 0.5",
    ),
    "bins that fall": (
        "a.parquet",
        parquet_bytes(),
        {"difficulty": {"steps": [3, 1]}},
        r"difficulty.steps must be rising .* got \[3, 1\]",
    ),
    "name of a measure": (
        "a.parquet",
        parquet_bytes(),
        {"difficulty": {"k2": [1]}},
        "difficulty must name columns of small letters .* 'k2'",
    ),
    "unknown": (
        "a.parquet",
        parquet_bytes(unknown=[[0, 1, 2]] * 12),
        {},
        "unknown must hold whole numbers from 0 to 1, got 2 at token 3",
    ),
    "unknown that is not scored": (
        "a.parquet",
        parquet_bytes(label=[[0, 1, 1]] * 12, unknown=[[1, 1, 1]] * 12),
        {},
        "unknown must be 0 where label is 0",
    ),
    "grid": (
        "a.parquet",
        parquet_bytes(),
        {"grid": [2, 2]},
        r"grid: must be \[rows, columns\] whose product .* \(3\), got \[2, 2\]",
    ),
    "length": ("a.parquet", parquet_bytes(), {"length": 4}, "length: must be 3 as in .* got 4: leave it out"),
    "alphabet": ("a.csv", "input,label\na,a\n", {"alphabet": "aba"}, "alphabet must hold each character once, got 'a' twice"),
    "padding of the alphabet": ("a.csv", "input,label\na,a\n", {"alphabet": "ab", "pad": "b"}, "pad must be a character"),
    "padding of lists": ("a.parquet", parquet_bytes(), {"pad": "."}, "pad must be a character of text that alphabet does not have"),
    "digest without a file": (
        "a.parquet",
        parquet_bytes(),
        {"test_sha256": "0"},
        "test_sha256 has no effect without a file in test",
    ),
}


@pytest.mark.parametrize(("name", "content", "settings", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_table_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: Any, settings: dict[str, Any], problem: str
) -> None:
    made = content(tmp_path) if callable(content) else content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(made)
    task = {"kind": "table", "train": name, "test": 0.2} | settings
    (tmp_path / "trial.yaml").write_text(write_yaml(tiny_sections(task=task)))
    assert rrm_trial([str(tmp_path / "trial.yaml"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(problem, error), error
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"puzzle": [11] * 12}, r"b.npz, row 1: puzzle must have all its rows in one split, got 11, which .*a.npz has in row 12"),
        ({}, "b.npz: must have the column 'puzzle' as .*a.npz"),
        (
            {"input": [[1, 2]] * 12, "label": [[1, 2]] * 12, "puzzle": [20] * 12},
            "b.npz: must have rows of 3 tokens as .*a.npz, got 2",
        ),
    ],
    ids=["a puzzle in both", "a column in one", "another length"],
)
def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path, changes: Columns, problem: str) -> None:
    (tmp_path / "a.npz").write_bytes(npz_bytes(tmp_path, puzzle=np.arange(12)))
    (tmp_path / "b.npz").write_bytes(npz_bytes(tmp_path, **changes))
    with pytest.raises(UserError, match=problem):
        load(tmp_path, train="a.npz", test="b.npz")


def test_a_folder_or_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be a file, got a folder: name a file in it"):
        load(tmp_path, train=".")
    (tmp_path / "circle").symlink_to("circle")
    for path in ("circle", "a\0b", "a" * 5000):
        with pytest.raises(UserError, match="cannot be read: "):
            load(tmp_path, train=path)
    with pytest.raises(UserError, match=r"absent.csv: cannot be read: No such file"):
        load(tmp_path, train="absent.csv")


def test_a_bad_row_behind_many_good_ones_is_named(tmp_path: Path) -> None:
    inputs = np.ones((40_000, 2), dtype=np.int64)
    inputs[35_000, 1] = -1
    for suffix, write in WRITERS.items():
        write(tmp_path / f"rows.{suffix}", {"input": inputs, "label": np.ones_like(inputs)})
        with pytest.raises(UserError, match=r"row 35001( \(line 35002\))?: input must hold whole numbers .* got -1 at token 2"):
            load(tmp_path, train=f"rows.{suffix}")
