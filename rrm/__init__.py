"""Recursive reasoning models and the tasks they are measured on (torch, numpy and pydantic only)."""
