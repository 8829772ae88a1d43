"""The laws that runs are held against, one file each; `analysis.laws.fit_all` applies them to every group."""
