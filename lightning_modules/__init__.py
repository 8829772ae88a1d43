"""One trial: its config, its data, its Lightning module and `fit` (torch, lightning and pydantic; no sweep)."""
