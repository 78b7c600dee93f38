"""Partners told: who was told that a conversation is archived."""

from admin_api.archive.disclaimers.routes import router

__all__ = ["router"]
