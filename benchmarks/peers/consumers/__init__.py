"""Consumers as a developer writes them from a library's documentation; run in their own environment."""
