"""The laws that runs are held against, one file each; `analysis.scaling` applies them to every group."""
