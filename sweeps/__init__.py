"""Many trials: one YAML file, Ray to run it, Optuna to choose, MLflow to hold the runs, a folder that is the truth."""
