"""Parked messages: kept as they came, tried in a process of their own, replayed on request."""
