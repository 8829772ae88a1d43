"""Statistics that need no law: regression, effects of axes, importance of parameters, agreement between tasks."""
