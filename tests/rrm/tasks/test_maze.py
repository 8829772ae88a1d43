from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rrm.errors import UserError
from rrm.tasks.maze import GOAL, OPEN, PATH, START, WALL, Maze, MazeConfig, dihedral, dihedral_hash, draw_mazes, read_mazes
from rrm.tasks.task import Examples

HEADER = "source,question,answer,rating"
QUESTION = "S ##" + "# ##" + "#  G" + "####"
ANSWER = "So##" + "#o##" + "#ooG" + "####"


def shortest_paths(cells: np.ndarray) -> tuple[int, int]:
    """Length and number of the shortest paths from S to G, by breadth-first search over single cells."""
    (start,), (goal,) = (list(zip(*np.nonzero(cells == token), strict=True)) for token in (START, GOAL))
    distance, ways, queue = {start: 0}, {start: 1}, deque([start])
    while queue:
        row, column = here = queue.popleft()
        for there in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= there[0] < len(cells) and 0 <= there[1] < len(cells)
            if not inside or cells[there] not in (OPEN, GOAL):
                continue
            if there not in distance:
                distance[there], ways[there] = distance[here] + 1, 0
                queue.append(there)
            if distance[there] == distance[here] + 1:
                ways[there] += ways[here]
    return distance[goal], ways[goal]


@given(st.integers(4, 14), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_maze_has_one_shortest_path_and_it_is_the_one_marked(size: int, seed: int) -> None:
    mazes, paths, lengths = draw_mazes(5, size, 2, size * size, np.random.default_rng(seed))
    for maze, path, length in zip(mazes, paths, lengths, strict=True):
        assert shortest_paths(maze) == (length, 1)
        assert path.sum() == length - 1 and (maze[path] == OPEN).all()
        # Without the path there is no way of this length, so the path is it.
        blocked = np.where(path & (np.arange(path.size) == path.ravel().argmax()).reshape(path.shape), WALL, maze)
        with suppress(KeyError):  # no way at all is left
            assert shortest_paths(blocked)[0] > length


def test_path_lengths_lie_within_the_window() -> None:
    task = Maze(MazeConfig(size=9, path_length=(6, 12)))
    for split in ("train", "validation", "test"):
        length = task.make(split, 200, 0).difficulty["path_length"]  # type: ignore[arg-type]
        assert length.min() >= 6 and length.max() <= 12
    assert task.make("ood", 200, 0).difficulty["path_length"].max() > 12


def test_mazes_that_do_not_exist_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^task: must allow more puzzles, got 0 of [\d,]+ drawn: allow easier or shorter ones"):
        Maze(MazeConfig(size=4, path_length=(12, 12), ood_examples=0)).make("test", 100, 0)


def test_splits_share_no_maze_under_any_turn_or_mirror() -> None:
    """4 x 4 mazes are so few that a split by chance would share some."""
    task = Maze(MazeConfig(size=4, ood_examples=0))
    hashes = [
        set(dihedral_hash(task.make(split, 2000, 0).inputs.reshape(-1, 4, 4)).tolist()) for split in ("train", "validation", "test")
    ]  # type: ignore[arg-type]
    assert not hashes[0] & hashes[1] and not hashes[0] & hashes[2] and not hashes[1] & hashes[2]


def test_the_eight_images_have_one_hash() -> None:
    cells = Maze(MazeConfig(size=7, ood_examples=0)).make("train", 50, 0).inputs.reshape(-1, 7, 7)
    images = dihedral(cells)
    assert len({image.tobytes() for image in images}) == 8
    assert all(np.array_equal(dihedral_hash(image), dihedral_hash(cells)) for image in images)
    assert len(np.unique(dihedral_hash(cells))) == 50


def answered(answer: str) -> bool:
    codes = {"#": WALL, " ": OPEN, "S": START, "G": GOAL, "o": PATH}
    question, given_answer = (np.array([[codes[character] for character in text]], dtype=np.uint8) for text in (QUESTION, answer))
    task = Maze(MazeConfig(size=4, ood_examples=0))
    return bool(task.score(Examples.single(question, given_answer, question == OPEN, {}), given_answer)[0])


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        (ANSWER, True),
        (ANSWER.replace("o", " ", 1), False),  # a gap
        ("So##" + "#o##" + "#oo " + "####", False),  # no goal
        ("So#o" + "#o##" + "#ooG" + "####", False),  # through a wall
        ("S ##" + "# ##" + "#  G" + "####", False),  # nothing marked
    ],
)
def test_only_a_connected_shortest_path_is_valid(answer: str, valid: bool) -> None:
    assert answered(answer) == valid


def test_another_shortest_path_is_valid_too() -> None:
    question = np.array([[START, OPEN, OPEN, OPEN, WALL, OPEN, OPEN, OPEN, GOAL]], dtype=np.uint8)
    task = Maze(MazeConfig.model_construct(size=3, ood_size=None))
    for answer in (
        [START, PATH, PATH, OPEN, WALL, PATH, OPEN, OPEN, GOAL],
        [START, OPEN, OPEN, PATH, WALL, OPEN, PATH, PATH, GOAL],
    ):
        examples = Examples.single(question, np.array([answer]), question == OPEN, {})
        assert task.score(examples, examples.labels).all()


def write_csv(path: Path, *rows: tuple[str, str]) -> Path:
    path.write_text("\n".join([HEADER, *(f"maze,{question},{answer},3" for question, answer in rows)]) + "\n")
    return path


def test_mazes_are_read_from_files(tmp_path: Path) -> None:
    turned = "".join("".join(row) for row in np.rot90(np.array(list(QUESTION)).reshape(4, 4)))
    turned_answer = "".join("".join(row) for row in np.rot90(np.array(list(ANSWER)).reshape(4, 4)))
    train = write_csv(tmp_path / "train.csv", *[(QUESTION, ANSWER)] * 3)
    test = write_csv(tmp_path / "test.csv", (turned, turned_answer))
    task = Maze(MazeConfig(size=4, train=train, test=test))
    assert task.counts == {"train": 2, "validation": 1, "test": 1}
    examples = task.make("train", 9, 0)
    assert examples.difficulty["path_length"].tolist() == [5, 5] and task.score(examples, examples.labels).all()
    assert task.facts() == {"test_examples_seen_in_training": 1}  # it is the same maze, turned


@pytest.mark.parametrize(
    ("question", "answer", "rule"),
    [
        (QUESTION[1:], ANSWER, "question must have 16 characters, got 15"),
        (QUESTION.replace("G", "x"), ANSWER, "question must hold '#' ' ' 'S' 'G', got 'x' at character 12"),
        (QUESTION.replace("G", " "), ANSWER, "question must hold one G, got 0"),
        (
            QUESTION,
            ANSWER.replace("#", " ", 1),
            "answer must repeat the question but for the path, and does not at row 1, column 3",
        ),
        (QUESTION, ANSWER.replace("o", " ", 1), "answer must mark a shortest path from S to G"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_rule(tmp_path: Path, question: str, answer: str, rule: str) -> None:
    path = write_csv(tmp_path / "bad.csv", (QUESTION, ANSWER), (question, answer))
    with pytest.raises(UserError) as error:
        read_mazes(path, 4)
    assert str(error.value).startswith(f"{path}, line 3: {rule}")


@pytest.mark.parametrize(
    ("given_settings", "rule"),
    [
        ({"ood_size": 9}, "ood_size must be larger than size"),
        ({"ood_size": 13, "ood_examples": 0}, "ood_size has no effect with ood_examples 0"),
        ({"path_length": (9, 3)}, "path_length must be"),
        ({"hub": "maze-30x30-hard"}, "size must be 30"),
        ({"train": "a.csv", "test": "b.csv", "ood_size": 12}, "ood_size has no effect where puzzles come from CSV files"),
    ],
)
def test_settings_without_effect_or_out_of_bounds_are_refused(given_settings: dict, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        MazeConfig(**given_settings)
