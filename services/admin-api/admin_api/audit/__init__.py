"""The audit trail: who changed policy, and who read what of the archive."""

from admin_api.audit.routes import POLICY_ACTIONS, READ, USER_READ, asked, attempt, record, router
from admin_api.http.feature import Feature

__all__ = ["POLICY_ACTIONS", "READ", "USER_READ", "asked", "attempt", "feature", "record"]

feature = Feature(tags={"audit": "Who changed policy, who read the archive"}, routers=(router,))
