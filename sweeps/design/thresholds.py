"""Limits that a plan and an analysis share."""

LEVEL = 0.95  # of every two-sided interval
MIN_SCALES = 3  # different sizes, and different recursions, that a law in both needs
MIN_SEEDS = 2  # of a cell, without which its noise is unknown
MAX_CORRELATION = 0.95  # between log size and log recursion, above which their slopes cannot be told apart
MIN_SIZE_SLOPE_T = 4.0  # slope in log size over its standard error, below which a ratio to that slope means nothing
