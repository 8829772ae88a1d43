"""How often does the host wait for the card in 100 training steps, and where?"""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from gpu_parts.figure import Figure, Setting
from gpu_parts.trials import small_trial
from lightning_modules.steps import BareTraining

WARMUP_STEPS, STEPS = 3, 100
SHOWN_PLACES = 8
MESSAGE = "called a synchronizing CUDA operation"  # torch's, in its sync debug mode


def figures(setting: Setting) -> Iterator[Figure]:
    """The count over all steps of the default trial at width 128, then the lines of code with the most."""
    training = BareTraining(small_trial(128, setting.tiny), torch.device(setting.device))
    for _ in range(WARMUP_STEPS):
        training.step()
    if setting.device == "cpu":
        yield Figure(f"host waits in {STEPS} training steps", "not counted on a CPU")
        return
    places = _count(training)
    yield Figure(f"host waits in {STEPS} training steps", sum(places.values()), "waits")
    for place, count in places.most_common(SHOWN_PLACES):
        yield Figure(f"of these at {place}", count, "waits")


def _count(training: BareTraining) -> Counter[str]:
    """Synchronizing operations by the line of Python that called them; torch does not see all of them."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(STEPS):
                training.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in caught if MESSAGE in str(warning.message)]
    return Counter(f"{'/'.join(Path(wait.filename).parts[-2:])}:{wait.lineno}" for wait in waits)
