"""The application: its routes, and what they share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from admin_api import audit, health
from admin_api.access.admission import LARGE, Admit, Limits
from admin_api.access.bulkheads import Bulkheads
from admin_api.archive import completeness, disclaimers, following, messages, parked, traces
from admin_api.cdr import attempts, sessions
from admin_api.config import AdminSettings
from admin_api.database import UNAVAILABLE, unavailable
from admin_api.fleet import front_ends, witness
from admin_api.http.openapi import PROBLEMS, complete
from admin_api.metrics import CountRequests
from admin_api.policy import bulk, connectors, decisions, policies, snapshots, users
from admin_api.policy.announcements import Notices
from admin_api.policy.digests import Digests
from runtime.docs import add_docs
from runtime.problem import Problem, add_problem_handlers, answer_of
from runtime.requests import NameRequests
from runtime.security import SecurityLog
from runtime.token import Principal

_DESCRIPTION = """
Who is archived, what was archived, and whether all of it was.

Errors are problem details (RFC 9457). A change of policy takes a new version, which with its stamp is the
`ETag` of what was changed; send that back as `If-Match` to change only what you have read. Lists are paged:
`next` of an answer is the `after` of the next request.
"""
_TAGS = [
    {"name": "policy", "description": "Global settings, pools, local domains, and decisions explained"},
    {"name": "users", "description": "Flags of users, one by one or hundreds of thousands at once"},
    {"name": "archive", "description": "Reading archived IMs; every read is audited"},
    {"name": "parked", "description": "What could not be stored: seen, read, tried again, given up"},
    {"name": "audit", "description": "Who changed policy, who read the archive"},
    {"name": "completeness", "description": "Whether every accepted IM is in the archive"},
    {
        "name": "call detail records",
        "description": "Who talked with whom, when, how long; never what was said",
    },
    {"name": "front ends", "description": "Which there are; how they get policy"},
    {"name": "health"},
]


def create_app(settings: AdminSettings, principals: Mapping[str, Principal]) -> FastAPI:
    """Return the application. ``principals``: by their tokens' hashes."""

    @contextlib.asynccontextmanager
    async def run_parts(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(part.run()) for part in (app.state.notices, app.state.looks)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bulkheads.close()

    app = FastAPI(
        title="LCS Archive: admin API",
        version="1",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=run_parts,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_docs(app)
    app.state.settings = settings
    bulkheads = Bulkheads(settings.database_url)
    app.state.looks = health.Looks(bulkheads.own)
    app.state.snapshots = snapshots.Snapshots(bulkheads.own)
    app.state.digests = Digests()
    app.state.notices = Notices(settings.amqp_url)
    add_problem_handlers(app)
    for error in UNAVAILABLE:
        app.add_exception_handler(error, _answer_unavailable)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    # bulk before users, whose paths take any address; following before messages, whose path takes any id.
    parts = (
        decisions,
        snapshots,
        bulk,
        users,
        policies,
        connectors,
        following,
        messages,
        disclaimers,
        traces,
        parked,
        audit,
        completeness,
        attempts,
        sessions,
        front_ends,
        witness,
    )
    for part in parts:
        app.include_router(part.router, responses=PROBLEMS)
    app.include_router(health.router)
    complete(app)
    routes = [route for part in parts for route in part.router.routes]
    limits: Limits = {
        bulk.patch_users: settings.bulk_bytes,
        connectors.put_connector: LARGE,
        disclaimers.claim: LARGE,
        policies.put_disclaimer: LARGE,
        witness.note_numbers: LARGE,
    }

    async def answer_not_allowed(request: Request, _: Exception) -> Response:
        """Name all methods of the path: each is a route of its own."""
        here = [route for route in (*routes, *health.router.routes) if isinstance(route, Route)]
        methods = {
            method
            for route in here
            if route.path_regex.match(request.url.path)
            for method in route.methods or ()
        }
        allow = {"Allow": ", ".join(sorted(methods))}
        return answer_of(Problem(405, "This path has other methods: Allow names them.", headers=allow))

    app.add_exception_handler(405, answer_not_allowed)
    app.add_middleware(Admit, routes, principals, bulkheads, limits, {snapshots.get_snapshot})
    app.add_middleware(CountRequests)
    app.add_middleware(NameRequests, SecurityLog("admin-api"))
    return app


async def _answer_unavailable(_: Request, error: Exception) -> Response:
    return answer_of(unavailable(error))


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """Whoever went away while sending gets no answer; it is no error of ours."""
    return Response(status_code=400)
