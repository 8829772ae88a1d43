"""Records in; tables, laws, figures and a report out. Needs neither torch nor ray. For notebooks:

import analysis
tables = analysis.load("runs/demo")                  # or analysis.load_csv(Path("runs.csv"))
fits = analysis.fit_laws(tables)                     # laws=[...] fits some laws alone, or a subclass of analysis.Law
analysis.plot_inference_depth(tables).show()
"""

from analysis.data.csv_import import load_csv
from analysis.data.tables import Tables, load, merge
from analysis.figures.notebook import (
    plot_accuracy_by_data,
    plot_accuracy_by_depth,
    plot_accuracy_by_difficulty,
    plot_accuracy_by_parameters,
    plot_accuracy_by_training_flops,
    plot_breadth_depth,
    plot_halting_calibration,
    plot_importance,
    plot_inference_depth,
    plot_inference_frontier,
    plot_recursion_split,
    plot_required_depth,
    plot_seeds,
    plot_state_change_correctness,
    plot_state_reset,
    plot_train_inference_matrix,
    plot_training_curves,
    plot_width_depth_map,
)
from analysis.laws.draft import Draft
from analysis.laws.drawing import Drawing
from analysis.laws.fit import Fit, Quality
from analysis.laws.fit_all import find_laws, fit_laws
from analysis.laws.groups import Group, groups_of
from analysis.laws.law import Law
from analysis.laws.notebook import plot_fit, plot_law, plot_misfit
from analysis.laws.sentence import Sentence
from analysis.statistics.importance import Importance, anova_shares, ped_anova
from analysis.statistics.interval import Interval
from sweeps.design.reasons import Reason

__all__ = [
    "Draft", "Drawing", "Fit", "Group", "Importance", "Interval", "Law", "Quality", "Reason", "Sentence", "Tables",
    "anova_shares", "find_laws", "fit_laws", "groups_of", "load", "load_csv", "merge", "ped_anova", "plot_accuracy_by_data",
    "plot_accuracy_by_depth", "plot_accuracy_by_difficulty", "plot_accuracy_by_parameters", "plot_accuracy_by_training_flops",
    "plot_breadth_depth", "plot_fit", "plot_halting_calibration", "plot_importance", "plot_inference_depth",
    "plot_inference_frontier", "plot_law", "plot_misfit", "plot_recursion_split", "plot_required_depth", "plot_seeds",
    "plot_state_change_correctness", "plot_state_reset", "plot_train_inference_matrix", "plot_training_curves",
    "plot_width_depth_map",
]  # fmt: skip
