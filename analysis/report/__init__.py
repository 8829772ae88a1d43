"""The report of an analysis: its content, its sentences, its HTML page, its table for a terminal."""
