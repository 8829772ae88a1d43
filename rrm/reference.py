"""Official models as ours, and the check that ours compute what they computed.

`python -m rrm.reference FILE...` runs golden files of the official code (format: tests/golden/README.md) through our
models, prints the largest error of each quantity and exits with 1 when one exceeds its tolerance.
An error is max |ours - golden| / max(1, max |golden|). Processors round the last bit of a product differently, and recursion
amplifies it: a quantity may differ by as much as it moves when the weights change in their last bit (`Golden.tolerances`).
"""

import argparse
import json
import sys
from collections.abc import Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from rrm.config import BaseModelConfig, OptimConfig
from rrm.errors import UserError
from rrm.layers import NORM_EPS, ROTARY_BASE
from rrm.losses import is_solved, supervision_loss
from rrm.models import build_model, model_config
from rrm.optim import PUZZLE_EMBEDDING, WeightAverage, build_optimizer, set_learning_rates
from rrm.outputs import Outputs
from rrm.reasoner import Carry, Reasoner
from rrm.tasks.task import IGNORED, PuzzleShape
from rrm.trial_model import Batch
from rrm.weights import load_weights

TOLERANCE = 1e-5  # error that every quantity may have
MAX_TOLERANCE = 2e-3  # error that a quantity may have which the last bit of the weights moves
ROUNDING_FACTOR = 4.0  # tolerance over that move: a processor may round each product differently
ARCHITECTURES: dict[str, dict[str, Any]] = {  # official name -> what it means in our words
    "trm": {"kind": "trm"},
    "trm_singlez": {"kind": "trm", "state": "single"},
    "hrm": {"kind": "hrm"},
}
POSITIONS: dict[str, Any] = {"rope": "rotary", "learned": "learned", "none": "none"}
FIXED = {"rms_norm_eps": NORM_EPS, "rope_theta": ROTARY_BASE}  # official settings that are constants here


def load_reference(arch: str, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Reasoner:
    """Our model with the official one's config (official names) and weights.

    Args:
        arch: `trm`, `trm_singlez` or `hrm`.
        config: official names; what is absent has the official default.
        state: official state dict, with or without the prefixes of wrappers and compilation.

    Raises:
        UserError: the architecture is not one of ours, a setting is not supported, or the state does not fit the config.
    """
    if arch not in ARCHITECTURES:
        raise UserError("arch", f"must be one of {', '.join(ARCHITECTURES)}, got {arch!r}")
    for name, ours in FIXED.items():
        if config.get(name, ours) != ours:
            raise UserError(name, f"must be {ours}, got {config[name]}")
    shape = PuzzleShape(config["seq_len"], config["vocab_size"], config["num_puzzle_identifiers"])
    model = build_model(_translate(arch, config), shape)
    assert isinstance(model, Reasoner)
    load_weights(model, state)
    return model


def _translate(arch: str, config: Mapping[str, Any]) -> BaseModelConfig:
    """The official config in our words."""
    size, ndim = config["hidden_size"], config.get("puzzle_emb_ndim", 0)
    prefix_length = config.get("puzzle_emb_len", 16 if arch.startswith("trm") else 0) or -(-ndim // size)
    has_continue = arch == "hrm" or not config.get("no_ACT_continue", True)
    mlp_mixer = config.get("mlp_t", False)
    return model_config(
        **ARCHITECTURES[arch],
        h_cycles=config["H_cycles"],
        l_cycles=config["L_cycles"],
        supervision_steps=config["halt_max_steps"],
        halting="act_continue" if has_continue else "act",
        halt_exploration=config.get("halt_exploration_prob", 0.1),
        hidden_size=size,
        head_size=size // config["num_heads"],
        num_layers=config["L_layers"],
        answer_layers=config["H_layers"] if arch == "hrm" else None,
        mixer="mlp" if mlp_mixer else "attention",
        expansion=float(config["expansion"]),
        mlp_multiple=256,
        # The official mlp mixer ignores rotary positions.
        positions="none" if mlp_mixer and config["pos_encodings"] == "rope" else POSITIONS[config["pos_encodings"]],
        prefix_length=prefix_length if ndim else 0,
        puzzle_embedding_size=ndim or None,
        precision=config.get("forward_dtype", "bfloat16"),
    )


class Golden:
    """One golden file: what the official code was given and what came out, and our errors against it.

    The golden tensors stay on the CPU, where errors are computed in float64.

    Args:
        device: where our model runs.
        precision: of our activations; the file's where absent.
    """

    def __init__(self, path: Path, device: str = "cpu", precision: str | None = None) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
            self.tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(str(path), f"is not a golden file: {error}") from None
        self.path, self.device, self.precision = path, device, precision
        self.kind = metadata["kind"]
        self.calls = int(metadata["calls"])
        self.config = json.loads(metadata["config"])
        if precision is not None:
            self.config["forward_dtype"] = precision
        self.errors: dict[str, float] = {}
        self._ours: dict[str, tuple[str, Tensor]] = {}  # by name in the file: the quantity, and our values
        self.model = load_reference(metadata["arch"], self.config, self.part("state.")).to(device)

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def batch(self, call: int) -> Batch:
        names = ("inputs", "labels", "puzzle_identifiers")
        return {name: self.tensors[f"call{call}.{name}"].to(self.model.device) for name in names}

    def compare(self, quantity: str, ours: Tensor, name: str) -> None:
        """Keep the largest error of a quantity; a tensor that the file lacks is not compared."""
        if name not in self.tensors:
            return
        self._ours[name] = quantity, ours.detach().cpu().double()
        error, worst = self._distance(name, self.tensors[name].double()), self.errors.get(quantity, 0.0)
        self.errors[quantity] = nan if isnan(error) or isnan(worst) else max(error, worst)

    def _distance(self, name: str, values: Tensor) -> float:
        """Error of our values of a name in the file, against `values`."""
        return float((self._ours[name][1] - values).abs().max() / self.tensors[name].double().abs().max().clamp_min(1))

    def check(self) -> dict[str, float]:
        """The largest error of each quantity in the file."""
        {"calls": self._check_calls, "evaluation": self._check_evaluation, "training": self._check_training}[self.kind]()
        return self.errors

    def tolerances(self) -> dict[str, float]:
        """The error that each quantity of a finished check may have.

        `TOLERANCE`, or, where an error is larger, what rounding explains: `ROUNDING_FACTOR` times the move of the quantity when
        every weight changes by one unit in its last place, up to `MAX_TOLERANCE`.
        """
        allowed = dict.fromkeys(self.errors, TOLERANCE)
        if all(error <= TOLERANCE for error in self.errors.values()):
            return allowed
        changed = Golden(self.path, self.device, self.precision)
        changed.change_last_bits()
        changed.check()
        for name, (quantity, values) in changed._ours.items():
            moved = ROUNDING_FACTOR * self._distance(name, values)
            allowed[quantity] = max(allowed[quantity], min(moved, MAX_TOLERANCE))
        return allowed

    def change_last_bits(self) -> None:
        """Move every weight of the model, unless it is 0, to a neighbouring number, up or down at random."""
        random = torch.Generator().manual_seed(0)
        for parameter in self.model.parameters():
            up = torch.rand(parameter.shape, generator=random).to(parameter.device) < 0.5
            infinity = torch.full_like(parameter.data, torch.inf)
            moved = torch.nextafter(parameter.data, torch.where(up, infinity, -infinity))
            parameter.data = torch.where(parameter.data == 0, parameter.data, moved)

    def check_first_step(self) -> dict[str, float]:
        """The largest error of each output of the first supervision step; empty where the file has no outputs.

        For low precision: a rounded halting value can free another slot than in the file, after which nothing compares.
        """
        self.model.train(self.kind != "evaluation")
        batch = self.batch(0)
        with torch.no_grad():
            _, outputs = self.model(self.model.initial_carry(batch), batch)
        self._compare_outputs("depth1" if self.kind == "evaluation" else "call0", outputs)
        return self.errors

    def _check_calls(self) -> None:
        """Consecutive calls in training mode with fixed weights."""
        self.model.train()
        carry = self.model.initial_carry(self.batch(0))
        for call in range(self.calls):
            carry, outputs = self.model(carry, self.batch(call))
            loss = supervision_loss(outputs, carry.current["labels"])
            self.model.zero_grad()
            loss.total.backward()  # type: ignore[no-untyped-call]
            self._compare_outputs(f"call{call}", outputs)
            self.compare("loss", loss.total, f"call{call}.loss")
            self.compare("metrics", loss.lm, f"call{call}.metrics.lm_loss")
            self.compare("metrics", loss.halt, f"call{call}.metrics.q_halt_loss")
            self._compare_counts(f"call{call}", carry, outputs)
            self._compare_carry(f"call{call}", carry)
            self._compare_gradients(f"call{call}", carry)

    def _check_evaluation(self) -> None:
        """One batch in evaluation mode over all depths."""
        self.model.eval()
        carry, depth = self.model.initial_carry(self.batch(0)), 1
        with torch.no_grad():
            while f"depth{depth}.logits" in self.tensors:
                carry, outputs = self.model(carry, self.batch(0))
                self._compare_outputs(f"depth{depth}", outputs)
                self.compare("halted", carry.halted, f"depth{depth}.halted")
                depth += 1

    def _check_training(self) -> None:
        """Weights updated after every call: optimizer, warm-up and moving average."""
        settings = self.config["training"]
        config = OptimConfig(
            kind=settings["optimizer"],
            lr=settings["lr"],
            betas=tuple(settings["betas"]),
            weight_decay=settings["weight_decay"],
            warmup=settings["lr_warmup_steps"] / self.calls,
            puzzle_lr=settings.get("puzzle_emb_lr", settings["lr"]),
            puzzle_weight_decay=settings.get("puzzle_emb_weight_decay", settings["weight_decay"]),
            ema_decay=settings.get("ema_rate") or 0.0,
            ema_warmup=False,
        )
        self.model.train()
        optimizer, average = build_optimizer(self.model, config), WeightAverage(self.model, config)
        carry = self.model.initial_carry(self.batch(0))
        for call in range(self.calls):
            carry, outputs = self.model(carry, self.batch(call))
            loss = supervision_loss(outputs, carry.current["labels"])
            optimizer.zero_grad()
            (loss.total / self.config["batch_size"]).backward()
            set_learning_rates(optimizer, config, progress=(call + 1) / self.calls)
            optimizer.step()
            average.update_parameters(self.model)
            self.compare("loss", loss.total, f"call{call}.loss")
            self.compare("lr", torch.tensor(optimizer.param_groups[0]["lr"]), f"call{call}.lr")
            self._compare_carry(f"call{call}", carry)
        for name, value in self.model.state_dict().items():
            self.compare("weights after training", value, f"after.{name}")
        for name, value in average.module.state_dict().items():
            self.compare("moving average", value, f"ema.{name}")

    def _compare_outputs(self, prefix: str, outputs: Outputs) -> None:
        for name in ("logits", "q_halt_logits", "q_continue_logits", "target_q_continue"):
            ours = getattr(outputs, name)
            if ours is not None:
                self.compare(name, ours, f"{prefix}.{name}")

    def _compare_carry(self, prefix: str, carry: Carry) -> None:
        for name in ("steps", "halted", "z_H", "z_L"):
            self.compare(f"carry {name}", getattr(carry, name), f"{prefix}.carry.{name}")
        self.compare("carry inputs", carry.current["inputs"], f"{prefix}.carry.current_inputs")

    def _compare_counts(self, prefix: str, carry: Carry, outputs: Outputs) -> None:
        """The official loss head's counts, over the rows that halted at this call."""
        labels = carry.current["labels"]
        scored = labels != IGNORED
        counted = carry.halted & scored.any(-1)
        right = ((outputs.logits.argmax(-1) == labels) & scored).sum(-1) / scored.sum(-1).clamp_min(1)
        solved = is_solved(outputs.logits, labels)
        counts = {
            "count": counted.sum(),
            "accuracy": right[counted].sum(),
            "exact_accuracy": (solved & counted).sum(),
            "q_halt_accuracy": (((outputs.q_halt_logits >= 0) == solved) & counted).sum(),
            "steps": carry.steps[counted].sum(),
        }
        for name, value in counts.items():
            self.compare("metrics", value, f"{prefix}.metrics.{name}")

    def _compare_gradients(self, prefix: str, carry: Carry) -> None:
        for name, parameter in self.model.named_parameters():
            assert parameter.grad is not None, name
            self.compare("gradient norms", parameter.grad.norm(), f"{prefix}.grad_norm.{name}")
            self.compare("gradients", parameter.grad, f"{prefix}.grad.{name}")
        rows = self.tensors.get(f"{prefix}.grad.puzzle_emb.local_weights")
        if rows is not None:  # official: one gradient a slot; ours: summed by puzzle
            table = dict(self.model.named_parameters())[PUZZLE_EMBEDDING]
            summed = torch.zeros(table.shape).index_add(0, carry.current["puzzle_identifiers"].long().cpu(), rows)
            self.tensors[f"{prefix}.grad.{PUZZLE_EMBEDDING}"] = summed
            assert table.grad is not None
            self.compare("gradients", table.grad, f"{prefix}.grad.{PUZZLE_EMBEDDING}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rrm.reference", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="golden .safetensors files")
    failed = False
    try:
        for path in parser.parse_args(arguments).files:
            golden = Golden(path)
            errors, tolerances = golden.check(), golden.tolerances()
            print(path)
            for quantity, error in errors.items():
                exceeds = not error <= tolerances[quantity]  # also an error that is not a number
                failed |= exceeds
                beside = f"  (tolerance {tolerances[quantity]:.1e}, by rounding)" if tolerances[quantity] > TOLERANCE else ""
                print(f"  {quantity:24} {error:.1e}{'  too large' if exceeds else ''}{beside}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{'an error exceeds its tolerance' if failed else 'every error is within its tolerance'} ({TOLERANCE:.0e} unless stated)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
