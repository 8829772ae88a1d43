"""The trials that are measured: the papers' models at their size, and the product's default at small widths.

On a CPU every size is tiny, so that the command can be tested.
"""

from pathlib import Path
from typing import Any

import torch

from lightning_modules.config import TrialConfig, parse_trial

PAPER_SLOTS, TINY_SLOTS = 768, 2
PREFIX_LENGTH = 16  # with a grid of 81 tokens: 97
MODELS: dict[str, dict[str, Any]] = {  # TRM paper, section 5; HRM paper, section 3
    "TRM-Att": {"kind": "trm", "num_layers": 2, "h_cycles": 3, "l_cycles": 6, "positions": "rotary"},
    "TRM-MLP": {"kind": "trm", "num_layers": 2, "h_cycles": 3, "l_cycles": 6, "mixer": "mlp"},
    "HRM": {"kind": "hrm", "num_layers": 4, "h_cycles": 2, "l_cycles": 2, "positions": "rotary"},
}
FEW_EXAMPLES = {"validation_examples": 16, "test_examples": 16}
TINY_CYCLES = {"h_cycles": 2, "l_cycles": 1, "num_layers": 1}


def paper_trial(name: str, tiny: bool, slots: int = PAPER_SLOTS, **changes: dict[str, Any]) -> TrialConfig:
    """A trial of one of `MODELS` on 9x9 Sudoku: width 512, 8 heads, 97 tokens, N_sup 16, bfloat16 where the card has it.

    Args:
        tiny: width 16, fewer cycles and slots instead.
        slots: rows of a batch.
        changes: fields by section that differ.
    """
    size = 16 if tiny else 512
    model = MODELS[name] | {
        "hidden_size": size,
        "head_size": size // 8,
        "mlp_multiple": 256,
        "prefix_length": PREFIX_LENGTH,
        # The official HRM has a prefix as long as its puzzle embedding.
        "puzzle_embedding_size": size * (PREFIX_LENGTH if name == "HRM" else 1),
        "supervision_steps": 16,
    }
    rates = {"lr": 1e-4, "weight_decay": 1.0, "puzzle_lr": 1e-4, "puzzle_weight_decay": 1.0}
    sections: dict[str, dict[str, Any]] = {
        "task": {"kind": "sudoku", "size": 9, "train_examples": 50 if tiny else 1000} | FEW_EXAMPLES,
        "model": model | (TINY_CYCLES if tiny else {}),
        "optim": rates,
        "fit": {"batch_size": TINY_SLOTS if tiny else slots},
        "eval": {},
    }
    return parse_trial({section: fields | changes.get(section, {}) for section, fields in sections.items()}, Path())


def small_trial(width: int, tiny: bool) -> TrialConfig:
    """The product's default trial at a width: TRM with attention on 6x6 Sudoku, 36 tokens, 128 slots, T 3, n 6, 2 layers."""
    model = {"hidden_size": width} | (TINY_CYCLES if tiny else {})
    task = {"kind": "sudoku", "size": 6, "train_examples": 1000} | FEW_EXAMPLES
    return parse_trial({"task": task, "model": model, "fit": {"batch_size": TINY_SLOTS if tiny else 128}}, Path())


def free_memory() -> None:
    """Hand cached blocks of the card back, so that the next model starts with an empty card."""
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
