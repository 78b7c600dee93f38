"""Parked IMs and call detail records: read, replayed, discarded."""

from admin_api.archive.parked.routes import router

__all__ = ["router"]
