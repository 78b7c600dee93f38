"""The ways by which IMs come in."""
