"""Notices to partners: claimed by front ends, confirmed by connectors, read by officers.

A notice is *handed over* once a connector was given it. Its partner is *told* once that connector confirmed
the delivery, and never before. Until then the notice is handed over again, at growing intervals.
"""

from admin_api.archive.disclaimers.routes import router

__all__ = ["router"]
