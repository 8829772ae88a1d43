from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rrm.errors import UserError
from rrm.tasks import sudoku_grids as grids
from rrm.tasks.sudoku import Sudoku, SudokuConfig, check_guesses, read_sudokus
from rrm.tasks.sudoku_solver import BOX_SHAPE, candidates, solve, units
from rrm.tasks.task import bin_of

QUESTION = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
HEADER = "source,question,answer,rating"


def write_csv(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(question: str = QUESTION, answer: str = ANSWER) -> str:
    return f"test,{question},{answer},0"


def digits(text: str) -> np.ndarray:
    return np.array([[0 if character in ".0" else int(character) for character in text]], dtype=np.uint8)


def plain_solutions(cells: list[int], size: int, limit: int) -> list[list[int]]:
    """Backtracking over the first blank, without any inference."""
    if 0 not in cells:
        return [cells]
    blank, found = cells.index(0), []
    seen = {cells[other] for unit in units(size) if blank in unit for other in unit}
    for digit in sorted(set(range(1, size + 1)) - seen):
        found += plain_solutions([*cells[:blank], digit, *cells[blank + 1 :]], size, limit - len(found))
        if len(found) >= limit:
            break
    return found


@given(st.sampled_from([(4, 2), (4, 5), (6, 16), (6, 20)]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_solver_finds_what_plain_backtracking_finds(kind: tuple[int, int], seed: int) -> None:
    size, givens = kind
    rng = np.random.default_rng(seed)
    grid = grids.random_grids(size, 1, rng)
    grid[0, rng.permutation(size * size)[: size * size - givens]] = 0
    if rng.random() < 0.3:  # some have no solution
        grid[0, rng.integers(size * size)] = rng.integers(1, size + 1)
    expected = plain_solutions(grid[0].tolist(), size, 5)
    clash = any(len(set(kept := [d for d in grid[0, unit] if d])) < len(kept) for unit in units(size))
    found = solve(candidates(grid), limit=5)
    assert found.count[0] == (0 if clash else len(expected))
    if not clash and len(expected) < 5:
        assert sorted(found.grids.tolist()) == sorted(expected)


def test_a_hard_puzzle_is_solved_and_proven_unique() -> None:
    hard = digits("8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..")
    found = solve(candidates(np.repeat(hard, 3, axis=0)), limit=2)
    assert found.count.tolist() == [1, 1, 1] and grids.is_complete(found.grids).all()
    assert found.guesses[0] > 10 and len(set(found.guesses)) == 1


def test_puzzles_are_solved_alike_alone_and_in_a_crowd() -> None:
    examples = Sudoku(SudokuConfig(size=9, minimal=True)).make("test", 60, 0)
    together = solve(candidates(examples.inputs - 1), limit=2).guesses
    alone = [int(solve(candidates(question[None] - 1), limit=2).guesses[0]) for question in examples.inputs]
    assert together.tolist() == alone == examples.difficulty["guesses"].tolist()


@pytest.mark.parametrize("size", [4, 6, 9])
def test_generated_puzzles_have_one_solution(size: int) -> None:
    examples = Sudoku(SudokuConfig(size=size)).make("test", 50, 0)  # type: ignore[arg-type]
    found = solve(candidates(examples.inputs - 1), limit=2)
    assert (found.count == 1).all()
    assert np.array_equal(found.grids[found.owners.argsort()], examples.labels - 1)
    if size == 4:
        for question, answer in zip(examples.inputs - 1, examples.labels - 1, strict=True):
            assert plain_solutions(question.tolist(), 4, 2) == [answer.tolist()]


@pytest.mark.parametrize(("size", "clues"), [(4, (5, 7)), (6, (12, 14)), (9, (28, 32))])
def test_clues_lie_within_the_bounds(size: int, clues: tuple[int, int]) -> None:
    examples = Sudoku(SudokuConfig(size=size, clues=clues)).make("train", 20, 0)  # type: ignore[arg-type]
    givens = (~examples.unknown).sum(axis=1)
    assert (givens >= clues[0]).all() and (givens <= clues[1]).all()
    assert np.array_equal(givens, examples.difficulty["clues"])


def test_no_given_of_a_minimal_puzzle_can_be_spared() -> None:
    examples = Sudoku(SudokuConfig(size=9, minimal=True)).make("train", 10, 0)
    for question in examples.inputs - 1:
        places = np.flatnonzero(question)
        without = np.repeat(question[None], len(places), axis=0)
        without[np.arange(len(places)), places] = 0
        assert (solve(candidates(without), limit=2).count == 2).all()


@pytest.mark.more
def test_minimal_puzzles_fill_the_bins_of_guesses() -> None:
    task = Sudoku(SudokuConfig(size=9, minimal=True))
    guesses = task.make("test", 300, 0).difficulty["guesses"]
    assert {0, 1, 2, 4, 8} <= set(bin_of(guesses, task.bins["guesses"]).tolist())
    hard = Sudoku(SudokuConfig(size=9, minimal=True, fewest_guesses=6)).make("test", 30, 0)
    assert hard.difficulty["guesses"].min() >= 6


@cache
def all_cell_orders(size: int) -> np.ndarray:
    """Every geometric symmetry without transposition, [symmetries, L] (3,456 of them for size 6)."""
    box_rows, box_columns = BOX_SHAPE[size]

    def line_orders(block: int) -> list[list[int]]:
        blocks = size // block
        inner = list(permutations(range(block)))
        return [
            [b * block + line for b, lines in zip(outer, choice, strict=True) for line in lines]
            for outer in permutations(range(blocks))
            for choice in product(inner, repeat=blocks)
        ]

    rows, columns = np.array(line_orders(box_rows)), np.array(line_orders(box_columns))
    orders: np.ndarray = rows[:, None, :, None] * size + columns[None, :, None, :]
    return orders.reshape(-1, size * size)


def class_of(grid: np.ndarray) -> tuple[str, int]:
    """The class of a complete 6x6 grid [L] under relabelling and all cell orders, and the number of grids in it.

    The class is named by its lexicographically smallest member; its size follows from the symmetries that fix the grid
    up to relabelling (orbit-stabiliser).
    """
    size = round(len(grid) ** 0.5)
    orders = all_cell_orders(size)
    images = grids.normalise_digits(grid[orders])
    smallest = min(map(bytes, images.astype(np.uint8)))
    identity = grids.normalise_digits(grid[None])[0]
    fixing = int((images == identity).all(axis=1).sum())
    relabellings = int(np.prod(np.arange(1, size + 1)))
    return "".join(map(str, smallest)), len(orders) * relabellings // fixing


def test_the_49_classes_of_6x6_hold_every_grid_once() -> None:
    representatives, sizes = grids.answer_classes(6)
    names = {class_of(grid) for grid in representatives}
    assert names == {("".join(map(str, grid)), int(size)) for grid, size in zip(representatives, sizes, strict=True)}
    assert len(names) == 49
    assert sizes.sum() == 28_200_960  # all 6x6 grids with boxes of 2 x 3


def test_the_12_relabelling_classes_of_4x4_hold_all_288_grids() -> None:
    representatives, sizes = grids.answer_classes(4)
    assert len(representatives) == 12 and sizes.sum() == 288
    assert solve(candidates(np.zeros((1, 16), dtype=np.uint8)), limit=1000).count[0] == 288


@pytest.mark.parametrize("size", [4, 6])
def test_augmentation_never_leads_into_another_split(size: int) -> None:
    task = Sudoku(SudokuConfig(size=size))  # type: ignore[arg-type]

    def classes(answers: np.ndarray) -> set:
        if size == 4:
            return set(map(bytes, grids.normalise_digits(answers)))
        return {class_of(answer)[0] for answer in answers}

    train = task.augment(task.make("train", 150, 0), np.random.default_rng(1))
    for split in ("validation", "test"):
        assert not classes(train.labels - 1) & classes(task.make(split, 60, 0).labels - 1)  # type: ignore[arg-type]


def test_9x9_splits_differ_by_what_no_symmetry_changes() -> None:
    task = Sudoku(SudokuConfig(size=9))
    train, validation, test = (task.make(split, 400, 0) for split in ("train", "validation", "test"))  # type: ignore[arg-type]
    moved = task.augment(train, np.random.default_rng(1))
    hashes = [set(grids.symmetry_hash(examples.labels - 1).tolist()) for examples in (moved, validation, test)]
    assert not hashes[0] & hashes[1] and not hashes[0] & hashes[2] and not hashes[1] & hashes[2]


@given(st.sampled_from([4, 6, 9]), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_symmetries_keep_grids_complete_and_their_hashes(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = grids.random_grids(size, 3, rng)
    question = np.where(rng.random(grid.shape) < 0.4, grid, 0)
    order, relabelled = grids.random_cell_orders(size, 3, rng), grids.random_digit_orders(size, 3, rng)
    moved, asked = (grids.relabel(np.take_along_axis(cells, order, axis=1), relabelled) for cells in (grid, question))
    assert grids.is_complete(moved).all()
    assert np.array_equal(grids.symmetry_hash(moved), grids.symmetry_hash(grid))
    assert np.array_equal(grids.puzzle_hash(asked, moved), grids.puzzle_hash(question, grid))


def test_hashes_tell_9x9_grids_and_puzzles_apart() -> None:
    rng = np.random.default_rng(0)
    grid = grids.random_grids(9, 1000, rng)
    assert len(np.unique(grids.symmetry_hash(grid))) > 990
    same = np.repeat(grid[:1], 1000, axis=0)
    masked = np.where(rng.random(same.shape) < 0.3, same, 0)
    assert len(np.unique(grids.puzzle_hash(masked, same))) == 1000


def test_a_csv_is_split_into_training_and_validation(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", *[row()] * 10)
    test = write_csv(tmp_path / "test.csv", *[row()] * 4)
    task = Sudoku(SudokuConfig(size=9, train=train, test=test, validation=0.2))
    assert task.counts == {"train": 8, "validation": 2, "test": 4}
    examples = task.make("test", 4, 0)
    assert "".join(map(str, examples.labels[0] - 1)) == ANSWER
    assert (examples.unknown[0] == np.array([c == "." for c in QUESTION])).all()


def test_test_rows_that_training_holds_up_to_symmetry_are_counted(tmp_path: Path) -> None:
    question, answer = digits(QUESTION), digits(ANSWER)
    rng = np.random.default_rng(0)
    order, relabelled = grids.random_cell_orders(9, 1, rng), grids.random_digit_orders(9, 1, rng)
    moved = [
        "".join(map(str, grids.relabel(np.take_along_axis(cells, order, axis=1), relabelled)[0])) for cells in (question, answer)
    ]
    other = Sudoku(SudokuConfig(size=9)).make("test", 2, 0)
    others = [["".join(map(str, rows[at] - 1)) for rows in (other.inputs, other.labels)] for at in (0, 1)]
    train = write_csv(tmp_path / "train.csv", *[row()] * 4)
    test = write_csv(tmp_path / "test.csv", row(*moved), row(*others[0]), row(*others[1]))
    assert Sudoku(SudokuConfig(size=9, train=train, test=test)).facts() == {"test_examples_seen_in_training": 1}


BAD_ROWS = {
    "wrong length": (row(question=QUESTION[:-1]), "question must have 81 characters, got 80"),
    "wrong digit": (row(question="x" + QUESTION[1:]), "question must hold 1 to 9 or . for a blank, got 'x' at character 1"),
    "no Latin digit": (row(question="٣" + QUESTION[1:]), "question must hold 1 to 9 or . for a blank, got '٣' at character 1"),
    "blank in the answer": (row(answer="." + ANSWER[1:]), "answer must hold 1 to 9, got '.' at character 1"),
    "given not kept": (row(question="4" + QUESTION[1:]), "answer must keep the givens, got 5 for the given 4 at row 1, column 1"),
    "answer breaks a rule": (row("." * 81, ANSWER[::-1][:-1] + "1"), "answer must hold each digit once in every row"),
    "missing column": ("test," + QUESTION, "must have 4 columns, got 2"),
}


@pytest.mark.parametrize(("bad", "rule"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named_by_file_line_and_rule(tmp_path: Path, bad: str, rule: str) -> None:
    path = write_csv(tmp_path / "bad.csv", row(), row(), bad, row(question="too short"))
    with pytest.raises(UserError) as error:
        read_sudokus(path, 9)
    assert str(error.value).startswith(f"{path}, line 4: ")
    assert rule in str(error.value)


def test_a_puzzle_with_two_solutions_is_named_by_file_and_line(tmp_path: Path) -> None:
    empty_corner = "".join("." if digit in "12" else digit for digit in ANSWER)
    path = write_csv(tmp_path / "bad.csv", row(), row(question=empty_corner), row())
    with pytest.raises(UserError) as error:
        check_guesses(read_sudokus(path, 9))
    assert str(error.value) == f"{path}, line 3: question must have one solution, got more than one"


@pytest.mark.parametrize(
    ("text", "rule"),
    [("", "must be source,question,answer,rating"), (HEADER + "\n", "has no puzzles"), ("\x00\xff", "must be source")],
)
def test_a_file_without_puzzles_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(text, encoding="latin-1" if "\xff" not in text else "utf-8")
    with pytest.raises(UserError, match=rule):
        read_sudokus(path, 9)


def test_a_file_that_changed_is_not_the_trial_s_data(tmp_path: Path) -> None:
    train, test = write_csv(tmp_path / "train.csv", *[row()] * 4), write_csv(tmp_path / "test.csv", row())
    located = SudokuConfig(size=9, train=Path("train.csv"), test=Path("test.csv")).located(tmp_path)
    assert located.train == train and located.train_sha256
    write_csv(train, *[row()] * 5)
    with pytest.raises(UserError, match="is not the file of this trial"):
        located.located(tmp_path)
    assert test.exists()


@pytest.mark.parametrize(
    ("given_settings", "rule"),
    [
        ({"validation": 0.1}, "validation has no effect where puzzles are generated"),
        ({"train": "a.csv", "test": "b.csv", "clues": [30, 40]}, "clues has no effect where puzzles come from CSV files"),
        ({"train": "a.csv"}, "train and test must be given together"),
        ({"hub": "sudoku-extreme", "train": "a.csv", "test": "b.csv"}, "hub names the files"),
        ({"hub": "sudoku-extreme", "size": 4}, "size must be 9"),
        ({"hub": "sudoku-easy", "size": 9}, "hub must be sudoku-extreme"),
        ({"size": 4, "clues": [3, 9]}, "4 <= fewest <= most"),
        ({"size": 9, "clues": [17, 20]}, "26 <= most"),
        ({"size": 9, "minimal": True, "clues": [17, 30]}, "clues has no effect where puzzles are minimal"),
        ({"size": 9, "fewest_guesses": 3}, "fewest_guesses has an effect on minimal 9x9 puzzles only"),
    ],
)
def test_settings_without_effect_or_out_of_bounds_are_refused(given_settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        SudokuConfig(**given_settings)
