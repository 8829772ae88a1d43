"""The official TRM repository's models in training; its code is imported from a checkout and no part of it is copied here.

Both sides of the comparison get the same batches and AdamAtan2 of `rrm.optim`, so that it is one of model code. The official
puzzle embedding is updated by its own optimizer and the weights are averaged by its own helper, as its training script does.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TrainingStream, load_splits
from rrm.optim import AdamAtan2

CLASSES = {
    "trm": ("models.recursive_reasoning.trm", "TinyRecursiveReasoningModel_ACTV1"),
    "hrm": ("models.recursive_reasoning.hrm", "HierarchicalReasoningModel_ACTV1"),
}


class OfficialTraining:
    """An official model in training, as `BareTraining` is one of ours.

    Raises:
        ModuleNotFoundError: the checkout is not one of the official repository, or it imports a package that is not installed.
    """

    def __init__(self, checkout: Path, config: TrialConfig, device: torch.device, compiled: bool) -> None:
        if str(checkout) not in sys.path:
            sys.path.insert(0, str(checkout))
        module, name = CLASSES[config.model.kind]
        build = getattr(importlib.import_module(module), name)
        loss_head = importlib.import_module("models.losses").ACTLossHead
        sparse = importlib.import_module("models.sparse_embedding").CastedSparseEmbeddingSignSGD_Distributed
        self.device, self.slots = device, config.fit.batch_size
        data, optim = load_splits(config.task), config.optim
        self.stream = TrainingStream(data.task, data.splits["train"], config, first_step=0)
        with device:  # buffers that require gradients must be made there
            self.head = loss_head(build(_official_config(config, device)), loss_type="stablemax_cross_entropy").train()
        embedding = self.head.model.puzzle_emb
        self.optimizers = [
            sparse(embedding.buffers(), world_size=1, lr=optim.puzzle_lr, weight_decay=optim.puzzle_weight_decay),
            AdamAtan2(self.head.parameters(), lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay),
        ]
        self.average = importlib.import_module("models.ema").EMAHelper(optim.ema_decay)
        self.average.register(self.head)
        self.call: Callable[..., Any] = torch.compile(self.head) if compiled else self.head
        self.carry: Any = None
        self.steps = 0

    def step(self) -> None:
        """One official training step; returns before a GPU has finished."""
        batch = {name: rows.to(self.device, non_blocking=True) for name, rows in self.stream.batch(self.steps).items()}
        if self.carry is None:
            with self.device:
                self.carry = self.head.initial_carry(batch)
        self.carry, loss, *_ = self.call(carry=self.carry, batch=batch, return_keys=[])
        (loss / self.slots).backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.average.update(self.head)
        self.steps += 1


def _official_config(config: TrialConfig, device: torch.device) -> dict[str, Any]:
    """The model of a trial in the official names."""
    model, shape = config.model, config.task.shape
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "batch_size": config.fit.batch_size,
        "seq_len": shape.length,
        "vocab_size": shape.vocabulary,
        "num_puzzle_identifiers": shape.num_puzzles,
        "puzzle_emb_ndim": model.puzzle_embedding_size,
        "puzzle_emb_len": model.prefix_length,
        "H_cycles": model.h_cycles,
        "L_cycles": model.l_cycles,
        "H_layers": model.answer_layers or 0,
        "L_layers": model.num_layers,
        "hidden_size": model.hidden_size,
        "expansion": model.expansion,
        "num_heads": model.num_heads,
        "pos_encodings": {"rotary": "rope"}.get(str(model.positions), model.positions),
        "mlp_t": model.mixer == "mlp",
        "halt_max_steps": model.supervision_steps,
        "halt_exploration_prob": model.halt_exploration,
        "forward_dtype": "bfloat16" if has_bfloat16 else "float32",
    }
