"""Tracking of a sweep: events in a spool, each sent once to a tracker; provenance; removal of secrets."""
