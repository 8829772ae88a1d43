"""Records in; tables, laws, figures and a report out. Needs neither torch nor ray. For notebooks:

import analysis
tables = analysis.load("runs/demo")                  # or analysis.load_csv(Path("runs.csv"))
fits = analysis.fit_laws(tables)                     # or analysis.fit_recurrence(group) for each of analysis.groups_of(...)
analysis.plot_inference_depth(tables).show()
"""

from analysis.data.csv_import import load_csv
from analysis.data.tables import Tables, load, merge
from analysis.figures.notebook import (
    plot_accuracy_by_depth,
    plot_accuracy_by_difficulty,
    plot_accuracy_by_parameters,
    plot_accuracy_by_training_flops,
    plot_breadth_depth,
    plot_compute_optimal,
    plot_exchange_rate,
    plot_halting_calibration,
    plot_importance,
    plot_inference_depth,
    plot_inference_frontier,
    plot_law,
    plot_recursion_split,
    plot_required_depth,
    plot_residual_correctness,
    plot_residuals,
    plot_seeds,
    plot_state_reset,
    plot_train_inference_matrix,
    plot_training_curves,
    plot_width_depth_map,
)
from analysis.laws.compute_optimal import fit_compute_optimal
from analysis.laws.fit import Estimate, Fit
from analysis.laws.fit_all import fit_laws
from analysis.laws.groups import Group, groups_of
from analysis.laws.inference_depth import fit_test_time
from analysis.laws.iso_flop import fit_iso_flop
from analysis.laws.power import fit_log_depth, fit_power
from analysis.laws.recurrence import fit_recurrence
from analysis.laws.required_depth import fit_required_depth
from analysis.statistics.importance import Importance, anova_shares, ped_anova

__all__ = [
    "Estimate", "Fit", "Group", "Importance", "Tables", "anova_shares", "fit_compute_optimal", "fit_iso_flop", "fit_laws",
    "fit_log_depth", "fit_power", "fit_recurrence", "fit_required_depth", "fit_test_time", "groups_of", "load", "load_csv", "merge",
    "ped_anova", "plot_accuracy_by_depth", "plot_accuracy_by_difficulty", "plot_accuracy_by_parameters",
    "plot_accuracy_by_training_flops", "plot_breadth_depth", "plot_compute_optimal", "plot_exchange_rate",
    "plot_halting_calibration", "plot_importance", "plot_inference_depth", "plot_inference_frontier", "plot_law",
    "plot_recursion_split", "plot_required_depth", "plot_residual_correctness", "plot_residuals", "plot_seeds", "plot_state_reset",
    "plot_train_inference_matrix", "plot_training_curves", "plot_width_depth_map",
]  # fmt: skip
