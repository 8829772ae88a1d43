"""`Reasoner`: what every model shares - slots, carry, halting, gradient horizon, embedding and heads.

A *slot* is a row of the batch. An example enters a slot, lives there for some supervision steps (each one call and one
optimizer step) and leaves it when it halts; the slot then takes the row that the next batch offers in its place. Rows
offered to a live slot are dropped, as in the official code.

Legend: T cycles a supervision step, n latent updates a cycle, N_sup supervision steps, z_H answer state, z_L latent
state. Shapes: B slots, L grid length, P prefix length, S = P + L, D hidden size, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrm.config import AnyModelConfig, ModelConfig
from rrm.layers import (
    BlockStack,
    Embedding,
    Linear,
    PuzzleEmbedding,
    Rotary,
    truncated_normal_,
    truncated_normal_quantile,
)
from rrm.tasks.task import PuzzleShape

Batch = dict[str, Tensor]  # inputs [B, L], labels [B, L], puzzle_identifiers [B]
NO_ANSWER = -1  # in `Carry.answer`: nothing was said yet


class State(NamedTuple):
    """What a supervision step works on; a model with a single state has the same tensor in both places."""

    z_H: Tensor  # [B, S, D]
    z_L: Tensor  # [B, S, D]


Call = Callable[[State, Tensor], State]  # one network call, given the state and the embedded inputs [B, S, D]


@dataclass(frozen=True)
class Carry:
    """The slots between two calls."""

    z_H: Tensor  # [B, S, D]
    z_L: Tensor  # [B, S, D]
    steps: Tensor  # [B] supervision steps that the row in the slot has had
    halted: Tensor  # [B] the slot takes a new row at the next call
    answer: Tensor  # [B, L] tokens said at the step before; kept by models whose medium is tokens
    current: Batch  # the rows in the slots

    def apply(self, change: Callable[[Tensor], Tensor]) -> "Carry":
        """The same carry with every tensor changed (moved, or cut down to some slots)."""
        tensors = {name: change(value) for name, value in vars(self).items() if name != "current"}
        return Carry(**tensors, current={name: change(rows) for name, rows in self.current.items()})


@dataclass(frozen=True)
class Outputs:
    """What one supervision step says about the rows in the slots."""

    logits: Tensor  # [B, L, V]
    q_halt_logits: Tensor  # [B] above 0: the answer is thought to be right
    q_continue_logits: Tensor | None = None  # [B]
    target_q_continue: Tensor | None = None  # [B], only in training and where a model learns to continue


class Reasoner(nn.Module, ABC):
    """A model that improves an answer over supervision steps; a subclass says which calls one step consists of."""

    Config: ClassVar[type[ModelConfig]]  # its settings; a class with settings of its kind is a model that can be chosen

    def __init__(self, config: AnyModelConfig, shape: PuzzleShape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.length = config.prefix_length + shape.length
        self.cycles = config.cycles  # (T, n) in force; a curriculum changes them
        self.random: torch.Generator | None = None  # of noise and random states; None is torch's global one
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
        nn.init.constant_(self.q_head.bias, -5.0)  # nobody halts at first
        for name in self._initial_names():
            self._add_initial(name)

    def build_network(self, layers: int) -> BlockStack:
        """A network of this model's width and mixer."""
        return BlockStack(self.config, self.length, layers)

    @abstractmethod
    def calls(self) -> Sequence[Call]:
        """The network calls of one supervision step, in order, at the (T, n) in force."""

    def forward(self, carry: Carry, batch: Batch) -> tuple[Carry, Outputs]:
        """One supervision step for every slot: let new rows enter, think, decide who halts."""
        carry, outputs = self.think(self.enter(carry, batch))
        halted = self.halt(carry.steps, outputs)
        if self.training and self.config.halting == "act_continue" and self.config.trained_depth > 1:
            outputs = replace(outputs, target_q_continue=self._continue_target(carry))
        return replace(carry, halted=halted), outputs

    def initial_carry(self, batch: Batch) -> Carry:
        """Slots that are all free: the next call fills them with `batch`'s rows and the initial state."""
        inputs = batch["inputs"]
        z_H, z_L = self.initial_state(inputs.shape[0])
        return Carry(
            z_H,
            z_L,
            steps=torch.zeros(inputs.shape[0], dtype=torch.int32, device=inputs.device),
            halted=torch.ones(inputs.shape[0], dtype=torch.bool, device=inputs.device),
            answer=torch.full_like(inputs, NO_ANSWER),
            current={name: torch.zeros_like(rows) for name, rows in batch.items()},
        )

    def enter(self, carry: Carry, batch: Batch) -> Carry:
        """Halted slots take a new row and the initial state."""
        free = carry.halted
        initial = self.initial_state(free.shape[0])
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

    def think(self, carry: Carry) -> tuple[Carry, Outputs]:
        """One supervision step for the rows in the slots; who halts is not decided here."""
        state = self.refine(self.between_steps(carry), self.embed(carry.current, carry.answer))
        outputs = self.answer(state)
        answer = outputs.logits.argmax(-1).to(carry.answer.dtype) if self.config.medium == "tokens" else carry.answer
        state = State(state.z_H.detach(), state.z_L.detach())
        return replace(carry, z_H=state.z_H, z_L=state.z_L, steps=carry.steps + 1, answer=answer), outputs

    def between_steps(self, carry: Carry) -> State:
        """All that happens to the state between two supervision steps of one example: reset and noise."""
        state, again = State(carry.z_H, carry.z_L), (carry.steps > 0)[:, None, None]
        if self.config.state_reset not in {None, "carry"}:
            initial = self.initial_state(carry.steps.shape[0])
            reset_answer = self.config.state_reset in {"answer", "all"}
            reset_latent = self.config.state_reset in {"latent", "all"}
            z_H = torch.where(again, initial.z_H, state.z_H) if reset_answer else state.z_H
            z_L = torch.where(again, initial.z_L, state.z_L) if reset_latent else state.z_L
            state = State(z_H, z_H if self.config.single_state else z_L)
        if self._noise_at("carry"):
            z_H = torch.where(again, self._noisy(state.z_H), state.z_H)
            z_L = z_H if self.config.single_state else torch.where(again, self._noisy(state.z_L), state.z_L)
            state = State(z_H, z_L)
        return state

    def refine(self, state: State, x: Tensor) -> State:
        """One supervision step on embedded inputs x [B, S, D]; the last calls are differentiated, as many as the config says."""
        calls = self.calls()
        first_graded = len(calls) - self.config.graded_calls(*self.cycles)
        for number, call in enumerate(calls):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= first_graded):
                state = call(state, x)
        return state

    def apply_network(self, network: BlockStack, state: Tensor, injected: Tensor | None) -> Tensor:
        """One network call on a state [B, S, D]: what is injected is added to it; noise and damping act here."""
        if self._noise_at("call"):
            state = self._noisy(state)
        refined: Tensor = network(state if injected is None else state + injected, self.rotary)
        damping = self.config.damping
        return damping * state + (1 - damping) * refined if damping else refined

    def embed(self, rows: Batch, answer: Tensor) -> Tensor:
        """Embedded inputs [B, S, D]: the puzzle's vector in the prefix, then the grid.

        Where the medium is tokens, the answer of the step before is embedded with the same table and added to the grid.
        """
        x = self.embed_tokens(rows["inputs"].int())
        if self.config.medium == "tokens":
            said = self.embed_tokens(answer.clamp_min(0).int()).detach()
            x = x + torch.where((answer != NO_ANSWER)[..., None], said, 0.0)
        if self.config.puzzle_embedding_size:
            prefix = self.puzzle_emb(rows["puzzle_identifiers"].int())
            prefix = F.pad(prefix, (0, self.config.prefix_length * self.config.hidden_size - prefix.shape[-1]))
            x = torch.cat((prefix.view(x.shape[0], self.config.prefix_length, -1), x), dim=1)
        if self.config.positions == "learned":
            x = 0.707106781 * (x + self.embed_pos.embedding_weight)  # keeps the variance of a sum of two
        return (self.embed_scale * x).to(self.dtype)

    def answer(self, state: State) -> Outputs:
        """Both heads read the answer state: the tokens its grid positions, the halting values its first position."""
        q_halt, q_continue = self.q_head(state.z_H[:, 0]).float().unbind(-1)
        return Outputs(self.lm_head(state.z_H[:, self.config.prefix_length :]), q_halt, q_continue)

    @torch.no_grad()
    def halt(self, steps: Tensor, outputs: Outputs) -> Tensor:
        """Which slots are free after this call, [B]; in evaluation only the last step frees one.

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
        """What the halting values say of each row, [B]: q > 0 (TRM), or q_halt > q_continue (HRM)."""
        if self.config.halting == "act_continue":
            assert outputs.q_continue_logits is not None
            return outputs.q_halt_logits > outputs.q_continue_logits
        return outputs.q_halt_logits > 0

    def unroll(self, batch: Batch, depth: int) -> Iterator[tuple[State, Outputs]]:
        """Supervision steps 1 .. depth on one batch without halting; state and answer after each: one pass, the whole curve."""
        carry = self.enter(self.initial_carry(batch), batch)
        for _ in range(depth):
            carry, outputs = self.think(carry)
            yield State(carry.z_H, carry.z_L), outputs

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
    def _continue_target(self, carry: Carry) -> Tensor:
        """Target of q_continue, [B]: the best value of the next step, from an extra pass without a target network (HRM)."""
        state = self.refine(self.between_steps(carry), self.embed(carry.current, carry.answer))
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

    def initial_state(self, slots: int) -> State:
        """The state of an example that has not been thought about, [slots, S, D] each."""
        values = [self._initial(name, slots) for name in self._initial_names()]
        return State(values[0], values[-1])

    def _initial(self, name: str, slots: int) -> Tensor:
        shape = (slots, self.length, self.config.hidden_size)
        if self.config.state_init in {"fixed", "learned"}:
            return getattr(self, name).to(self.dtype).expand(shape)
        if self.config.state_init == "random":
            ranks = torch.rand(shape, generator=self.random, device=self.device)
            return truncated_normal_quantile(ranks).to(self.dtype)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)

    def _noise_at(self, place: str) -> bool:
        config = self.config
        active = self.training or config.state_noise_in_evaluation
        return bool(config.state_noise) and config.state_noise_at == place and bool(active)

    def _noisy(self, state: Tensor) -> Tensor:
        assert self.config.state_noise is not None
        noise = torch.randn(state.shape, generator=self.random, device=state.device, dtype=torch.float32)
        return state + (self.config.state_noise * noise).to(state.dtype)
