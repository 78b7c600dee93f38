"""Policy: changed by administrators, explained to operators, fetched by front ends."""

from admin_api.access.admission import LARGE
from admin_api.http.feature import Feature
from admin_api.policy import bulk, connectors, decisions, policies, snapshots, users
from admin_api.policy.announcements import Announcements
from admin_api.policy.digests import Digests
from admin_api.policy.rendering import Snapshots

feature = Feature(
    tags={
        "policy": "Global settings, pools, local domains, and decisions explained",
        "users": "Flags of users, one by one or hundreds of thousands at once",
    },
    routers=(
        decisions.router,
        snapshots.router,
        bulk.router,
        users.router,
        policies.router,
        connectors.router,
    ),
    make_parts=lambda settings, database: {
        "announcements": Announcements(settings.amqp_url),
        "snapshots": Snapshots(database),
        "digests": Digests(),
    },
    limit_bodies=lambda settings: {
        bulk.patch_users: settings.bulk_bytes,
        connectors.put_connector: LARGE,
        policies.put_disclaimer: LARGE,
    },
    placeless=frozenset({snapshots.get_snapshot}),
)
