"""The audit trail: changes of policy and reads of the archive, each with its actor."""

from admin_api.audit import routes
from admin_api.audit.records import NARROW, POLICY_ACTIONS, USER_READ, asked, attempt, record
from admin_api.http.feature import Feature

__all__ = ["NARROW", "POLICY_ACTIONS", "USER_READ", "asked", "attempt", "feature", "record"]

feature = Feature(
    tags={"audit": "Changes of policy and reads of the archive, each with its actor"},
    routers=(routes.router,),
)
