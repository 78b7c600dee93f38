"""The audit trail: who changed policy, and who read what of the archive."""

from admin_api.audit.routes import POLICY_ACTIONS, READ, USER_READ, asked, attempt, record, router

__all__ = ["POLICY_ACTIONS", "READ", "USER_READ", "asked", "attempt", "record", "router"]
