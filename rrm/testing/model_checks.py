"""The rules of a model that sweeps rely on, each as a function."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch

from rrm.compute import count_parameters, count_recursion, has_closed_forms, inference_flops
from rrm.config import BaseModelConfig, LossConfig
from rrm.export import NotExportable, export_program
from rrm.measure import measure_model
from rrm.models import build_model, find_models
from rrm.models import model_class as class_of
from rrm.tasks.task import PuzzleShape
from rrm.testing.require import require, require_kind
from rrm.trial_model import Batch, TrialModel

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)
ROWS, DEPTHS = 4, 3
STEPS_BEFORE_RESUME, STEPS_AFTER = 2, 2
SAME = 1e-4  # largest difference of logits that are computed in another order


@dataclass(frozen=True)
class MadeModel:
    """Settings of a model, and what its puzzles look like."""

    config: BaseModelConfig
    shape: PuzzleShape

    def build(self, seed: int = 0) -> TrialModel[Any]:
        """The model with the initial weights of a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_model(self.config, self.shape)

    def batch(self, seed: int = 0, rows: int = ROWS) -> Batch:
        """Random rows."""
        random = torch.Generator().manual_seed(seed)
        tokens = torch.randint(1, self.shape.vocabulary, (2, rows, self.shape.length), generator=random, dtype=torch.int32)
        puzzles = torch.randint(0, self.shape.num_puzzles, (rows,), generator=random, dtype=torch.int32)
        return {"inputs": tokens[0], "labels": tokens[1], "puzzle_identifiers": puzzles}

    @torch.no_grad()
    def answers(self, model: TrialModel[Any], batch: Batch) -> list[torch.Tensor]:
        """Logits at depths 1 to `DEPTHS`."""
        return [answer.logits for answer in model.eval().answer_depths(batch, DEPTHS, generator=torch.Generator().manual_seed(0))]


def check_initial_weights(made: MadeModel) -> None:
    """Initial weights are a function of torch's random state."""
    one, two = made.build().state_dict(), made.build().state_dict()
    differing = [name for name, weight in one.items() if not torch.equal(weight, two[name])]
    require(not differing, f"initial weights must follow torch's random state alone, {', '.join(differing)} differ")


def check_answer_shapes(made: MadeModel) -> None:
    """At every depth there are finite logits [B, L, V], and one confidence, change and number of steps for each row."""
    model, batch = made.build().eval(), made.batch()
    wanted = (ROWS, made.shape.length, made.shape.vocabulary)
    with torch.no_grad():
        answers = list(model.answer_depths(batch, DEPTHS))
    require(len(answers) == DEPTHS, f"answer_depths(batch, {DEPTHS}) must give {DEPTHS} answers, got {len(answers)}")
    for depth, answer in enumerate(answers, 1):
        require(answer.logits.shape == wanted, f"logits at depth {depth} must be {wanted}, got {tuple(answer.logits.shape)}")
        require(torch.isfinite(answer.logits).all(), f"logits at depth {depth} must be finite")
        for name in ("confidence_logits", "state_change", "token_change", "steps"):
            shape = tuple(getattr(answer, name).shape)
            require(shape == (ROWS,), f"{name} at depth {depth} must have a value a row, {(ROWS,)}, got {shape}")


def check_repeated_answers(made: MadeModel) -> None:
    """The same rows get the same answers again, alone or beside others."""
    model, batch = made.build(), made.batch()
    first, again = made.answers(model, batch), made.answers(model, batch)
    require(all(map(torch.equal, first, again)), "answers must follow from weights, rows and generator, a second call has others")
    if made.config.answers_at_random:
        return
    alone = made.answers(model, {name: rows[:1] for name, rows in batch.items()})
    far = max(float((one[:1] - other).abs().max()) for one, other in zip(first, alone, strict=True))
    require(far <= SAME, f"the answer to a row must not depend on other rows of its batch, logits differ by {far:.2g}")


def check_gradients(made: MadeModel) -> None:
    """Within the trained depth every parameter gets a gradient, and the loss is a finite number."""
    model, batch = made.build().train(), made.batch()
    carry = model.start_training(batch).carry
    for _ in range(made.config.trained_depth + 1):
        step = model.training_step(carry, batch, LossConfig())
        require(step.loss.ndim == 0 and bool(torch.isfinite(step.loss)), f"the loss must be one finite number, got {step.loss}")
        step.loss.backward()  # type: ignore[no-untyped-call]
        carry = step.carry
    absent = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    require(not absent, f"every parameter must get a gradient in training, {', '.join(absent)} get none: use them, or remove them")


def check_resumed_training(made: MadeModel) -> None:
    """A training that is resumed from weights, carry and random state equals one that ran through, bit for bit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = made.build().train()
        carry = _train(made, model, model.start_training(made.batch()).carry, range(STEPS_BEFORE_RESUME))
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        kept, random = model.carry_state(carry), torch.get_rng_state()
        steps = range(STEPS_BEFORE_RESUME, STEPS_BEFORE_RESUME + STEPS_AFTER)
        _train(made, model, carry, steps)
        other = made.build(seed=2).train()
        other.load_state_dict(weights)
        torch.set_rng_state(random)
        _train(made, other, other.load_carry(kept), steps)
    one, two = model.state_dict(), other.state_dict()
    differing = [name for name, weight in one.items() if not torch.equal(weight, two[name])]
    require(
        not differing,
        f"a resumed training must equal an uninterrupted one: {', '.join(differing)} differ; "
        "state that is in neither the weights nor `carry_state` is lost, and numbers must be drawn from torch's generator",
    )


def _train(made: MadeModel, model: TrialModel[Any], carry: Any, steps: range) -> Any:
    """The carry after some steps of plain gradient descent, each on rows of its own."""
    for number in steps:
        model.zero_grad()
        step = model.training_step(carry, made.batch(number), LossConfig())
        step.loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight.sub_(0.01 * weight.grad)
        carry = step.carry
    return carry


def check_counts(made: MadeModel) -> None:
    """Parameters, R and FLOPs are counted on the model, and closed forms of its settings agree with these counts."""
    config, shape = made.config, made.shape
    counted = measure_model(config, shape)
    require(counted.once >= 0, "networks() must name each network once, and none within another: parameters are counted twice")
    require(counted.answer_flops > 0 and counted.train_flops > 0, "an answer and a training step must cost FLOPs")
    if not has_closed_forms(config):
        return
    stated = count_parameters(config, shape)
    pairs = {
        "parameters outside the recursion": (stated.once, counted.once),
        "recursed parameters": (stated.recursed, counted.recursed),
        "R": (count_recursion(config, shape), counted.recursion),
        "FLOPs of a step": (inference_flops(config, shape, 1), counted.answer_flops),
    }
    for name, (closed, measured) in pairs.items():
        require(closed == measured, f"the closed form of {name} must equal what is counted, got {closed:,} and {measured:,}")


def check_fixed_depth(made: MadeModel) -> None:
    """`fixed_depth(D)` gives the logits of `answer_depths` at D."""
    if made.config.answers_at_random:
        return
    model, batch = made.build().eval(), made.batch()
    depth = made.config.trained_depth
    inputs = [batch["inputs"].long(), *([batch["puzzle_identifiers"].long()] if made.config.has_puzzle_embedding else [])]
    with torch.no_grad():
        logits = model.fixed_depth(depth)(*inputs)
        *_, last = model.answer_depths(batch, depth)
    far = float((logits - last.logits).abs().max())
    require(far <= SAME, f"fixed_depth({depth}) must give the logits of answer_depths at that depth, they differ by {far:.2g}")


MODEL_CHECKS: tuple[Callable[[MadeModel], None], ...] = (
    check_initial_weights, check_answer_shapes, check_repeated_answers, check_gradients, check_resumed_training, check_counts,
    check_fixed_depth,
)  # fmt: skip


def require_settings(model_class: type[Any], config: BaseModelConfig) -> None:
    """Raise where a sweep would build another class from these settings."""
    name = type(config).__name__
    require_kind(type(config))
    try:
        find_models([model_class])
    except TypeError as error:
        raise AssertionError(str(error)) from None
    built = type(config).built_class and class_of(type(config))
    rule = f"{model_class.__name__} must state its settings in its own class: Config = {name}"
    require(built and issubclass(built, model_class), rule)


def check_model(
    model_class: type[Any], config: BaseModelConfig, shape: PuzzleShape = SHAPE, skip: Collection[str] = ()
) -> str | None:
    """Raise where a model with these settings breaks a rule that sweeps rely on.

    Args:
        model_class: the model, which states its `Config`.
        skip: names of checks that do not apply.

    Returns:
        Why torch.export refuses the model, as one line; None where it can be exported. A sweep does not log a model that cannot be
        exported; all else works.

    Raises:
        AssertionError: the rule and the value.
    """
    require_settings(model_class, config)
    made = MadeModel(config, shape)
    reason = why_not_exportable(made)
    if reason is not None:
        skip = {*skip, check_fixed_depth.__name__}  # the module for torch.export cannot be run either
    for check in MODEL_CHECKS:
        if check.__name__ not in skip:
            check(made)
    return reason


def why_not_exportable(made: MadeModel) -> str | None:
    """The reason for which torch.export refuses a model; None where it takes it."""
    if made.config.answers_at_random:
        return "it draws random numbers when it answers, which a program cannot repeat"
    try:
        export_program(made.build())
    except NotExportable as error:
        return str(error)
    return None
