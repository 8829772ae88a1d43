"""Answers of the serial tasks against plain loops over one puzzle at a time."""

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

from rrm.tasks.addition import Addition, AdditionConfig
from rrm.tasks.automaton import Automaton, AutomatonConfig
from rrm.tasks.neighbours import Neighbours, NeighboursConfig
from rrm.tasks.permutations import Permutations, PermutationsConfig
from rrm.tasks.pointer_chasing import PointerChasing, PointerChasingConfig
from rrm.tasks.prefix_sum import PrefixSum, PrefixSumConfig
from rrm.tasks.reachability import Reachability, ReachabilityConfig
from rrm.tasks.serial import FIRST, SerialTask


def prefix_sum(k: int, tokens: list[int], config: PrefixSumConfig) -> list[int]:
    total, answers = 0, []
    for bit in tokens[:k]:
        total += bit - FIRST
        answers.append(FIRST + total % 2)
    return answers


def pointer_chasing(k: int, tokens: list[int], config: PointerChasingConfig) -> list[int]:
    answers = []
    for node in range(config.nodes):
        for _ in range(k):
            node = tokens[node] - FIRST
        answers.append(node + FIRST)
    return answers


def permutations(k: int, tokens: list[int], config: PermutationsConfig) -> list[int]:
    swaps = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    cups = tokens[:5]
    for token in tokens[5 : 5 + k]:
        i, j = swaps[token - FIRST - 5]
        cups[i], cups[j] = cups[j], cups[i]
    return cups


def automaton(k: int, tokens: list[int], config: AutomatonConfig) -> list[int]:
    table = {
        (int(a), int(b), int(c)): int(bit)
        for (a, b, c), bit in zip(["111", "110", "101", "100", "011", "010", "001", "000"], f"{config.rule:08b}", strict=True)
    }
    cells = [token - FIRST for token in tokens]
    for _ in range(k):
        cells = [table[cells[i - 1], cells[i], cells[(i + 1) % len(cells)]] for i in range(len(cells))]
    return [cell + FIRST for cell in cells]


def neighbours(k: int, tokens: list[int], config: NeighboursConfig) -> list[int]:
    cells = [token - FIRST for token in tokens]
    return [(cells[i - 1] ^ cells[(i + 1) % len(cells)]) + FIRST for i in range(len(cells))]


def addition(k: int, tokens: list[int], config: AdditionConfig) -> list[int]:
    digits = config.operand_digits
    operands = [tokens[start : start + digits] for start in range(config.sum_digits, len(tokens), digits)][:k]
    total = sum(int("".join(str(digit - FIRST) for digit in reversed(operand))) for operand in operands)
    return [int(digit) + FIRST for digit in reversed(f"{total:0{config.sum_digits}d}")]


def reachability(k: int, tokens: list[int], config: ReachabilityConfig) -> list[int]:
    nodes = config.nodes
    source = tokens[:nodes].index(FIRST + 1)
    distance, queue = {source: 0}, deque([source])
    while queue:
        node = queue.popleft()
        for other in range(nodes):
            if tokens[nodes + node * nodes + other] == FIRST + 3 and other not in distance:
                distance[other] = distance[node] + 1
                queue.append(other)
    assert k in distance.values()  # the last hop is needed
    return [FIRST + (distance.get(node, 99) <= k) for node in range(nodes)]


TASKS: list[tuple[SerialTask, Callable]] = [
    (PrefixSum(PrefixSumConfig()), prefix_sum),
    (PointerChasing(PointerChasingConfig()), pointer_chasing),
    (Permutations(PermutationsConfig()), permutations),
    (Automaton(AutomatonConfig()), automaton),
    (Automaton(AutomatonConfig(rule=30, cells=11)), automaton),
    (Neighbours(NeighboursConfig()), neighbours),
    (Addition(AdditionConfig()), addition),
    (Addition(AdditionConfig(operand_digits=5, serial_steps=9, ood_serial_steps=12)), addition),
    (Reachability(ReachabilityConfig()), reachability),
    (Reachability(ReachabilityConfig(nodes=20, serial_steps=6, ood_serial_steps=15)), reachability),
]


@pytest.mark.parametrize(("task", "solve"), TASKS, ids=lambda part: getattr(part, "__name__", ""))
@pytest.mark.parametrize("split", ["train", "test", "ood"])
def test_answers_are_those_of_a_plain_loop(task: SerialTask, solve: Callable, split: str) -> None:
    examples, digits = task.make(split, 200, 3), task.config.digits  # type: ignore[arg-type]
    for inputs, labels, k in zip(examples.inputs, examples.labels, examples.difficulty["k"], strict=True):
        assert int("".join(str(token - 1) for token in inputs[:digits]), 2) == k  # k is written at the start
        expected = solve(int(k), inputs[digits:].tolist(), task.config)
        assert labels[digits : digits + len(expected)].tolist() == expected
        assert not labels[:digits].any() and not labels[digits + len(expected) :].any()


@pytest.mark.parametrize(("task", "solve"), TASKS, ids=lambda part: getattr(part, "__name__", ""))
def test_a_question_is_in_one_split_whatever_its_k(task: SerialTask, solve: Callable) -> None:
    questions = [
        set(map(bytes, task.make(split, 500, 0).inputs[:, task.config.digits :])) for split in ("train", "validation", "test")
    ]
    assert not questions[0] & questions[1] and not questions[0] & questions[2] and not questions[1] & questions[2]


def test_every_k_is_as_frequent_as_any_other() -> None:
    k = PointerChasing(PointerChasingConfig()).make("train", 4000, 0).difficulty["k"]
    assert np.abs(np.bincount(k)[1:] / 1000 - 1).max() < 0.1


@pytest.mark.parametrize(
    ("config", "settings", "rule"),
    [
        (PrefixSumConfig, {"serial_steps": 3}, "serial_steps must be 6 or more"),
        (AutomatonConfig, {"serial_steps": 8}, "less than ood_serial_steps, got 8 and 8"),
        (PointerChasingConfig, {"nodes": 8}, "nodes must be larger than ood_serial_steps"),
        (ReachabilityConfig, {"nodes": 8}, "nodes must be at least ood_serial_steps"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config: type, settings: dict, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        config(**settings)
