from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rrm.errors import UserError
from rrm.tasks import sudoku_grids as grids
from rrm.tasks.sudoku import Sudoku, SudokuConfig, read_csv

QUESTION = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
HEADER = "source,question,answer,rating"


def write_csv(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(question: str = QUESTION, answer: str = ANSWER) -> str:
    return f"test,{question},{answer},0"


@pytest.mark.parametrize("size", [4, 6, 9])
def test_generated_puzzles_have_one_solution(size: int) -> None:
    task = Sudoku(SudokuConfig(size=size))  # type: ignore[arg-type]
    examples = task.make("test", 10, 0)
    for question, answer in zip(examples.inputs - 1, examples.labels - 1, strict=True):
        (found,) = grids.solver(size).solutions(question, limit=2)
        assert np.array_equal(found, answer)


@pytest.mark.parametrize(("size", "clues"), [(4, (5, 7)), (6, (12, 14)), (9, (28, 32))])
def test_clues_lie_within_the_bounds(size: int, clues: tuple[int, int]) -> None:
    task = Sudoku(SudokuConfig(size=size, clues=clues))  # type: ignore[arg-type]
    givens = (~task.make("train", 5, 0).unknown).sum(axis=1)
    assert (givens >= clues[0]).all() and (givens <= clues[1]).all()


def test_the_49_classes_of_6x6_hold_every_grid_once() -> None:
    representatives, sizes = grids.answer_classes(6)
    names = {grids.class_of(grid) for grid in representatives}
    assert names == {("".join(map(str, grid)), int(size)) for grid, size in zip(representatives, sizes, strict=True)}
    assert len(names) == 49
    assert sizes.sum() == 28_200_960  # all 6x6 grids with boxes of 2 x 3


def test_the_12_relabelling_classes_of_4x4_hold_all_288_grids() -> None:
    representatives, sizes = grids.answer_classes(4)
    assert len(representatives) == 12 and sizes.sum() == 288
    assert len(grids.solver(4).solutions(np.zeros(16, dtype=np.int32), limit=1000)) == 288


@pytest.mark.parametrize("size", [4, 6])
def test_augmentation_never_leads_into_another_split(size: int) -> None:
    task = Sudoku(SudokuConfig(size=size))  # type: ignore[arg-type]

    def classes(answers: np.ndarray) -> set:
        if size == 4:
            return set(map(bytes, grids.normalise_digits(answers)))
        return {grids.class_of(answer)[0] for answer in answers}

    train = task.augment(task.make("train", 150, 0), np.random.default_rng(1))
    for split in ("validation", "test"):
        assert not classes(train.labels - 1) & classes(task.make(split, 60, 0).labels - 1)  # type: ignore[arg-type]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_symmetries_keep_9x9_grids_complete(seed: int) -> None:
    grid = np.array([[int(digit) for digit in ANSWER]] * 3, dtype=np.int32)
    rng = np.random.default_rng(seed)
    moved = np.take_along_axis(grid, grids.random_cell_orders(9, 3, rng), axis=1)
    assert grids.is_complete(grids.relabel(moved, grids.random_digit_orders(9, 3, rng))).all()


def test_a_csv_is_split_into_training_and_validation(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", *[row()] * 10)
    test = write_csv(tmp_path / "test.csv", *[row()] * 4)
    task = Sudoku(SudokuConfig(size=9, train=train, test=test, validation=0.2))
    assert task.counts == {"train": 8, "validation": 2, "test": 4}
    examples = task.make("test", 4, 0)
    assert "".join(map(str, examples.labels[0] - 1)) == ANSWER
    assert (examples.unknown[0] == np.array([c == "." for c in QUESTION])).all()


BAD_ROWS = {
    "wrong length": (row(question=QUESTION[:-1]), "question must have 81 characters, got 80"),
    "wrong digit": (row(question="x" + QUESTION[1:]), "question must hold 1 to 9 or . for a blank, got 'x' at character 1"),
    "blank in the answer": (row(answer="." + ANSWER[1:]), "answer must hold 1 to 9, got '.' at character 1"),
    "given not kept": (row(question="4" + QUESTION[1:]), "answer must keep the givens, got 5 for the given 4 at row 1, column 1"),
    "answer breaks a rule": (row("." * 81, ANSWER[::-1][:-1] + "1"), "answer must hold each digit once in every row"),
    "missing column": ("test," + QUESTION, "must have 4 columns, got 2"),
}


@pytest.mark.parametrize(("bad", "rule"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named_by_file_line_and_rule(tmp_path: Path, bad: str, rule: str) -> None:
    path = write_csv(tmp_path / "bad.csv", row(), row(), bad)
    with pytest.raises(UserError) as error:
        read_csv(path, 9)
    assert str(error.value).startswith(f"{path}, line 4: ")
    assert rule in str(error.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [("", "must be source,question,answer,rating"), (HEADER + "\n", "has no puzzles"), ("\x00\xff", "must be source")],
)
def test_a_file_without_puzzles_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(text, encoding="latin-1" if "\xff" not in text else "utf-8")
    with pytest.raises(UserError, match=rule):
        read_csv(path, 9)


def test_a_file_that_changed_is_not_the_trial_s_data(tmp_path: Path) -> None:
    train, test = write_csv(tmp_path / "train.csv", *[row()] * 4), write_csv(tmp_path / "test.csv", row())
    located = SudokuConfig(size=9, train=Path("train.csv"), test=Path("test.csv")).located(tmp_path)
    assert located.train == train and located.train_sha256
    write_csv(train, *[row()] * 5)
    with pytest.raises(UserError, match="is not the file of this trial"):
        located.located(tmp_path)
    assert test.exists()


@pytest.mark.parametrize(
    ("settings_", "rule"),
    [
        ({"validation": 0.1}, "validation has no effect where puzzles are generated"),
        ({"train": "a.csv", "test": "b.csv", "clues": [30, 40]}, "clues has no effect where puzzles come from CSV files"),
        ({"train": "a.csv"}, "train and test must be given together"),
        ({"size": 4, "clues": [3, 9]}, "4 <= fewest <= most"),
        ({"size": 9, "clues": [17, 20]}, "26 <= most"),
    ],
)
def test_settings_without_effect_or_out_of_bounds_are_refused(settings_: dict, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        SudokuConfig(**settings_)
