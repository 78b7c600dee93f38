"""Access: callers, their roles, and their share of the service."""
