"""Archived IMs: found by a search, read one by one."""

from admin_api.archive.messages.routes import router

__all__ = ["router"]
