"""Slots, carry and halting; every model of the list passes the contract."""

import pytest
import torch
from pydantic import ValidationError

from rrm.config import AnyModelConfig
from rrm.losses import supervision_loss
from rrm.models import CONFIGS, build_model
from rrm.models import model_config as config_of
from rrm.reasoner import Reasoner
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Batch, Cycles

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)
SLOTS = 6
EVERY = {name for config in CONFIGS.values() for name in config.model_fields}  # settings of any kind


def model_config(kind: str = "trm", **changes: object) -> AnyModelConfig:
    """A small model of a kind, with what the kind understands of the usual settings."""
    usual = {"h_cycles": 2, "l_cycles": 2, "supervision_steps": 3, "num_layers": 1, "gradient": "full"}
    understood = {name: value for name, value in usual.items() if name in CONFIGS[kind].model_fields}
    if "gradient" in understood and kind in {"trm", "hrm"}:
        del understood["gradient"]
    settings = {"kind": kind, "hidden_size": 16, "head_size": 8} | understood
    known = {name: value for name, value in changes.items() if name not in EVERY or name in CONFIGS[kind].model_fields}
    return config_of(**(settings | known))  # type: ignore[arg-type]


def make_batch(seed: int, slots: int = SLOTS) -> Batch:
    random = torch.Generator().manual_seed(seed)
    return {
        "inputs": torch.randint(1, 6, (slots, 16), generator=random),
        "labels": torch.randint(2, 6, (slots, 16), generator=random),
        "puzzle_identifiers": torch.randint(0, 3, (slots,), generator=random),
    }


def build(config: AnyModelConfig, seed: int = 0) -> Reasoner:
    torch.manual_seed(seed)
    return build_model(config, SHAPE)


def test_every_file_of_a_model_is_found() -> None:
    assert set(CONFIGS) == {"trm", "hrm", "direct", "untied", "looped", "outer_loop"}
    assert all(type(build(model_config(kind))).__name__ == config.built_class.__name__ for kind, config in CONFIGS.items())


@pytest.mark.parametrize("kind", CONFIGS)
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
        lives_on = model.config.trained_depth > 1
        assert torch.equal(carry.current["inputs"], make_batch(0 if lives_on else 1)["inputs"])

    def test_a_halted_slot_takes_the_new_row_and_the_initial_state(self, kind: str) -> None:
        model = build(model_config(kind, halting="fixed", supervision_steps=2)).train()
        carry = model.initial_carry(make_batch(0))
        for step in range(model.config.trained_depth):
            carry, _ = model(carry, make_batch(step))
        assert carry.halted.all()
        entered = model.enter(carry, make_batch(2))
        assert torch.equal(entered.current["inputs"], make_batch(2)["inputs"])
        assert torch.equal(entered.z_H, model.initial_state(SLOTS).z_H)
        assert entered.steps.tolist() == [0] * SLOTS

    def test_answers_by_depth_equal_calls_in_evaluation_mode(self, kind: str) -> None:
        model, batch = build(model_config(kind)).eval(), make_batch(0)
        carry = model.initial_carry(batch)
        with torch.no_grad():
            for answer in model.answer_depths(batch, 3):
                carry, outputs = model(carry, batch)
                assert torch.equal(outputs.logits, answer.logits)
        assert carry.halted.all()

    @pytest.mark.parametrize("mixer", ["attention", "mlp"])
    def test_every_parameter_gets_a_gradient(self, kind: str, mixer: str) -> None:
        model, batch = build(model_config(kind, prefix_length=2, positions="learned", mixer=mixer)), make_batch(0)
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


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if "state_init" in CONFIGS[kind].model_fields])
class TestAxesOfTheState:
    """What happens to the state at its start and between two supervision steps, for every model that has one."""

    def logits_by_depth(self, model: Reasoner, depth: int = 3, seed: int = 0) -> list[torch.Tensor]:
        model.eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return [answer.logits for answer in model.answer_depths(make_batch(0), depth, generator=generator)]

    def test_resetting_all_makes_supervision_steps_equal(self, kind: str) -> None:
        first, second, third = self.logits_by_depth(build(model_config(kind, state_reset="all")))
        assert torch.equal(first, second) and torch.equal(second, third)

    def test_training_that_resets_all_passes_over_the_same_rows_again(self, kind: str) -> None:
        """Each supervision step equals the first step of rows that have just entered, also after the weights have changed."""
        model, batch = build(model_config(kind, state_reset="all", halting="fixed")).train(), make_batch(0)
        assert model.config.passes_nothing
        carry = model.initial_carry(batch)
        for _ in range(3):
            carry, outputs = model(carry, batch)
            _, fresh = model(model.initial_carry(batch), batch)
            assert torch.equal(outputs.logits, fresh.logits)
            with torch.no_grad():
                model.lm_head.weight.mul_(1.1)
                model.embed_tokens.embedding_weight.mul_(1.1)

    @pytest.mark.parametrize("changes", [{}, {"state_reset": "all", "medium": "tokens"}])
    def test_a_step_that_receives_the_state_or_the_answer_differs_from_the_first(self, kind: str, changes: dict) -> None:
        model = build(model_config(kind, **changes))
        first, second, _ = self.logits_by_depth(model)
        assert not model.config.passes_nothing and not torch.equal(first, second)

    def test_carrying_the_state_makes_them_differ(self, kind: str) -> None:
        first, second, _ = self.logits_by_depth(build(model_config(kind)))
        assert not torch.equal(first, second)

    @pytest.mark.parametrize("reset", ["latent", "answer"])
    def test_resetting_one_state_keeps_the_other(self, kind: str, reset: str) -> None:
        if model_config(kind).single_state:
            with pytest.raises(ValidationError, match="has no effect where there is a single state"):
                model_config(kind, state_reset=reset)
            return
        model = build(model_config(kind, state_reset=reset)).train()
        carry, _ = model(model.initial_carry(make_batch(0)), make_batch(0))
        state, initial = model.between_steps(carry), model.initial_state(SLOTS)
        assert torch.equal(state.z_L, initial.z_L if reset == "latent" else carry.z_L)
        assert torch.equal(state.z_H, initial.z_H if reset == "answer" else carry.z_H)

    def test_tokens_pass_the_answer_and_nothing_else(self, kind: str) -> None:
        model = build(model_config(kind, medium="tokens"))
        first, second, _ = self.logits_by_depth(model)
        assert not torch.equal(first, second)
        carry = model.enter(model.initial_carry(make_batch(0)), make_batch(0))
        with torch.no_grad():
            carry, outputs = model.think(carry)
        assert torch.equal(carry.answer, outputs.logits.argmax(-1).to(carry.answer.dtype))
        assert torch.equal(model.between_steps(carry).z_L, model.initial_state(SLOTS).z_L)

    def test_zeros_and_random_states(self, kind: str) -> None:
        assert not build(model_config(kind, state_init="zeros")).initial_state(2).z_L.any()
        random = build(model_config(kind, state_init="random"))
        states = random.initial_state(200, torch.Generator().manual_seed(0)).z_L
        assert float(states.std()) == pytest.approx(1.0, abs=0.01) and float(states.abs().max()) <= 2.3

    def test_random_states_differ_by_seed_and_repeat_by_seed(self, kind: str) -> None:
        model = build(model_config(kind, state_init="random"))
        first, same, other = (self.logits_by_depth(model, seed=seed)[0] for seed in (1, 1, 2))
        assert torch.equal(first, same) and not torch.equal(first, other)

    def test_a_learned_state_gets_a_gradient(self, kind: str) -> None:
        model = build(model_config(kind, state_init="learned", **({} if kind == "outer_loop" else {"gradient": "full"}))).train()
        carry, outputs = model(model.initial_carry(make_batch(0)), make_batch(0))
        supervision_loss(outputs, carry.current["labels"]).total.backward()
        assert float(model.get_parameter("L_init").grad.abs().sum()) > 0  # type: ignore[union-attr]

    @pytest.mark.parametrize("place", ["carry", "call"])
    def test_noise_acts_in_training_and_in_evaluation_only_if_asked(self, kind: str, place: str) -> None:
        noisy = {"state_noise": 0.5, "state_noise_at": place}
        quiet, asked = build(model_config(kind, **noisy)), build(model_config(kind, **noisy, state_noise_in_evaluation=True))
        plain = self.logits_by_depth(build(model_config(kind)))
        assert torch.equal(self.logits_by_depth(quiet)[1], plain[1])
        assert not torch.equal(self.logits_by_depth(asked)[1], plain[1])
        assert torch.equal(self.logits_by_depth(asked)[0], plain[0]) == (place == "carry")

    def test_damping_keeps_a_share_of_the_state(self, kind: str) -> None:
        model = build(model_config(kind, damping=0.25))
        state, x = torch.randn(2, 16, 16), torch.randn(2, 16, 16)
        plain = model.L_level(state + x, model.rotary)  # type: ignore[operator]
        assert torch.allclose(model.apply_network(model.L_level, state, x), 0.25 * state + 0.75 * plain)  # type: ignore[arg-type]

    def test_bfloat16_keeps_weights_in_float32(self, kind: str) -> None:
        model = build(model_config(kind, precision="bfloat16")).train()
        carry, outputs = model(model.initial_carry(make_batch(0)), make_batch(0))
        assert carry.z_H.dtype == outputs.logits.dtype == torch.bfloat16
        loss = supervision_loss(outputs, carry.current["labels"])
        assert loss.lm.dtype == torch.float64
        loss.total.backward()
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


HORIZONS = [
    ("trm", {}, 3), ("trm", {"gradient": "one_step"}, 2), ("trm", {"gradient": "full"}, 6), ("trm", {"gradient": 4}, 4),
    ("hrm", {}, 2), ("hrm", {"gradient": "last_cycle"}, 3), ("looped", {"gradient": 1}, 1), ("looped", {}, 2),
    ("outer_loop", {}, 1), ("untied", {}, 1), ("direct", {}, 1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "graded"), HORIZONS)
def test_as_many_calls_are_differentiated_as_the_horizon_says(kind: str, changes: dict, graded: int) -> None:
    model = build(model_config(kind, **changes))
    seen = []
    plain = model.apply_network
    model.apply_network = lambda *arguments: (seen.append(torch.is_grad_enabled()), plain(*arguments))[1]  # type: ignore[method-assign]
    model.refine(model.initial_state(SLOTS), model.embed(make_batch(0), torch.full((SLOTS, 16), -1)))
    assert len(seen) == len(model.config.call_layers()) and sum(seen) == graded == model.config.graded_calls()
    assert seen == sorted(seen)


REFUSED = [
    ({"kind": "direct", "supervision_steps": 4}, "supervision_steps has no effect on the kind 'direct'"),
    ({"kind": "hrm", "networks": "shared"}, "networks has no effect on the kind 'hrm'"),
    ({"state": "single", "state_reset": "latent"}, "state_reset latent has no effect where there is a single state"),
    ({"state": "single", "networks": "separate"}, "networks separate has no effect where there is a single state"),
    ({"medium": "tokens", "state_reset": "carry"}, "medium tokens passes nothing but the answer"),
    ({"state_init": "learned"}, "state_init learned needs a gradient that reaches the first call"),
    ({"mixer": "mlp", "positions": "rotary"}, "positions rotary has no effect with the mixer mlp"),
    ({"answer_layers": 2}, "answer_layers has no effect where one network has both roles"),
    ({"puzzle_embedding_size": 8}, "puzzle_embedding_size has no effect without a prefix"),
    ({"prefix_length": 1, "puzzle_embedding_size": 4000}, "puzzle_embedding_size must fit the prefix"),
    ({"hidden_size": 24}, "got hidden_size 24 and head_size 16: choose model.head_size: 8, or model.hidden_size: 32"),
    ({"hidden_size": 40}, "got hidden_size 40 and head_size 16: choose model.head_size: 8, or model.hidden_size: 48"),
    ({"hidden_size": 8}, "got hidden_size 8 and head_size 16: choose model.head_size: 8, or model.hidden_size: 16"),
    ({"hidden_size": 36, "head_size": 24}, "choose model.head_size: 12, or model.hidden_size: 48"),
    ({"hidden_size": 25}, "got hidden_size 25 and head_size 16: choose model.hidden_size: 32"),
    ({"kind": "looped", "h_cycles": 2}, "h_cycles has no effect on the kind 'looped'"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_a_setting_without_effect_is_refused_and_says_so(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config_of(**settings)


def test_a_curriculum_s_cycles_are_an_argument_of_a_call() -> None:
    model, batch = build(model_config(h_cycles=3, l_cycles=4)), make_batch(0)
    small = build(model_config(h_cycles=1, l_cycles=2))
    _, asked = model(model.initial_carry(batch), batch, Cycles(1, 2))
    _, expected = small(small.initial_carry(batch), batch)
    assert torch.equal(asked.logits, expected.logits) and model.config.cycles == (3, 4)


def test_only_the_last_cycle_is_differentiated() -> None:
    """Gradients equal those of a run whose state before the last cycle is given."""
    batch = make_batch(0)
    whole, last = build(model_config(h_cycles=3)), build(model_config(h_cycles=1))
    x = whole.embed(batch, torch.full((SLOTS, 16), -1))
    with torch.no_grad():
        before = whole.initial_state(SLOTS)
        for _ in range(2):
            before = last.refine(before, x)
    for model, state in ((whole, whole.initial_state(SLOTS)), (last, before)):
        model.refine(state, model.embed(batch, torch.full((SLOTS, 16), -1))).z_H.square().sum().backward()
    gradients = [dict(model.named_parameters())["L_level.layers.0.mlp.down_proj.weight"].grad for model in (whole, last)]
    assert torch.equal(gradients[0], gradients[1])  # type: ignore[arg-type]
