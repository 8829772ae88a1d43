"""Peak rates of common cards."""

import re

# Dense bfloat16 products with float32 accumulation in TFLOP/s, from NVIDIA's data sheets. Cards without bfloat16 (V100, T4)
# are left out. The first pattern that matches a card's name counts.
BFLOAT16_PEAK_TFLOPS = {
    r"H200 NVL": 835.5,
    r"H200|GH200": 989.4,
    r"H100 NVL": 835.5,
    r"H100 PCIe": 756.0,
    r"H100": 989.4,
    r"H20\b": 148.0,
    r"A100": 312.0,
    r"A40\b": 149.7,
    r"A10\b": 125.0,
    r"L40S": 362.0,
    r"L40\b": 181.0,
    r"L4\b": 121.0,
    r"RTX A6000": 154.8,
    r"RTX 6000 Ada": 364.2,
    r"RTX 5090(?! D| Laptop)": 209.5,
    r"RTX 4090(?! D| Laptop)": 165.2,
    r"RTX 3090(?! Ti)": 71.0,
}


def bfloat16_peak_flops(card: str) -> float | None:
    """Peak FLOP/s of a card by its name; None for an unknown one and for a slice of a card (MIG)."""
    if "MIG" in card:
        return None
    return next((tflops * 1e12 for name, tflops in BFLOAT16_PEAK_TFLOPS.items() if re.search(name, card)), None)
