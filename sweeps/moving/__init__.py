"""Sweeps as files that other machines and programs read: export and import."""
