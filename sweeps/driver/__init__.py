"""The process that runs a sweep: it asks for trials, judges their rows, ends them, and shows how they stand."""
