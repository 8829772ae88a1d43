"""Do our models compute on this device what the official code computed on a CPU?"""

from collections.abc import Iterator

import torch

from gpu_parts import ROOT
from gpu_parts.figure import Figure, Setting
from rrm.reference import Golden

FOLDER = ROOT / "tests" / "golden"
# One supervision step of these random models in bfloat16 on a CPU moves the outputs by up to 7e-2.
BFLOAT16_TOLERANCE = 0.15


def figures(setting: Setting) -> Iterator[Figure]:
    """The largest error of each golden file: of every quantity in float32, of the first step's outputs in bfloat16."""
    paths = sorted(FOLDER.glob("*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"no golden files at {FOLDER.relative_to(ROOT)}: they come with a whole copy of the repository")
    torch.backends.cuda.matmul.allow_tf32 = False
    for path in paths:
        golden = Golden(path, setting.device, "float32")
        errors, tolerances = golden.check(), golden.tolerances()
        yield _largest(f"{path.stem}, float32", errors, tolerances)
    for path in paths:
        errors = Golden(path, setting.device, "bfloat16").check_first_step()
        if errors:
            yield _largest(f"{path.stem}, bfloat16, first step", errors, dict.fromkeys(errors, BFLOAT16_TOLERANCE))


def _largest(name: str, errors: dict[str, float], tolerances: dict[str, float]) -> Figure:
    """The quantity whose error is the largest share of its tolerance; an error that is not a number fails."""
    shares = {quantity: error / tolerances[quantity] for quantity, error in errors.items()}
    quantity = max(shares, key=lambda quantity: shares[quantity] if shares[quantity] == shares[quantity] else float("inf"))
    error, tolerance = errors[quantity], tolerances[quantity]
    return Figure(name, error, "error", f"{quantity}; tolerance {tolerance:g}", failed=not error <= tolerance)
