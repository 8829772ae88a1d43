"""Statistics without a law: regression, effects of axes, importance, whether tasks agree."""
