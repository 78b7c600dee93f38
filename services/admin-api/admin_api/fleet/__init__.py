"""The fleet: front ends, the policy that each runs, and how far each got."""

from admin_api.access.admission import LARGE
from admin_api.fleet import routes
from admin_api.http.feature import Feature

feature = Feature(
    tags={"front ends": "Which there are; how they get policy"},
    routers=(routes.router,),
    limit_bodies=lambda _: {routes.note_numbers: LARGE},
)
