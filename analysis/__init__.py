"""Records in; tables, statistics, figures and a report out. Needs neither torch nor ray."""

from analysis.tables import Tables, load

__all__ = ["Tables", "load"]
