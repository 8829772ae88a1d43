"""A name that models logged by versions before 0.2 hold; the code is in `sweeps.tracking.mlflow.pyfunc`."""
