"""Questions with one solution for given answers: random givens within bounds, or as few as possible (numpy only).

Shapes: N puzzles, L cells; 0 is a blank.
"""

import numpy as np

from rrm.tasks.sudoku_solver import candidates, solve

MASK_TRIES = 20  # random choices of givens that are tried before givens are removed one by one


def has_one_solution(questions: np.ndarray) -> np.ndarray:
    """Whether each question [N, L] has exactly one solution, [N]."""
    is_unique: np.ndarray = solve(candidates(questions), limit=2).count == 1
    return is_unique


def count_guesses(questions: np.ndarray) -> np.ndarray:
    """Guesses that a solver with naked and hidden singles needs to solve each question and to prove it unique, [N]."""
    return solve(candidates(questions), limit=2).guesses


def questions_within(answers: np.ndarray, fewest: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Questions [N, L] with one solution, the number of their givens drawn from fewest .. most."""
    questions = np.zeros_like(answers)
    open_rows = np.arange(len(answers))
    for _ in range(MASK_TRIES):
        count = rng.integers(fewest, most + 1, size=len(open_rows))
        kept = rng.random((len(open_rows), answers.shape[1])).argsort(axis=1).argsort(axis=1) < count[:, None]
        tried = np.where(kept, answers[open_rows], 0)
        good = has_one_solution(tried)
        questions[open_rows[good]] = tried[good]
        open_rows = open_rows[~good]
    while len(open_rows):
        dug = dig(answers[open_rows], rng.integers(fewest, most + 1, size=len(open_rows)), rng)
        good = (dug > 0).sum(axis=1) <= most
        questions[open_rows[good]] = dug[good]
        open_rows = open_rows[~good]
    return questions


def minimal_questions(answers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Questions [N, L] with one solution, which need every one of their givens for it."""
    return dig(answers, np.zeros(len(answers), dtype=np.int64), rng)


def dig(answers: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Remove givens in random order while the solution stays the only one, down to `targets` [N] givens."""
    questions, rows = answers.copy(), np.arange(len(answers))
    order = rng.random(answers.shape).argsort(axis=1)
    for cell in order.T:
        digging = np.flatnonzero((questions > 0).sum(axis=1) > targets)
        if not len(digging):
            break
        without = questions[digging]
        without[rows[: len(digging)], cell[digging]] = 0
        # The known solution remains a solution; any further solution has another digit in this cell.
        states = candidates(without)
        old = np.uint16(1) << (answers[digging, cell[digging]].astype(np.uint16) - np.uint16(1))
        states[cell[digging], rows[: len(digging)]] &= ~old
        spared = digging[solve(states, limit=1).count == 0]
        questions[spared, cell[spared]] = 0
    return questions
