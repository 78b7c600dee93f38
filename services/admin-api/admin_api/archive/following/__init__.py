"""The archive followed: IMs in the order in which they were committed."""

from admin_api.archive.following.routes import router

__all__ = ["router"]
