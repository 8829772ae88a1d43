"""Models that earlier versions logged name `sweeps.mlflow_door.served` as their loader."""
