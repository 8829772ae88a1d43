"""`Reasoner`: what every recursive model shares: slots, carry, halting, gradient horizon, embedding and heads.

A *slot* is a row of the batch. An example enters a slot, stays for some supervision steps (each is one call and one
optimizer step) and leaves the slot when it halts. The slot then takes the row at its place in the next batch. A batch's
rows at the places of slots that are in use are dropped, as in the official code.

Legend: T cycles a supervision step, n latent updates a cycle, N_sup supervision steps, z_H answer state, z_L latent
state. Shapes: B slots, L grid length, P prefix length, S = P + L, D hidden size, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch._higher_order_ops import scan

from rrm.config import AnyModelConfig, Cycles, LossConfig
from rrm.layers import (
    BlockStack,
    Embedding,
    Linear,
    PuzzleEmbedding,
    Rotary,
    truncated_normal_,
    truncated_normal_quantile,
)
from rrm.losses import supervision_loss
from rrm.outputs import Outputs
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Batch, DepthAnswer, TrainingStart, TrainingStep, TrialModel, puzzle_batch

NO_ANSWER = -1  # in `Carry.answer`: the row has no answer yet


class State(NamedTuple):
    """The state of a supervision step; a model with a single state has the same tensor in both places."""

    z_H: Tensor  # [B, S, D]
    z_L: Tensor  # [B, S, D]


# One network call, given the state, the embedded inputs [B, S, D], and the source of noise (torch's global one where None).
Call = Callable[[State, Tensor, Generator | None], State]


@dataclass(frozen=True)
class Carry:
    """The slots between two calls."""

    z_H: Tensor  # [B, S, D]
    z_L: Tensor  # [B, S, D]
    steps: Tensor  # [B] supervision steps that the row in the slot has had
    halted: Tensor  # [B] the slot takes a new row at the next call
    answer: Tensor  # [B, L] tokens of the answer at the step before; kept by models whose medium is tokens
    current: Batch  # the rows in the slots

    def apply(self, change: Callable[[Tensor], Tensor]) -> "Carry":
        """The same carry with every tensor changed (moved, or cut down to some slots)."""
        tensors = {name: change(value) for name, value in vars(self).items() if name != "current"}
        return Carry(**tensors, current={name: change(rows) for name, rows in self.current.items()})


class Reasoner(TrialModel[Carry], ABC):
    """A model that improves an answer over supervision steps; a subclass defines the network calls of one step."""

    config: AnyModelConfig

    def __init__(self, config: AnyModelConfig, shape: PuzzleShape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.length = config.prefix_length + shape.length
        size = config.hidden_size
        self.embed_scale: float = size**0.5
        self.embed_tokens = Embedding(shape.vocabulary, size, std=1 / self.embed_scale)
        if config.puzzle_embedding_size:
            self.puzzle_emb = PuzzleEmbedding(shape.num_puzzles, config.puzzle_embedding_size)
        if config.positions == "learned":
            self.embed_pos = Embedding(self.length, size, std=1 / self.embed_scale)
        self.rotary = Rotary(self.length, config.head_size) if config.positions == "rotary" else None
        self.lm_head = Linear(size, shape.vocabulary)
        self.q_head = Linear(size, 2, bias=True)
        nn.init.zeros_(self.q_head.weight)
        nn.init.constant_(self.q_head.bias, -5.0)  # at first no row halts
        for name in self._initial_names():
            self._add_initial(name)

    def build_network(self, layers: int) -> BlockStack:
        """A network of this model's width and mixer."""
        return BlockStack(self.config, self.length, layers)

    @abstractmethod
    def calls(self, cycles: Cycles) -> Sequence[Call]:
        """The network calls of one supervision step, in order, at this T and n."""

    def forward(
        self, carry: Carry, batch: Batch, cycles: Cycles | None = None, generator: Generator | None = None
    ) -> tuple[Carry, Outputs]:
        """One supervision step for every slot: new rows enter, the state is refined, rows halt.

        Args:
            cycles: T and n; the config's where absent.
            generator: source of noise and random states; torch's global one where absent.
        """
        carry, outputs = self.think(self.enter(carry, batch, generator), cycles, generator)
        halted = self.halt(carry.steps, outputs)
        if self.training and self.config.halting == "act_continue" and self.config.trained_depth > 1:
            outputs = replace(outputs, target_q_continue=self._continue_target(carry, cycles, generator))
        return replace(carry, halted=halted), outputs

    def initial_carry(self, batch: Batch, generator: Generator | None = None) -> Carry:
        """Slots that are all free: the next call fills them with `batch`'s rows and the initial state."""
        inputs = batch["inputs"]
        z_H, z_L = self.initial_state(inputs.shape[0], generator)
        return Carry(
            z_H,
            z_L,
            steps=torch.zeros(inputs.shape[0], dtype=torch.int32, device=inputs.device),
            halted=torch.ones(inputs.shape[0], dtype=torch.bool, device=inputs.device),
            answer=torch.full_like(inputs, NO_ANSWER),
            current={name: torch.zeros_like(rows) for name, rows in batch.items()},
        )

    def enter(self, carry: Carry, batch: Batch, generator: Generator | None = None) -> Carry:
        """Halted slots take a new row and the initial state."""
        free = carry.halted
        initial = self.initial_state(free.shape[0], generator)
        return Carry(
            z_H=torch.where(free[:, None, None], initial.z_H, carry.z_H),
            z_L=torch.where(free[:, None, None], initial.z_L, carry.z_L),
            steps=torch.where(free, 0, carry.steps),
            halted=torch.zeros_like(free),
            answer=torch.where(free[:, None], NO_ANSWER, carry.answer),
            current={
                name: torch.where(free.view(-1, *[1] * (rows.ndim - 1)), batch[name], rows) for name, rows in carry.current.items()
            },
        )

    def think(self, carry: Carry, cycles: Cycles | None = None, generator: Generator | None = None) -> tuple[Carry, Outputs]:
        """One supervision step for the rows in the slots; `halt` decides which rows leave."""
        state = self.refine(self.between_steps(carry, generator), self.embed(carry.current, carry.answer), cycles, generator)
        outputs = self.answer(state)
        answer = outputs.logits.argmax(-1).to(carry.answer.dtype) if self.config.medium == "tokens" else carry.answer
        state = State(state.z_H.detach(), state.z_L.detach())
        return replace(carry, z_H=state.z_H, z_L=state.z_L, steps=carry.steps + 1, answer=answer), outputs

    def between_steps(self, carry: Carry, generator: Generator | None = None) -> State:
        """All changes of the state between two supervision steps of one example: reset and noise."""
        state, again = State(carry.z_H, carry.z_L), (carry.steps > 0)[:, None, None]
        if self.config.state_reset not in {None, "carry"}:
            initial = self.initial_state(carry.steps.shape[0], generator)
            reset_answer = self.config.state_reset in {"answer", "all"}
            reset_latent = self.config.state_reset in {"latent", "all"}
            z_H = torch.where(again, initial.z_H, state.z_H) if reset_answer else state.z_H
            z_L = torch.where(again, initial.z_L, state.z_L) if reset_latent else state.z_L
            state = State(z_H, z_H if self.config.single_state else z_L)
        if self._noise_at("carry"):
            z_H = torch.where(again, self._noisy(state.z_H, generator), state.z_H)
            z_L = z_H if self.config.single_state else torch.where(again, self._noisy(state.z_L, generator), state.z_L)
            state = State(z_H, z_L)
        return state

    def refine(self, state: State, x: Tensor, cycles: Cycles | None = None, generator: Generator | None = None) -> State:
        """One supervision step on embedded inputs x [B, S, D]; the last calls are differentiated, their number is in the config."""
        cycles = cycles or self.config.cycles
        calls = self.calls(cycles)
        first_graded = len(calls) - self.config.graded_calls(cycles)
        for number, call in enumerate(calls):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= first_graded):
                state = call(state, x, generator)
        return state

    def apply_network(
        self, network: BlockStack, state: Tensor, injected: Tensor | None, generator: Generator | None = None
    ) -> Tensor:
        """One network call on a state [B, S, D], to which `injected` is added; noise and damping act here."""
        if self._noise_at("call"):
            state = self._noisy(state, generator)
        refined: Tensor = network(state if injected is None else state + injected, self.rotary)
        damping = self.config.damping
        return damping * state + (1 - damping) * refined if damping else refined

    def embed(self, rows: Batch, answer: Tensor) -> Tensor:
        """Embedded inputs [B, S, D]: the puzzle's vector in the prefix, then the grid.

        Where the medium is tokens, the answer of the step before is embedded with the same table and added to the grid.
        """
        x = self.embed_tokens(rows["inputs"].int())
        if self.config.medium == "tokens":
            embedded = self.embed_tokens(answer.clamp_min(0).int()).detach()
            x = x + torch.where((answer != NO_ANSWER)[..., None], embedded, 0.0)
        if self.config.puzzle_embedding_size:
            prefix = self.puzzle_emb(rows["puzzle_identifiers"].int())
            prefix = F.pad(prefix, (0, self.config.prefix_length * self.config.hidden_size - prefix.shape[-1]))
            x = torch.cat((prefix.view(x.shape[0], self.config.prefix_length, -1), x), dim=1)
        if self.config.positions == "learned":
            x = 0.707106781 * (x + self.embed_pos.embedding_weight)  # keeps the variance of a sum of two
        scaled: Tensor = self.embed_scale * x
        return scaled.to(self.dtype)

    def answer(self, state: State) -> Outputs:
        """The outputs of both heads: tokens from the grid positions of z_H, halting values from its first position."""
        q_halt, q_continue = self.q_head(state.z_H[:, 0]).float().unbind(-1)
        return Outputs(self.lm_head(state.z_H[:, self.config.prefix_length :]), q_halt, q_continue)

    @torch.no_grad()
    def halt(self, steps: Tensor, outputs: Outputs) -> Tensor:
        """Whether each slot is free after this call, [B]; in evaluation only the last step frees a slot.

        Exploration as in the official code: with some probability a row must first reach a random number of steps.
        """
        last = self.config.trained_depth
        halted = steps >= last
        if self.training and self.config.halting in {"act", "act_continue"} and last > 1:
            explores = torch.rand_like(outputs.q_halt_logits) < (self.config.halt_exploration or 0.0)
            wait = explores * torch.randint_like(steps, low=2, high=last + 1)
            halted = (halted | self.wants_to_halt(outputs)) & (steps >= wait)
        return halted

    def wants_to_halt(self, outputs: Outputs) -> Tensor:
        """Whether the halting values of a row end it, [B]: q > 0 (TRM), or q_halt > q_continue (HRM)."""
        if self.config.halting == "act_continue":
            assert outputs.q_continue_logits is not None
            return outputs.q_halt_logits > outputs.q_continue_logits
        return outputs.q_halt_logits > 0

    # -- `TrialModel` ---------------------------------------------------------------------------------------------

    def networks(self) -> dict[nn.Module, int]:
        return {module: len(module.layers) for module in self.modules() if isinstance(module, BlockStack)}

    def start_training(self, batch: Batch) -> TrainingStart[Carry]:
        """Under fixed halting the slots start at steps 0 .. N_sup - 1 in turn.

        Slots that start together would all take a new row together, at every N_sup-th step.
        """
        carry = self.initial_carry(batch)
        if self.config.halting != "fixed" or self.config.trained_depth == 1:
            return TrainingStart(carry, entered=0)
        carry = self.enter(carry, batch)
        turn = torch.arange(len(carry.steps), device=carry.steps.device, dtype=carry.steps.dtype)
        return TrainingStart(replace(carry, steps=turn % self.config.trained_depth), entered=len(turn))

    def training_step(self, carry: Carry, batch: Batch, loss: LossConfig, cycles: Cycles | None = None) -> TrainingStep[Carry]:
        entered = carry.halted.sum()
        carry, outputs = self(carry, batch, cycles)
        left = torch.stack((carry.halted.sum(), carry.steps[carry.halted].sum()))
        total = supervision_loss(outputs, carry.current["labels"], loss).total
        return TrainingStep(carry, total / len(carry.halted), entered, left)

    def carry_state(self, carry: Carry) -> dict[str, Any]:
        return vars(carry)

    def load_carry(self, state: Mapping[str, Any]) -> Carry:
        return Carry(**state).apply(lambda tensor: tensor.to(self.device))

    def answer_depths(
        self, batch: Batch, depth: int, halting: str = "fixed", generator: Generator | None = None
    ) -> Iterator[DepthAnswer]:
        """As in `TrialModel`; rows that have halted leave the batch, so that they cost nothing more."""
        rows = torch.arange(len(batch["inputs"]), device=self.device)  # the rows that have not halted
        carry = self.enter(self.initial_carry(batch, generator), batch, generator)
        tokens = torch.full_like(batch["inputs"], NO_ANSWER)
        latest: DepthAnswer | None = None
        for _ in range(depth):
            if latest is not None and not len(rows):
                zeros = torch.zeros_like(latest.state_change), torch.zeros_like(latest.token_change)
                latest = DepthAnswer(latest.logits, latest.confidence_logits, *zeros, latest.steps)
                yield latest
            else:
                before = carry.z_H
                carry, outputs = self.think(carry, generator=generator)
                answer = outputs.logits.argmax(-1)
                token_change = (answer != tokens[rows]).double().mean(1)
                change = _relative_change(before, carry.z_H)
                latest = _overlay(
                    latest, rows, DepthAnswer(outputs.logits, outputs.q_halt_logits, change, token_change, carry.steps)
                )
                yield latest
                tokens = tokens.index_copy(0, rows, answer.to(tokens.dtype))
                stays = ~self._halts_by(halting, outputs, token_change)
                carry, rows = carry.apply(lambda tensor, stays=stays: tensor[stays]), rows[stays]  # type: ignore[misc]

    def _halts_by(self, halting: str, outputs: Outputs, token_change: Tensor) -> Tensor:
        """Whether each row halts under an inference rule, [B]."""
        if halting == "q":
            return self.wants_to_halt(outputs)
        if halting == "convergence":
            return token_change == 0
        return torch.zeros_like(token_change, dtype=torch.bool)

    def fixed_depth(self, depth: int) -> nn.Module:
        return FixedDepth(self, depth)

    # -- device and precision -------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of activations; weights and optimizer stay in float32."""
        fast = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        low = self.config.precision == "bfloat16" or (self.config.precision == "auto" and fast)
        return torch.bfloat16 if low else torch.float32

    @torch.no_grad()
    def _continue_target(self, carry: Carry, cycles: Cycles | None, generator: Generator | None) -> Tensor:
        """Target of q_continue, [B]: the best value of the next step, from an extra pass without a target network (HRM)."""
        state = self.refine(self.between_steps(carry, generator), self.embed(carry.current, carry.answer), cycles, generator)
        q_halt, q_continue = self.q_head(state.z_H[:, 0]).float().unbind(-1)
        is_last = carry.steps >= self.config.trained_depth
        return torch.where(is_last, q_halt, torch.maximum(q_halt, q_continue)).sigmoid()

    # -- initial states and noise ---------------------------------------------------------------------------------

    def _initial_names(self) -> tuple[str, ...]:
        return ("L_init",) if self.config.single_state else ("H_init", "L_init")

    def _add_initial(self, name: str) -> None:
        """One vector for all positions: a fixed buffer (HRM paper, section 2), or a parameter."""
        if self.config.state_init in {"fixed", "learned"}:
            value = truncated_normal_(torch.empty(self.config.hidden_size), std=1.0)
            if self.config.state_init == "learned":
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def initial_state(self, slots: int, generator: Generator | None = None) -> State:
        """The state of an example before its first supervision step, [slots, S, D] each."""
        values = [self._initial(name, slots, generator) for name in self._initial_names()]
        return State(values[0], values[-1])

    def _initial(self, name: str, slots: int, generator: Generator | None) -> Tensor:
        shape = (slots, self.length, self.config.hidden_size)
        if self.config.state_init in {"fixed", "learned"}:
            value: Tensor = getattr(self, name)
            return value.to(self.dtype).expand(shape)
        if self.config.state_init == "random":
            ranks = torch.rand(shape, generator=generator, device=self.device)
            return truncated_normal_quantile(ranks).to(self.dtype)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)

    def _noise_at(self, place: str) -> bool:
        config = self.config
        active = self.training or config.state_noise_in_evaluation
        return bool(config.state_noise) and config.state_noise_at == place and bool(active)

    def _noisy(self, state: Tensor, generator: Generator | None) -> Tensor:
        assert self.config.state_noise is not None
        noise = torch.randn(state.shape, generator=generator, device=state.device, dtype=torch.float32)
        return state + (self.config.state_noise * noise).to(state.dtype)


class FixedDepth(nn.Module):
    """A reasoner that runs D supervision steps; no row halts early."""

    def __init__(self, reasoner: Reasoner, depth: int) -> None:
        super().__init__()
        self.reasoner, self.depth = reasoner, depth

    def forward(self, inputs: Tensor, puzzle_identifiers: Tensor | None = None) -> Tensor:
        """Logits [N, L, V] for puzzles [N, L], and identifiers [N] where the model has embeddings of puzzles.

        The steps are a scan, so that torch.export traces one step. (Without a scan, the export of a model of the papers'
        depth takes more than ten minutes.)
        """
        batch = puzzle_batch(inputs, puzzle_identifiers)
        first = self.reasoner.enter(self.reasoner.initial_carry(batch), batch)

        def step(state: tuple[Tensor, ...], number: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            latest: dict[str, Any] = dict(zip(("z_H", "z_L", "steps", "answer"), state, strict=False))
            carry, outputs = self.reasoner.think(replace(first, **latest))
            refined = (carry.z_H, carry.z_L, carry.steps, carry.answer, outputs.logits)
            return tuple(tensor.clone() for tensor in refined), number.clone()  # a scan must not return its inputs

        no_logits = first.z_H.new_zeros(*inputs.shape, self.reasoner.shape.vocabulary)
        last, _ = scan(step, (first.z_H, first.z_L, first.steps, first.answer, no_logits), torch.arange(self.depth))
        logits: Tensor = last[-1]
        return logits


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """Norm of the change of each row over the norm before it, [B]."""
    norms = before.float().flatten(1).norm(dim=1).clamp_min(1e-12)
    change: Tensor = (after - before).float().flatten(1).norm(dim=1) / norms
    return change


def _overlay(latest: DepthAnswer | None, rows: Tensor, fresh: DepthAnswer) -> DepthAnswer:
    """The answers of all rows: fresh ones at `rows`, those of the step before at the rows that have halted."""
    if latest is None:
        return fresh
    return DepthAnswer(
        logits=latest.logits.index_copy(0, rows, fresh.logits),
        confidence_logits=latest.confidence_logits.index_copy(0, rows, fresh.confidence_logits),
        state_change=torch.zeros_like(latest.state_change).index_copy(0, rows, fresh.state_change),
        token_change=torch.zeros_like(latest.token_change).index_copy(0, rows, fresh.token_change),
        steps=latest.steps.index_copy(0, rows, fresh.steps),
    )
