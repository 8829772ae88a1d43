"""What runs on a node of the cluster: one trial at a time, without credentials."""
