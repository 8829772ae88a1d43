"""ARC-AGI: every puzzle has a different rule, learned from its demonstrations under the puzzle's identifier (HRM and TRM papers).

Training rows are all pairs of the training tasks and the demonstrations of the evaluated ones, each drawn anew under one of
its puzzle's augmentations; a puzzle and an augmentation have an identifier, 0 is blank. An evaluated input is answered under
several augmentations (views) and the answers vote.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from rrm.config import RuleError
from rrm.errors import UserError
from rrm.files import locate
from rrm.tasks.arc_grids import SIDE, VOCABULARY, Augmentations, decode, draw_augmentations, encode
from rrm.tasks.arc_sets import NAMED, ArcTask, Pair, digest, read_set
from rrm.tasks.arc_votes import Key, key_of, mean_over_puzzles, rank
from rrm.tasks.task import BaseTaskConfig, Examples, PuzzleShape, Split, Task

CELL_BINS = (1, 10, 26, 101, 226, 401)  # cells of the output
TRIES = (1, 2)  # pass@1, pass@2
MAX_SEEN = 0.01  # largest share of the evaluated pairs that may occur in training; ARC-AGI-1 has one of 419

Sources = Annotated[tuple[str, ...], Strict(False)]


class ArcConfig(BaseTaskConfig):
    """Which sets, and how many augmentations. A source is `arc1`, `arc2` or a folder of JSON files."""

    kind: Literal["arc"] = "arc"
    """Apply the rule that a few pairs of grids show."""
    train: Sources = ("arc1",)
    """Sets of training tasks, trained on with their test pairs: `arc1`, `arc2` or folders of JSON files."""
    test: str = "arc1"
    """Set of evaluated tasks, whose demonstrations are trained on: `arc1`, `arc2` or a folder of JSON files."""
    tasks: int | None = Field(None, ge=1)
    """Largest number of training tasks, and of evaluated tasks, drawn by `seed`. Default: all."""
    validation_tasks: int = Field(40, ge=1)
    """Training tasks whose test pairs are held out for validation; at most half of the training tasks."""
    augmentations: int = Field(1000, ge=0)
    """Distinct symmetries (dihedral x colours) under which a puzzle is shown beside its original."""
    views: int | None = Field(None, ge=1)
    """Number of symmetries under which an evaluated input is answered; the answers vote. Default: 1 + augmentations."""
    translate: bool = True
    """Whether training grids lie anywhere on the canvas; otherwise in its upper left corner."""
    sources_sha256: Sources | None = None
    """Digests of the sets in `train` and `test`. They are checked where they are given, and filled in when a spec is loaded."""

    @model_validator(mode="before")
    @classmethod
    def _fill_views(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("augmentations", 1000), int):
            return {"views": 1 + given.get("augmentations", 1000)} | given
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "arc2" in self.train and self.test == "arc1":
            problem = "train arc2 holds the evaluation tasks of arc1: to evaluate arc1 train on arc1, or evaluate arc2 (test: arc2)"
            raise RuleError(problem, "train", "test")
        if not self.train:
            raise RuleError("train must name at least one of arc1, arc2 or a folder", "train")
        if self.views is not None and self.views > 1 + self.augmentations:
            rule = f"views must be at most 1 + augmentations = {1 + self.augmentations}"
            raise RuleError(f"{rule}, got {self.views}", "views", "augmentations")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.train, self.test)

    @property
    def augments(self) -> bool:
        return self.augmentations > 0 or self.translate

    @property
    def shape(self) -> PuzzleShape:
        """The number of puzzles needs the sets themselves."""
        puzzles = len(self.training_tasks()) + len(self.evaluated_tasks())
        return PuzzleShape(SIDE * SIDE, VOCABULARY, num_puzzles=1 + puzzles * (1 + self.augmentations))

    def training_tasks(self) -> list[ArcTask]:
        return self._some([task for source in self.train for task in read_set(source, "training")], 0)

    def evaluated_tasks(self) -> list[ArcTask]:
        return self._some(list(read_set(self.test, "evaluation")), 1)

    def _some(self, tasks: list[ArcTask], which: int) -> list[ArcTask]:
        if self.tasks is None or self.tasks >= len(tasks):
            return tasks
        chosen = np.random.default_rng([self.seed, which]).choice(len(tasks), size=self.tasks, replace=False)
        return [tasks[number] for number in sorted(chosen)]

    def located(self, folder: Path) -> Self:
        train, test = (
            tuple(source if source in NAMED else str(locate(folder, source)) for source in sources)
            for sources in (self.train, (self.test,))
        )
        digests = tuple(digest(source) for source in (*train, *test))
        for source, expected, actual in zip((*train, *test), self.sources_sha256 or digests, digests, strict=False):
            if expected != actual:
                raise UserError(source, f"is not the set of this trial: it is {actual}, expected {expected}")
        return self.model_copy(update={"train": train, "test": test[0], "sources_sha256": digests})

    @property
    def files_by_digest(self) -> dict[str, str]:
        return dict(zip(self.sources_sha256 or (), self.sources, strict=False))

    def relocated(self, files: Mapping[str, str]) -> Self:
        digests = self.sources_sha256 or ()
        if len(digests) != len(self.sources):
            return self
        *train, test = (files.get(digest, source) for digest, source in zip(digests, self.sources, strict=True))
        return self.model_copy(update={"train": tuple(train), "test": test})

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"train", "test"}) | {
            "sources_sha256": list(self.sources_sha256 or map(digest, self.sources))
        }


class Arc(Task):
    """See the rule in a few pairs, apply it to another input."""

    config: ArcConfig

    @property
    def grid(self) -> tuple[int, int]:
        return SIDE, SIDE

    @property
    def counts(self) -> dict[Split, int]:
        return {split: len(rows) for split, rows in self._rows.items()}

    @property
    def bins(self) -> dict[str, tuple[int, ...]]:
        return {"cells": CELL_BINS}

    def make(self, split: Split, count: int, seed: int) -> Examples:
        """The first `count` rows of a split. Nothing is drawn here: the seed of the config determines what is held out."""
        rows = self._rows[split][:count]
        inputs, labels = (
            np.stack([encode(self._augmentations[puzzle].apply(view, pair[side])) for puzzle, view, _, pair in rows])
            for side in (0, 1)
        )
        identifiers = [self._identifier(puzzle, view) for puzzle, view, _, _ in rows]
        return Examples(
            inputs,
            labels,
            unknown=labels > 0,
            puzzle_identifiers=np.array(identifiers, dtype=np.int32),
            items=np.array([item for _, _, item, _ in rows], dtype=np.int32),
            difficulty={"cells": np.array([output.size for _, _, _, (_, output) in rows], dtype=np.int32)},
        )

    def augment(self, examples: Examples, rng: np.random.Generator) -> Examples:
        """Each row under a random augmentation of its puzzle, at a random place of the canvas.

        A row of a puzzle with P training pairs stays in the upper left corner with probability 1 / P, as in the official data.
        """
        puzzles, _ = self._puzzle_and_view(examples.puzzle_identifiers)
        inputs, labels = np.empty_like(examples.inputs), np.empty_like(examples.labels)
        identifiers = examples.puzzle_identifiers.copy()
        draws, places = rng.random(len(examples)), rng.random((len(examples), 2))
        for row, puzzle in enumerate(puzzles):
            augmentations = self._augmentations[puzzle]
            view = int(rng.integers(len(augmentations)))
            pair = [augmentations.apply(view, decode(canvas)) for canvas in (examples.inputs[row], examples.labels[row])]
            offset = (0, 0)
            if self.config.translate and draws[row] >= 1 / self._training_pairs[puzzle]:
                room = SIDE + 1 - np.maximum(pair[0].shape, pair[1].shape)
                offset = (int(places[row, 0] * room[0]), int(places[row, 1] * room[1]))
            inputs[row], labels[row] = (encode(grid, offset) for grid in pair)
            identifiers[row] = self._identifier(int(puzzle), view)
        return Examples(inputs, labels, labels > 0, identifiers, examples.items, examples.difficulty)

    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        """Whether the decoded grid is the right one; what lies outside of it does not count."""
        pairs = zip(answers, examples.labels, strict=True)
        return np.array([np.array_equal(decode(answer), decode(label)) for answer, label in pairs], dtype=bool)

    def judge(self, examples: Examples, answers: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
        """pass@1 and pass@2 as ARC Prize counts them: share of a puzzle's inputs solved within so many tries, mean over puzzles."""
        ballots: dict[int, list[tuple[np.ndarray, float]]] = defaultdict(list)
        truth: dict[int, np.ndarray] = {}
        owner: dict[int, int] = {}
        puzzles, views = self._puzzle_and_view(examples.puzzle_identifiers)
        for row, item in enumerate(examples.items.tolist()):
            puzzle, view = int(puzzles[row]), int(views[row])
            undo = self._augmentations[puzzle].undo
            ballots[item].append((undo(view, decode(answers[row])), float(confidence[row])))
            truth[item], owner[item] = undo(view, decode(examples.labels[row])), puzzle
        scores = super().judge(examples, answers, confidence)
        ranked = {item: rank(votes) for item, votes in ballots.items()}
        for tries in TRIES:
            solved = {item: any(np.array_equal(grid, truth[item]) for grid in grids[:tries]) for item, grids in ranked.items()}
            scores[f"pass_at_{tries}"] = mean_over_puzzles(solved, owner)
        return scores

    def facts(self) -> dict[str, int]:
        return {"test_examples_seen_in_training": self._seen}

    # A row is (puzzle, view, item, pair). Numbers of puzzles begin with the training tasks.

    @cached_property
    def _tasks(self) -> list[ArcTask]:
        return self.config.training_tasks() + self.config.evaluated_tasks()

    @cached_property
    def _held_out(self) -> set[int]:
        """Numbers of the training tasks whose test pairs are for validation."""
        count = len(self.config.training_tasks())
        order = np.random.default_rng([self.config.seed, 2]).permutation(count)
        return set(order[: min(self.config.validation_tasks, max(1, count // 2))].tolist())

    @cached_property
    def _rows(self) -> dict[Split, list[tuple[int, int, int, Pair]]]:
        trained: list[tuple[int, Pair]] = []
        validated: list[tuple[int, Pair]] = []
        evaluated: list[tuple[int, Pair]] = []
        for puzzle, task in enumerate(self._tasks):
            trained += [(puzzle, pair) for pair in task.demonstrations]
            if puzzle >= len(self.config.training_tasks()):
                evaluated += [(puzzle, pair) for pair in task.tests]
            else:
                (validated if puzzle in self._held_out else trained).extend((puzzle, pair) for pair in task.tests)
        self._refuse_leak([pair for _, pair in trained + validated], [pair for _, pair in evaluated])
        views = self.config.views or 1
        return {
            "train": [(puzzle, 0, item, pair) for item, (puzzle, pair) in enumerate(trained)],
            "validation": [(puzzle, 0, item, pair) for item, (puzzle, pair) in enumerate(validated)],
            "test": [
                (puzzle, view, item, pair)
                for view in range(views)
                for item, (puzzle, pair) in enumerate(evaluated)
                if view < len(self._augmentations[puzzle])
            ],
        }

    def _refuse_leak(self, trained: list[Pair], evaluated: list[Pair]) -> None:
        known = {_key(pair) for pair in trained}
        self._seen = sum(_key(pair) in known for pair in evaluated)
        if self._seen > max(1, MAX_SEEN * len(evaluated)):
            raise UserError("task.train", f"must not hold what is evaluated: {self._seen} of {len(evaluated)} test pairs are in it")

    @cached_property
    def _augmentations(self) -> list[Augmentations]:
        return [
            draw_augmentations(
                [grid for pair in task.demonstrations + task.tests for grid in pair],
                self.config.augmentations,
                np.random.default_rng([self.config.seed, 3, puzzle]),
            )
            for puzzle, task in enumerate(self._tasks)
        ]

    @cached_property
    def _training_pairs(self) -> Counter[int]:
        """How many training rows each puzzle has."""
        return Counter(puzzle for puzzle, _, _, _ in self._rows["train"])

    def _identifier(self, puzzle: int, view: int) -> int:
        return 1 + puzzle * (1 + self.config.augmentations) + view

    def _puzzle_and_view(self, identifiers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.divmod(identifiers - 1, 1 + self.config.augmentations)


def _key(pair: Pair) -> tuple[Key, ...]:
    return tuple(map(key_of, pair))
