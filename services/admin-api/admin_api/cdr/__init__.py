"""Call detail records: sessions, attempts past the archive, and the reconciliation with the archive."""

from admin_api.cdr import routes
from admin_api.http.feature import Feature

feature = Feature(
    tags={"call detail records": "Sessions: participants, time, length; never their content"},
    routers=(routes.router,),
)
