"""What a design can show, from arrays alone: its axes, cells, groups, and whether a law can be fitted. Needs numpy only.

`sweeps.planning` uses it before a sweep runs and `analysis.laws` after it, so that they agree.
"""
