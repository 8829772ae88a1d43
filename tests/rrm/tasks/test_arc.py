import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from rrm.errors import UserError
from rrm.tasks.arc import Arc, ArcConfig, mean_over_puzzles, rank
from rrm.tasks.arc_grids import END, FIRST_COLOUR, SIDE, decode, draw_augmentations, encode
from rrm.tasks.arc_sets import read_set
from rrm.tasks.task import Examples

GRIDS = st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 9)))
SMALL: dict[str, Any] = {"tasks": 12, "validation_tasks": 4, "augmentations": 8, "views": 5}


@pytest.mark.parametrize(("name", "inputs"), [("arc1", 419), ("arc2", 167)])
def test_every_public_evaluation_input_survives_augmentation_and_encoding(name: str, inputs: int) -> None:
    grids = [one for task in read_set(name, "evaluation") for one, _ in task.tests]
    assert len(grids) == inputs
    rng = np.random.default_rng(0)
    for grid in grids:
        augmentations = draw_augmentations([grid], 20, rng)
        for number in range(len(augmentations)):
            again = augmentations.undo(number, decode(encode(augmentations.apply(number, grid))))
            assert np.array_equal(again, grid)


@given(GRIDS, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_grid_survives_augmentation_and_encoding(grid: np.ndarray, seed: int) -> None:
    augmentations = draw_augmentations([grid], 30, np.random.default_rng(seed))
    images = [augmentations.apply(number, grid) for number in range(len(augmentations))]
    assert len({(image.shape, image.tobytes()) for image in images}) == len(images)  # each looks different
    for number, image in enumerate(images):
        assert np.array_equal(augmentations.undo(number, decode(encode(image))), grid)


def test_a_puzzle_that_is_symmetric_has_fewer_augmentations() -> None:
    assert len(draw_augmentations([np.zeros((3, 3), dtype=np.uint8)], 100, np.random.default_rng(0))) == 1
    assert len(draw_augmentations([np.full((2, 2), 5, dtype=np.uint8)], 100, np.random.default_rng(0))) == 9  # one a colour
    assert len(draw_augmentations([np.arange(9, dtype=np.uint8).reshape(3, 3)], 100, np.random.default_rng(0))) == 101


def test_a_grid_is_framed_where_the_frame_fits() -> None:
    canvas = encode(np.array([[3, 4]], dtype=np.uint8), offset=(1, 2)).reshape(SIDE, SIDE)
    assert canvas[1, 2:5].tolist() == [3 + FIRST_COLOUR, 4 + FIRST_COLOUR, END] and canvas[2, 2:5].tolist() == [END, END, 0]
    assert canvas.sum() == 7 + 2 * FIRST_COLOUR + 3 * END
    assert (encode(np.ones((SIDE, SIDE), dtype=np.uint8)) == 1 + FIRST_COLOUR).all()


@pytest.mark.parametrize(
    ("rows", "shape"),
    [(["0"], (0, 0)), (["220", "22"], (2, 2)), (["2222", "2"], (1, 4)), (["22", "22", "2", "2", "2"], (5, 1)), (["12"], (0, 0))],
)
def test_an_answer_is_the_largest_rectangle_of_colours_at_the_corner(rows: list[str], shape: tuple[int, int]) -> None:
    canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for number, row in enumerate(rows):
        canvas[number, : len(row)] = [int(token) for token in row]
    assert decode(canvas.ravel()).size == shape[0] * shape[1]
    if shape[0]:
        assert decode(canvas.ravel()).shape == shape


def test_votes_are_ranked_by_count_and_then_by_confidence() -> None:
    a, b, c = (np.full((1, 2), colour, dtype=np.uint8) for colour in (1, 2, 3))
    # a: 2 votes, mean .5; b: 2 votes, mean .6; c: 1 vote, .9
    votes = [(a, 0.9), (b, 0.6), (c, 0.9), (a, 0.1), (b, 0.6)]
    assert [int(grid[0, 0]) for grid in rank(votes)] == [2, 1, 3]
    # Of one colour but of another shape is another answer.
    assert len(rank([(a, 0.5), (a.T, 0.5)])) == 2


def test_the_score_of_a_hand_computed_case() -> None:
    """Puzzle 0 has two inputs (items 0 and 1), puzzle 1 has one (item 2); three views each.

    Item 0: right twice of three: first by votes. Item 1: right once with .9, two different wrong ones with .5 and .8: first
    by confidence. Item 2: wrong twice, right once: second. pass@1 = (2/2 + 0/1) / 2 = .5, pass@2 = (2/2 + 1/1) / 2 = 1.
    """
    task = Arc(ArcConfig(tasks=2, validation_tasks=1, augmentations=8, views=3))
    two = next(number for number, one in enumerate(task._tasks) if number >= 2)
    one = two + 1
    rng = np.random.default_rng(0)
    truth = {item: rng.integers(0, 10, size=(3, 4), dtype=np.uint8) for item in range(3)}
    wrong = {which: rng.integers(0, 10, size=(2, 2), dtype=np.uint8) for which in "xy"}
    rows = [
        (two, 0, 0, truth[0], 0.2), (two, 1, 0, truth[0], 0.2), (two, 2, 0, wrong["x"], 0.9),
        (two, 0, 1, wrong["x"], 0.5), (two, 1, 1, truth[1], 0.9), (two, 2, 1, wrong["y"], 0.8),
        (one, 0, 2, wrong["x"], 0.1), (one, 1, 2, wrong["x"], 0.1), (one, 2, 2, truth[2], 0.99),
    ]  # fmt: skip

    def canvas(puzzle: int, view: int, grid: np.ndarray) -> np.ndarray:
        return encode(task._augmentations[puzzle].apply(view, grid))

    labels = np.stack([canvas(puzzle, view, truth[item]) for puzzle, view, item, _, _ in rows])
    answers = np.stack([canvas(puzzle, view, grid) for puzzle, view, _, grid, _ in rows])
    identifiers = np.array([task._identifier(puzzle, view) for puzzle, view, _, _, _ in rows])
    examples = Examples(labels, labels, labels > 0, identifiers, np.array([row[2] for row in rows]), {})
    scores = task.judge(examples, answers, np.array([row[4] for row in rows]))
    assert scores == {"valid_accuracy": pytest.approx(4 / 9), "pass_at_1": 0.5, "pass_at_2": 1.0}


def test_every_puzzle_counts_alike_however_many_inputs_it_has() -> None:
    assert mean_over_puzzles({0: True, 1: False, 2: False, 3: True}, {0: 0, 1: 0, 2: 0, 3: 1}) == pytest.approx((1 / 3 + 1) / 2)


def test_augmented_rows_show_their_puzzle_under_the_identifier_s_symmetry() -> None:
    task = Arc(ArcConfig(**SMALL))
    examples = task.make("train", 60, 0)
    augmented = task.augment(examples, np.random.default_rng(0))
    puzzles, views = task._puzzle_and_view(augmented.puzzle_identifiers)
    assert np.array_equal(puzzles, task._puzzle_and_view(examples.puzzle_identifiers)[0]) and len(set(views.tolist())) > 3
    moved = 0
    for row, (puzzle, view) in enumerate(zip(puzzles, views, strict=True)):
        for plain, canvas in ((examples.inputs, augmented.inputs), (examples.labels, augmented.labels)):
            expected = task._augmentations[puzzle].apply(int(view), decode(plain[row]))
            tokens = canvas[row].reshape(SIDE, SIDE)
            down, right = (int((tokens > 0).any(axis=axis).argmax()) for axis in (1, 0))
            moved += down + right > 0
            assert np.array_equal(canvas[row], encode(expected, (down, right)))
    assert moved > 20


def test_demonstrations_of_evaluated_puzzles_are_trained_on_and_their_tests_are_not() -> None:
    task = Arc(ArcConfig(**SMALL))
    rows = task._rows
    evaluated = {puzzle for puzzle, _, _, _ in rows["test"]}
    assert len(evaluated) == 12 and evaluated <= {puzzle for puzzle, _, _, _ in rows["train"]}
    pairs = {split: {(pair[0].tobytes(), pair[1].tobytes()) for _, _, _, pair in rows[split]} for split in rows}
    assert not pairs["train"] & pairs["test"] and not pairs["train"] & pairs["validation"]
    assert task.counts["test"] > 4 * len(
        {item for _, _, item, _ in rows["test"]}
    )  # five views, fewer where a puzzle has not so many


def test_arc1_s_evaluation_is_refused_where_arc2_is_trained_on() -> None:
    with pytest.raises(ValidationError, match="train arc2 holds the evaluation tasks of arc1"):
        ArcConfig(train=("arc2",), test="arc1")
    assert ArcConfig(train=("arc1",), test="arc2") and ArcConfig(train=("arc2",), test="arc2")


def task_file(folder: Path, name: str, **changes: Any) -> Path:
    pair = {"input": [[1, 2], [3, 4]], "output": [[4, 3], [2, 1]]}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"train": [pair, pair], "test": [{"input": [[5]], "output": [[len(name) % 10]]}]} | changes))
    return path


def test_a_folder_of_json_files_is_a_set(tmp_path: Path) -> None:
    for concept in ("Above", "Below"):
        for number in (1, 22, 333):
            task_file(tmp_path / concept, f"{concept}{number}")
    located = ArcConfig(test=tmp_path.name, tasks=4, augmentations=2, validation_tasks=1).located(tmp_path.parent)
    task = Arc(located)
    assert task.counts["test"] == 4 * 3  # a test pair each, three views
    assert task.config.shape.num_puzzles == 1 + 8 * 3
    examples = task.make("test", 99, 0)
    assert task.judge(examples, examples.labels, np.ones(12))["pass_at_1"] == 1


def test_a_copy_of_the_evaluated_tasks_in_training_is_refused(tmp_path: Path) -> None:
    for number in range(5):
        task_file(tmp_path / "copy", "x" * (number + 1))
    with pytest.raises(UserError, match=r"task.train: must not hold what is evaluated: 5 of 5 test pairs are in it"):
        _ = Arc(ArcConfig(train=(str(tmp_path / "copy"),), test=str(tmp_path / "copy"), validation_tasks=1, augmentations=0)).counts


GOOD = {"input": [[1]], "output": [[2]]}
BAD_TASKS = {
    "ragged": (
        {"train": [GOOD, {"input": [[1, 2], [3]], "output": [[1]]}]},
        "train pair 2 input row 2: must be as long as row 1 (2), got 1",
    ),
    "colour 10": ({"train": [{"input": [[1, 10]], "output": [[1]]}]}, "train pair 1 input row 1: must hold colours 0 to 9, got 10"),
    "31 wide": (
        {"test": [{"input": [[1]], "output": [[0] * 31]}]},
        "test pair 1 output row 1: must have at most 30 colours, got 31",
    ),
    "31 high": ({"test": [{"input": [[1]] * 31, "output": [[0]]}]}, "test pair 1 input: must have at most 30 rows, got 31"),
    "no output": ({"test": [{"input": [[1]]}]}, "test pair 1: must be an object with the keys input and output"),
    "no pairs": ({"train": []}, "train: must be a list of pairs, at least one"),
    "text": ({"train": [{"input": "12", "output": [[1]]}]}, "train pair 1 input: must be a list of rows"),
    "true": ({"train": [{"input": [[True]], "output": [[1]]}]}, "must hold colours 0 to 9, got True"),
}


@pytest.mark.parametrize(("changes", "rule"), BAD_TASKS.values(), ids=BAD_TASKS.keys())
def test_a_bad_task_is_named_by_file_pair_row_and_rule(tmp_path: Path, changes: dict, rule: str) -> None:
    path = task_file(tmp_path, "bad", **changes)
    with pytest.raises(UserError) as error:
        read_set(str(tmp_path), "evaluation")
    assert str(error.value).startswith(str(path)) and rule in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "rule"), [("", "is empty"), ("{", "is not JSON"), ("[]", "must hold an object with the keys train and test")]
)
def test_a_file_that_holds_no_task_is_refused(tmp_path: Path, content: str, rule: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(UserError, match=rule):
        read_set(str(tmp_path), "training")


def test_a_folder_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder of ARC tasks, and not one of arc1, arc2"):
        ArcConfig(test="nowhere").located(tmp_path)
    with pytest.raises(UserError, match=r"has no .json files"):
        ArcConfig(test=".").located(tmp_path)


def test_a_set_that_changed_is_not_the_trial_s_data(tmp_path: Path) -> None:
    task_file(tmp_path / "set", "one")
    located = ArcConfig(test="set").located(tmp_path)
    assert located.test == str(tmp_path / "set")
    other = located.model_copy(update={"sources_sha256": (*located.sources_sha256[:-1], "0" * 64)})  # type: ignore[index]
    with pytest.raises(UserError, match="is not the set of this trial"):
        other.located(tmp_path)
