"""The loader module that logged models of the past name."""

from sweeps.tracking.mlflow.pyfunc import _load_pyfunc as _load_pyfunc
