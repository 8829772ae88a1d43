"""Limits that a plan and an analysis share."""

LEVEL = 0.95  # confidence level of every two-sided interval
MIN_SCALES = 3  # different sizes, and different recursions, that a law in both needs
MIN_SEEDS = 2  # seeds that a cell needs; with fewer its noise is unknown
MAX_CORRELATION = 0.95  # |correlation| of log size and log recursion; above it their slopes cannot be separated
MIN_SIZE_SLOPE_T = 4.0  # slope in log size over its standard error; below it a ratio to that slope means nothing
LACKING = 0.01  # p of a lack of fit that is flagged, and of a difference between cells that counts
FLOOR, CEILING = 0.05, 0.95  # exact accuracy below and above which an effect cannot show in full
NOTHING_SOLVED, ALL_SOLVED = 0.02, 0.98  # exact accuracy below and above which cells do not differ any more
MAX_MISFIT_SHARE = 0.10  # of the range of log L: misfit beyond seed noise that is not refused
