"""`rrm-sweep`: the commands, and how they are read from a command line."""
