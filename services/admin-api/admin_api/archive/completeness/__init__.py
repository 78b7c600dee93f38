"""Completeness: accepted IMs, and which of them are missing."""

from admin_api.archive.completeness.routes import router

__all__ = ["router"]
