"""The parts of benchmarks/gpu.py, a module each with a function `figures`; importing this package loads no torch."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # the project need not be installed
    sys.path.insert(0, str(ROOT))
