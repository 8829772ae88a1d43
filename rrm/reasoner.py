"""`Reasoner`: what every model shares - slots, carry, halting, embedding and heads.

A *slot* is a row of the batch. An example enters a slot, lives there for some supervision steps (each one call and one
optimizer step) and leaves it when it halts; the slot then takes the row that the next batch offers in its place. Rows
offered to a live slot are dropped, as in the official code.

Legend: T cycles a supervision step, n latent updates a cycle, N_sup supervision steps, z_H answer state, z_L latent
state. Shapes: B slots, L grid length, P prefix length, S = P + L, D hidden size, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rrm.config import ModelConfig
from rrm.layers import Embedding, PuzzleEmbedding, Rotary, linear, truncated_normal_
from rrm.tasks.task import PuzzleShape

Batch = dict[str, Tensor]  # inputs [B, L], labels [B, L], puzzle_identifiers [B]


class State(NamedTuple):
    """What a supervision step hands to the next one."""

    z_H: Tensor  # [B, S, D]
    z_L: Tensor  # [B, S, D]


@dataclass(frozen=True)
class Carry:
    """The slots between two calls."""

    z_H: Tensor  # [B, S, D]
    z_L: Tensor  # [B, S, D]
    steps: Tensor  # [B] supervision steps that the row in the slot has had
    halted: Tensor  # [B] the slot takes a new row at the next call
    current: Batch  # the rows in the slots


@dataclass(frozen=True)
class Outputs:
    """What one supervision step says about the rows in the slots."""

    logits: Tensor  # [B, L, V]
    q_halt_logits: Tensor  # [B] above 0: the answer is thought to be right
    q_continue_logits: Tensor | None = None  # [B]
    target_q_continue: Tensor | None = None  # [B], only where a model learns to continue


class Reasoner(nn.Module, ABC):
    """A model that improves an answer over supervision steps; a subclass says what happens within one step."""

    def __init__(self, config: ModelConfig, shape: PuzzleShape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        length = config.prefix_length + shape.length
        self.embed_scale: float = config.hidden_size**0.5
        self.embed_tokens = Embedding(shape.vocabulary, config.hidden_size, std=1 / self.embed_scale)
        if config.prefix_length:
            self.puzzle_emb = PuzzleEmbedding(shape.num_puzzles, config.hidden_size)
        if config.positions == "learned":
            self.embed_pos = Embedding(length, config.hidden_size, std=1 / self.embed_scale)
        self.rotary = Rotary(length, config.head_size) if config.positions == "rotary" else None
        self.lm_head = linear(config.hidden_size, shape.vocabulary)
        self.q_head = nn.Linear(config.hidden_size, 2)
        nn.init.zeros_(self.q_head.weight)
        nn.init.constant_(self.q_head.bias, -5.0)  # nobody halts at first
        # Fixed throughout training (HRM paper, section 2): buffers, one vector for all positions.
        self.H_init: Tensor
        self.L_init: Tensor
        self.register_buffer("H_init", truncated_normal_(torch.empty(config.hidden_size), std=1.0))
        self.register_buffer("L_init", truncated_normal_(torch.empty(config.hidden_size), std=1.0))

    @abstractmethod
    def refine(self, state: State, x: Tensor) -> State:
        """One supervision step on embedded inputs x [B, S, D]; gradients reach as far as the paper lets them."""

    def forward(self, carry: Carry, batch: Batch) -> tuple[Carry, Outputs]:
        """One supervision step for every slot: let new rows enter, refine, answer, decide who halts."""
        carry = self.enter(carry, batch)
        state = self.refine(State(carry.z_H, carry.z_L), self.embed(carry.current))
        outputs = self.answer(state)
        steps = carry.steps + 1
        return (
            Carry(state.z_H.detach(), state.z_L.detach(), steps, self.halt(steps, outputs), carry.current),
            outputs,
        )

    def initial_carry(self, batch: Batch) -> Carry:
        """Slots that are all free: the next call fills them with `batch`'s rows and the initial state."""
        slots, device = batch["inputs"].shape[0], batch["inputs"].device
        z_H, z_L = self.initial_state(slots)
        return Carry(
            z_H,
            z_L,
            steps=torch.zeros(slots, dtype=torch.int32, device=device),
            halted=torch.ones(slots, dtype=torch.bool, device=device),
            current={name: torch.zeros_like(rows) for name, rows in batch.items()},
        )

    def initial_state(self, slots: int) -> State:
        """The state of an example that has not been thought about, [slots, S, D] each."""
        shape = (slots, self.config.prefix_length + self.shape.length, self.config.hidden_size)
        return State(self.H_init.expand(shape), self.L_init.expand(shape))

    def enter(self, carry: Carry, batch: Batch) -> Carry:
        """All that happens to the carry between two supervision steps: halted slots take a new row and the initial state."""
        free = carry.halted
        initial = self.initial_state(len(free))
        return replace(
            carry,
            z_H=torch.where(free[:, None, None], initial.z_H, carry.z_H),
            z_L=torch.where(free[:, None, None], initial.z_L, carry.z_L),
            steps=torch.where(free, 0, carry.steps),
            halted=torch.zeros_like(free),
            current={
                name: torch.where(free.view(-1, *[1] * (rows.ndim - 1)), batch[name], rows) for name, rows in carry.current.items()
            },
        )

    def embed(self, rows: Batch) -> Tensor:
        """Embedded inputs [B, S, D]: the puzzle's vector in slot 0 of the prefix, zeros behind it, then the grid."""
        x = self.embed_tokens(rows["inputs"].int())
        if self.config.prefix_length:
            prefix = self.puzzle_emb(rows["puzzle_identifiers"].int())[:, None]  # [B, 1, D]
            prefix = nn.functional.pad(prefix, (0, 0, 0, self.config.prefix_length - 1))
            x = torch.cat((prefix, x), dim=1)
        if self.config.positions == "learned":
            x = 2**-0.5 * (x + self.embed_pos.embedding_weight)  # keeps the variance of a sum of two
        return self.embed_scale * x

    def answer(self, state: State) -> Outputs:
        """Both heads read the answer state: the tokens its grid positions, the halting values its first position."""
        q_halt, q_continue = self.q_head(state.z_H[:, 0]).float().unbind(-1)
        return Outputs(self.lm_head(state.z_H[:, self.config.prefix_length :]), q_halt, q_continue)

    @torch.no_grad()
    def halt(self, steps: Tensor, outputs: Outputs) -> Tensor:
        """Which slots are free after this call, [B]; in evaluation only the last step frees one.

        Exploration as in the official code: with some probability a row must first reach a random number of steps.
        """
        last = self.config.supervision_steps
        halted = steps >= last
        if self.training and self.config.halting == "act" and last > 1:
            explores = torch.rand_like(outputs.q_halt_logits) < self.config.halt_exploration
            wait = explores * torch.randint_like(steps, low=2, high=last + 1)
            halted = (halted | (outputs.q_halt_logits > 0)) & (steps >= wait)
        return halted

    def unroll(self, batch: Batch, depth: int) -> Iterator[tuple[State, Outputs]]:
        """Supervision steps 1 .. depth on one batch without halting; state and answer after each: one pass, the whole curve."""
        x = self.embed(batch)
        state = self.initial_state(len(x))
        for _ in range(depth):
            state = self.refine(state, x)
            yield state, self.answer(state)
