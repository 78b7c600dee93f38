"""The audit trail: who changed policy, and who read what of the archive."""

from admin_api.audit import routes
from admin_api.audit.records import POLICY_ACTIONS, USER_READ, asked, attempt, record
from admin_api.http.feature import Feature

__all__ = ["POLICY_ACTIONS", "USER_READ", "asked", "attempt", "feature", "record"]

feature = Feature(tags={"audit": "Who changed policy, who read the archive"}, routers=(routes.router,))
