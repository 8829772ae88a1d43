"""Slots, carry and halting; every model of the list passes the contract."""

from typing import get_args

import pytest
import torch

from rrm.config import ModelConfig
from rrm.losses import supervision_loss
from rrm.models import REASONERS, build_reasoner
from rrm.reasoner import Batch, Reasoner
from rrm.tasks.task import PuzzleShape

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)
SLOTS = 6


def model_config(kind: str = "trm", **changes: object) -> ModelConfig:
    settings = {
        "kind": kind, "hidden_size": 16, "head_size": 8, "num_layers": 1, "h_cycles": 2, "l_cycles": 2, "supervision_steps": 3,
    }  # fmt: skip
    return ModelConfig(**(settings | changes))  # type: ignore[arg-type]


def make_batch(seed: int, slots: int = SLOTS) -> Batch:
    random = torch.Generator().manual_seed(seed)
    return {
        "inputs": torch.randint(1, 6, (slots, 16), generator=random),
        "labels": torch.randint(2, 6, (slots, 16), generator=random),
        "puzzle_identifiers": torch.randint(0, 3, (slots,), generator=random),
    }


def build(config: ModelConfig, seed: int = 0) -> Reasoner:
    torch.manual_seed(seed)
    return build_reasoner(config, SHAPE)


def test_the_list_of_models_is_the_list_of_kinds() -> None:
    assert set(REASONERS) == set(get_args(ModelConfig.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", REASONERS)
class TestReasonerContract:
    """What sweeps and evaluation rely on, for every model."""

    def test_outputs_have_the_shapes_of_the_task(self, kind: str) -> None:
        model, batch = build(model_config(kind)), make_batch(0)
        carry, outputs = model(model.initial_carry(batch), batch)
        assert outputs.logits.shape == (SLOTS, 16, 6)
        assert outputs.q_halt_logits.shape == (SLOTS,)
        assert carry.z_H.shape == carry.z_L.shape == (SLOTS, 16, 16)

    def test_the_first_call_fills_every_slot(self, kind: str) -> None:
        model, batch = build(model_config(kind)), make_batch(0)
        carry, _ = model(model.initial_carry(batch), batch)
        assert carry.steps.tolist() == [1] * SLOTS
        assert torch.equal(carry.current["inputs"], batch["inputs"])

    def test_rows_offered_to_a_live_slot_are_dropped(self, kind: str) -> None:
        model = build(model_config(kind, halting="fixed")).train()
        carry, _ = model(model.initial_carry(make_batch(0)), make_batch(0))
        carry, _ = model(carry, make_batch(1))
        assert torch.equal(carry.current["inputs"], make_batch(0)["inputs"])

    def test_a_halted_slot_takes_the_new_row_and_the_initial_state(self, kind: str) -> None:
        model = build(model_config(kind, halting="fixed", supervision_steps=2)).train()
        carry = model.initial_carry(make_batch(0))
        for step in range(2):
            carry, _ = model(carry, make_batch(step))
        assert carry.halted.all()
        entered = model.enter(carry, make_batch(2))
        assert torch.equal(entered.current["inputs"], make_batch(2)["inputs"])
        assert torch.equal(entered.z_H[0, 0], model.H_init)
        assert entered.steps.tolist() == [0] * SLOTS

    def test_unrolling_equals_calls_in_evaluation_mode(self, kind: str) -> None:
        model, batch = build(model_config(kind)).eval(), make_batch(0)
        carry = model.initial_carry(batch)
        with torch.no_grad():
            for _, unrolled in model.unroll(batch, 3):
                carry, outputs = model(carry, batch)
                assert torch.equal(outputs.logits, unrolled.logits)
        assert carry.halted.all()

    def test_every_parameter_gets_a_gradient(self, kind: str) -> None:
        model, batch = build(model_config(kind, prefix_length=2, positions="learned")), make_batch(0)
        torch.nn.init.normal_(model.q_head.weight)  # zero at first, so that no gradient would pass it
        carry, outputs = model(model.initial_carry(batch), batch)
        supervision_loss(outputs, carry.current["labels"]).total.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []

    def test_the_carry_holds_no_graph(self, kind: str) -> None:
        model, batch = build(model_config(kind)), make_batch(0)
        carry, _ = model(model.initial_carry(batch), batch)
        assert not carry.z_H.requires_grad and not carry.z_L.requires_grad

    @pytest.mark.parametrize("positions", ["rotary", "learned", "none"])
    def test_every_kind_of_positions_trains(self, kind: str, positions: str) -> None:
        model, batch = build(model_config(kind, positions=positions)), make_batch(0)
        carry, outputs = model(model.initial_carry(batch), batch)
        loss = supervision_loss(outputs, carry.current["labels"]).total
        loss.backward()
        assert torch.isfinite(loss)


def test_act_frees_a_slot_whose_q_is_positive() -> None:
    model = build(model_config(halting="act", halt_exploration=0.0, supervision_steps=8)).train()
    torch.nn.init.constant_(model.q_head.bias, 1.0)
    carry, _ = model(model.initial_carry(make_batch(0)), make_batch(0))
    assert carry.halted.all()


def test_fixed_halting_ignores_q() -> None:
    model = build(model_config(halting="fixed", supervision_steps=8)).train()
    torch.nn.init.constant_(model.q_head.bias, 1.0)
    carry, _ = model(model.initial_carry(make_batch(0)), make_batch(0))
    assert not carry.halted.any()


def test_exploration_keeps_some_slots_that_would_halt() -> None:
    model = build(model_config(halting="act", halt_exploration=1.0, supervision_steps=8)).train()
    torch.nn.init.constant_(model.q_head.bias, 1.0)
    carry, _ = model(model.initial_carry(make_batch(0, slots=50)), make_batch(0, slots=50))
    assert not carry.halted.any()  # the random minimum is at least 2


def test_only_the_last_cycle_is_differentiated() -> None:
    """Gradients equal those of a run whose state before the last cycle is given."""
    batch = make_batch(0)
    whole, last = build(model_config(h_cycles=3)), build(model_config(h_cycles=1))
    x = whole.embed(batch)
    with torch.no_grad():
        before = whole.initial_state(SLOTS)
        for _ in range(2):
            before = last.refine(before, x)
    for model, state in ((whole, whole.initial_state(SLOTS)), (last, before)):
        model.refine(state, model.embed(batch)).z_H.square().sum().backward()
    gradients = [dict(model.named_parameters())["L_level.layers.0.mlp.down_proj.weight"].grad for model in (whole, last)]
    assert torch.equal(gradients[0], gradients[1])  # type: ignore[arg-type]
