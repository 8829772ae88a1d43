"""Parameters, calls, FLOPs and memory of a model, counted on the model itself through the interface `TrialModel`.

The model is built and run on the meta device, which holds no values. One that reads the value of a tensor runs on the CPU instead.
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rrm.config import BaseModelConfig, Cycles, LossConfig
from rrm.errors import UserError
from rrm.models import build_model
from rrm.optim import PUZZLE_EMBEDDING
from rrm.plugins import faults_of
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Batch, TrialModel

META, CPU = torch.device("meta"), torch.device("cpu")
T = TypeVar("T")


class Measured(NamedTuple):
    """What one step of a model was seen to use."""

    once: int  # parameters outside the networks
    recursed: int  # parameters of the networks
    puzzle_weights: int  # weights of the embedding of puzzles
    layers_per_step: int  # layers executed
    recursion: float  # times a parameter of the networks is applied at the trained depth, on average
    answer_flops: int  # FLOPs of one step on one example, answer included
    train_flops: int  # FLOPs of one training step on one example


@lru_cache(maxsize=4096)
def measure_model(config: BaseModelConfig, shape: PuzzleShape, cycles: Cycles | None = None) -> Measured:
    """Counts of the model that `build_model(config, shape)` builds; torch's random state stays as it is.

    Args:
        cycles: T and n in a training step, where a curriculum sets them; the model's own where absent.

    Raises:
        UserError: the model of a plug-in does not keep to the interface.
    """

    def measure(device: torch.device) -> Measured:
        model, rows = _build(config, shape, device), _blank_rows(1, shape, device)
        networks = model.networks()
        sizes = {network: sum(weight.numel() for weight in network.parameters()) for network in networks}
        applied: Counter[nn.Module] = Counter()
        hooks = [network.register_forward_hook(lambda called, *_: applied.update([called])) for network in networks]
        answer_flops = _count_flops(lambda: _answer(model.eval(), rows, shape))
        for hook in hooks:
            hook.remove()
        train_flops = _count_flops(lambda: torch.autograd.backward(_train(model.train(), rows, LossConfig(), cycles)))
        weights = {name: weight.numel() for name, weight in model.named_parameters()}
        puzzle_weights = weights.pop(PUZZLE_EMBEDDING, 0)
        recursed = sum(sizes.values())
        passes = sum(applied[network] * size for network, size in sizes.items())  # applications, weighted by parameters
        return Measured(
            once=sum(weights.values()) - recursed,
            recursed=recursed,
            puzzle_weights=puzzle_weights,
            layers_per_step=sum(applied[network] * layers for network, layers in networks.items()),
            recursion=passes / recursed * config.trained_depth if recursed else 1,
            answer_flops=answer_flops,
            train_flops=train_flops,
        )

    with sdpa_kernel(SDPBackend.MATH), faults_of(config.from_plugin, f"model {config.kind}"):
        return _without_values(measure)


@lru_cache(maxsize=4096)
def measure_saved_bytes(config: BaseModelConfig, shape: PuzzleShape, loss: LossConfig) -> int:
    """Bytes that a training step keeps of one example for its backward pass."""

    def measure(device: torch.device) -> int:
        model = _build(config, shape, device).train()
        one, two = (_saved_bytes(model, _blank_rows(rows, shape, device), loss) for rows in (1, 2))
        return two - one  # without what does not depend on the batch, such as weights

    return _without_values(measure)


def _without_values(measure: Callable[[torch.device], T]) -> T:
    """A measurement on the meta device, or on the CPU for a model that reads the value of a tensor."""
    with torch.random.fork_rng(devices=[]):
        try:
            return measure(META)
        except RuntimeError:  # torch has no type for it; a fault of the model is raised again
            return measure(CPU)


def _build(config: BaseModelConfig, shape: PuzzleShape, device: torch.device) -> TrialModel[Any]:
    with device:
        return build_model(config, shape)


def _blank_rows(count: int, shape: PuzzleShape, device: torch.device) -> Batch:
    tokens = torch.zeros(count, shape.length, dtype=torch.int32, device=device)
    return {"inputs": tokens, "labels": tokens, "puzzle_identifiers": torch.zeros(count, dtype=torch.int32, device=device)}


@torch.no_grad()
def _answer(model: TrialModel[Any], rows: Batch, shape: PuzzleShape) -> None:
    """Answer blank rows.

    Raises:
        UserError: the logits have another shape than [B, L, V].
    """
    given, wanted = tuple(next(model.answer_depths(rows, 1)).logits.shape), (len(rows["inputs"]), shape.length, shape.vocabulary)
    if given != wanted:
        raise UserError(f"model {model.config.kind}", f"the logits of one puzzle must be [B, L, V] = {wanted}, got {given}")


def _train(model: TrialModel[Any], rows: Batch, loss: LossConfig, cycles: Cycles | None = None) -> Tensor:
    """The loss of a first training step."""
    return model.training_step(model.start_training(rows).carry, rows, loss, cycles).loss


def _count_flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _saved_bytes(model: TrialModel[Any], rows: Batch, loss: LossConfig) -> int:
    """Bytes that autograd keeps in a training step; tensors that share memory count once."""
    storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        graph = _train(model, rows, loss)
    del graph
    return sum(storage.nbytes() for storage in storages.values())
