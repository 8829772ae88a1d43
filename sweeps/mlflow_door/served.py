"""Leads to the loader of logged models, which has moved."""

from sweeps.tracking.mlflow.pyfunc import _load_pyfunc as _load_pyfunc
