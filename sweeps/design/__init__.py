"""What a design can show, from arrays alone: its axes, cells, groups, and whether a law can be fitted. Needs numpy only.

`sweeps.planning` asks before a sweep runs and `analysis.laws` asks after it, so both give the same answer.
"""
