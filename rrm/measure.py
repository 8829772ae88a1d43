"""Parameters, calls and FLOPs of a model, counted on the model itself: it is built and run without memory, on the meta device."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rrm.config import AnyModelConfig
from rrm.layers import BlockStack
from rrm.models import build_reasoner
from rrm.optim import PUZZLE_EMBEDDING
from rrm.reasoner import Reasoner
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Batch, Cycles

META = torch.device("meta")


class Measured(NamedTuple):
    """What one supervision step of a model was seen to use."""

    once: int  # parameters outside the networks
    recursed: int  # parameters of the networks
    layers_per_step: int  # layers executed
    recursion: float  # times a parameter of the networks is applied in N_sup steps, on average
    answer_flops: int  # FLOPs of one step on one example, answer included
    train_flops: int  # FLOPs of one training step on one example


@lru_cache(maxsize=4096)
def measure_model(config: AnyModelConfig, shape: PuzzleShape, cycles: tuple[int, int] | None = None) -> Measured:
    """Counts of the model that `build_reasoner(config, shape)` builds; torch's random state stays as it is.

    Args:
        cycles: (T, n) in force, where a curriculum asks for other ones than the config.
    """
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        with META:
            model = build_reasoner(config, shape)
        asked = Cycles(*(cycles or config.cycles))
        networks = [module for module in model.modules() if isinstance(module, BlockStack)]
        sizes = {network: sum(weight.numel() for weight in network.parameters()) for network in networks}
        applied = _count_applications(model.eval(), networks, shape, asked)
        trained = sum(weight.numel() for name, weight in model.named_parameters() if name != PUZZLE_EMBEDDING)
        recursed = sum(sizes.values())
        passes = sum(applied[network] * sizes[network] for network in networks)  # applications, weighted by parameters
        return Measured(
            once=trained - recursed,
            recursed=recursed,
            layers_per_step=sum(applied[network] * len(network.layers) for network in networks),
            recursion=passes / recursed * config.trained_depth if recursed else 1,
            answer_flops=_count_flops(model.eval(), shape, asked, trains=False),
            train_flops=_count_flops(model.train(), shape, asked, trains=True),
        )


def _one_example(shape: PuzzleShape) -> Batch:
    tokens = torch.zeros(1, shape.length, dtype=torch.int32, device=META)
    return {"inputs": tokens, "labels": tokens.long(), "puzzle_identifiers": torch.zeros(1, dtype=torch.int32, device=META)}


def _count_applications(model: Reasoner, networks: list[BlockStack], shape: PuzzleShape, cycles: Cycles) -> Counter[BlockStack]:
    """How often each network is called in one supervision step of a model in evaluation mode."""
    applied: Counter[BlockStack] = Counter()

    def count(network: torch.nn.Module, _inputs: object, _output: Tensor) -> None:
        assert isinstance(network, BlockStack)
        applied[network] += 1

    hooks = [network.register_forward_hook(count) for network in networks]
    with torch.no_grad():
        batch = _one_example(shape)
        model(model.initial_carry(batch), batch, cycles)
    for hook in hooks:
        hook.remove()
    return applied


def _count_flops(model: Reasoner, shape: PuzzleShape, cycles: Cycles, trains: bool) -> int:
    """FLOPs of one supervision step on one example, with its backward pass where it trains."""
    batch = _one_example(shape)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(trains):
        _, outputs = model(model.initial_carry(batch), batch, cycles)
        if trains:
            heads = (outputs.q_halt_logits, outputs.q_continue_logits)
            (outputs.logits.sum() + sum(head.sum() for head in heads if head is not None)).backward()
    return int(counter.get_total_flops())
