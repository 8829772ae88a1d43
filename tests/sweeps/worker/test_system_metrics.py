"""Load and memory of the machine, under the names of MLflow."""

from sweeps.worker.system_metrics import SystemMetrics


def test_load_and_memory_of_machine_and_process_are_read() -> None:
    values = SystemMetrics().read()
    assert 0 < values["system/system_memory_usage_percentage"] < 100
    assert values["system/process_memory_usage_megabytes"] > 50 and 0 <= values["system/cpu_utilization_percentage"] <= 100
