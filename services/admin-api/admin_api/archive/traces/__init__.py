"""Traces: every step of one IM's way with its time."""

from admin_api.archive.traces.routes import router

__all__ = ["router"]
