"""The answers of a model by depth: what is read, how tasks are drawn, the animation."""

import itertools
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from analysis.data.tables import Tables
from analysis.figures.thinking import draw_steps, find_thought, look_of, pages_data, write_gif
from tests.analysis.conftest import thinking_file


def of(tables: Tables, content: bytes) -> Tables:
    return replace(tables, read_files=lambda name, trials: [(trial, content) for trial in trials or ()])


def test_the_first_seed_of_the_best_cell_on_validation_is_shown(rich: Tables) -> None:
    thought = find_thought(of(rich, thinking_file()))
    assert thought is not None and thought.trial == "width 32, T 1, n 5, N_sup 4, state reset carry, seed 0"
    assert thought.depths == [0, 1, 2, 3]
    assert thought.tokens(0, 0).tolist() == [1, 2, 3, 1, 1, 1] and thought.tokens(0, 3).tolist() == thought.labels[0].tolist()
    assert [int(thought.is_right(0, depth).sum()) for depth in thought.depths] == [0, 1, 2, 3]


def test_a_table_without_files_of_answers_has_none(tables: Tables) -> None:
    assert find_thought(tables) is None


@pytest.mark.parametrize(("kind", "token", "text", "colour"), [
    ("sudoku", 1, "", "#ffffff"), ("sudoku", 5, "4", "#ffffff"), ("maze", 3, "S", "#ffffff"), ("maze", 1, "", "#444444"),
    ("arc", 2, "", "#000000"), ("arc", 0, "", "#ffffff"), ("automaton", 7, "7", "#ffffff"),
])  # fmt: skip
def test_a_token_is_drawn_as_people_know_the_task(kind: str, token: int, text: str, colour: str) -> None:
    look = look_of(kind, token)
    assert (look.text, look.colour) == (text, colour)


@pytest.mark.parametrize(("kind", "grid"), [
    ("sudoku", (4, 4)), ("maze", (5, 5)), pytest.param("arc", (30, 30), marks=pytest.mark.more), ("automaton", (1, 12)),
])  # fmt: skip
def test_an_animation_has_a_frame_for_the_puzzle_and_each_depth(tables: Tables, kind: str, grid: tuple[int, int]) -> None:
    thought = find_thought(of(tables, thinking_file(kind, grid)))
    assert thought is not None
    with Image.open(BytesIO(write_gif(thought))) as gif:
        frames = [np.asarray(gif.convert("RGB")) for number in range(gif.n_frames) if gif.seek(number) is None]
    assert len(frames) == 4 and all((a != b).any() for a, b in itertools.pairwise(frames))


def test_many_depths_are_thinned_out_evenly_and_the_last_one_stays(tables: Tables) -> None:
    thought = find_thought(of(tables, thinking_file(steps=200)))
    assert thought is not None and len(thought.depths) == 64 and (thought.depths[0], thought.depths[-1]) == (0, 200)
    assert len(pages_data(thought)["puzzles"][0]["frames"]) == 64  # type: ignore[index]


def test_what_each_step_fixes_and_breaks_is_drawn(tables: Tables) -> None:
    thought = find_thought(of(tables, thinking_file()))
    assert thought is not None
    fixed, broken = draw_steps(thought).series
    assert (fixed.y, broken.y) == ([2, 2, 2], [0, 0, 0])
