"""Runs as two tidy tables: of a store, of MLflow, of a table made elsewhere; test items; published numbers."""
