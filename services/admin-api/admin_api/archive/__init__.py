"""The archive: IMs found and followed, traces, parked IMs, completeness, notices to partners."""

from admin_api.access.admission import LARGE
from admin_api.archive import completeness, disclaimers, following, messages, parked, traces
from admin_api.archive.disclaimers.routes import claim
from admin_api.http.feature import Feature

feature = Feature(
    tags={
        "archive": "Reading archived IMs; every read is audited",
        "parked": "IMs and call detail records that could not be stored: read, replayed, discarded",
        "completeness": "Whether every accepted IM is in the archive",
    },
    routers=(
        following.router,  # before messages: `changes` is no id
        messages.router,
        disclaimers.router,
        traces.router,
        parked.router,
        completeness.router,
    ),
    limit_bodies=lambda _: {claim: LARGE},
)
