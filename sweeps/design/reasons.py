"""Why a law is refused."""

from enum import StrEnum


class Reason(StrEnum):
    """A word of `fits.json`, and the clause that a report gives for it; a refusal has the first reason that applies."""

    sentence: str

    TOO_FEW_SCALES = "too_few_scales", "the design has too few sizes, recursions or inference depths"
    TOO_FEW_SEEDS = "too_few_seeds", "most cells have a single seed"
    NOT_POSITIVE = "not_positive", "a loss, a size, R, T, n + 1 or N_sup is zero or negative and has no logarithm"
    CONFOUNDED = "confounded", "size and the axes of recursion rise together, so that their effects cannot be separated"
    FLOOR = "floor", "no cell differs from another beyond seed noise: all are at the floor"
    CEILING = "ceiling", "no cell differs from another beyond seed noise: all are at the ceiling"
    FLAT = "flat", "the accuracy of a seed or of all does not change with D"
    LACK_OF_FIT = "lack_of_fit", "the cells differ from the law by more than seed noise"
    NO_INTERIOR_OPTIMUM = "no_interior_optimum", "the best size is an edge of the design"

    def __new__(cls, word: str, sentence: str) -> "Reason":
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.sentence = sentence
        return reason
