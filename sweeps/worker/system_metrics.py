"""Load and memory of the machine that a trial runs on, under MLflow's own names of system metrics."""

from contextlib import suppress

import psutil
import torch

MEGABYTE = 1e6


class SystemMetrics:
    """Reads load and memory; the load is that since the reading before."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first reading has no earlier one to compare with, and returns 0

    def read(self) -> dict[str, float]:
        """Values by metric: of the whole machine, of this process, and of the GPU that the trial uses."""
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_usage_megabytes": self._process.memory_info().rss / MEGABYTE,
        }
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            values["system/gpu_0_memory_usage_megabytes"] = (total - free) / MEGABYTE
            values["system/gpu_0_memory_usage_percentage"] = 100 * (total - free) / total
            with suppress(ModuleNotFoundError, RuntimeError):  # nvidia-ml-py is absent, or NVIDIA's driver refuses
                values["system/gpu_0_utilization_percentage"] = float(torch.cuda.utilization())
        return values
