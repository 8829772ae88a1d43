"""Real sweeps for tests of what the analysis suggests to run."""

from tests.sweeps.conftest import tracked, typed

__all__ = ["tracked", "typed"]
