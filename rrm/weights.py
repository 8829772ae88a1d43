"""Weights by name: into a model, from a file, into a file."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rrm.errors import UserError, first_line
from rrm.files import draft_of
from rrm.optim import PUZZLE_EMBEDDING

# What stands before the name of a tensor: torch.compile's prefix, that of wrappers for several devices, the official code's class
# with a loss (`model.inner.`), and the Lightning module of this project (`reasoner.`).
STATE_PREFIXES = ("_orig_mod.", "module.", "model.", "inner.", "reasoner.")


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a state dict of the published HRM or TRM code, or one of this project, into a model that is not wrapped or compiled.

    A table of puzzle embeddings with another number of rows becomes its mean in every row, as in the official code: the rows of
    other puzzles mean nothing here.

    Raises:
        UserError: a tensor is missing, left over, or of another shape; it names `state`, as the caller knows the file.
    """
    plain = {_plain_name(name): value for name, value in state.items()}
    own = model.state_dict()
    table = plain.get(PUZZLE_EMBEDDING)
    if table is not None and PUZZLE_EMBEDDING in own and table.shape != own[PUZZLE_EMBEDDING].shape:
        expected = own[PUZZLE_EMBEDDING].shape
        if table.shape[1:] == expected[1:]:
            plain[PUZZLE_EMBEDDING] = table.mean(0, keepdim=True).expand(expected)
    try:
        model.load_state_dict(plain)
    except RuntimeError as error:
        raise UserError("state", f"does not fit the config: {error}") from None


def _plain_name(name: str) -> str:
    """A parameter's name without what wrappers put before it."""
    while prefix := next((prefix for prefix in STATE_PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a `.safetensors` file or a torch file; nothing in it is executed.

    Raises:
        UserError: the file cannot be read, or holds something else than tensors by name.
    """
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    if is_empty:
        raise UserError(str(path), "is empty, and must be a file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise any type of error on a damaged file
        raise UserError(str(path), f"is not a file of weights: {first_line(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(str(path), "must hold tensors by name and nothing else")
    return state


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as a `.safetensors` file, in one step: a crash or a full disk leaves the previous file."""
    with draft_of(path) as draft:
        save_file({name: value.contiguous() for name, value in state.items()}, draft)
