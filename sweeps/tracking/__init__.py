"""What is recorded of a sweep: events in a spool, sent once each to MLflow; provenance; secrets that stay out of it."""
