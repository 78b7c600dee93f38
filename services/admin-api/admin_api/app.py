"""The application: all features, behind admission."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol, runtime_checkable

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from admin_api import archive, audit, cdr, fleet, health, policy
from admin_api.access.admission import Admit, Door, make_door
from admin_api.access.bulkheads import Bulkheads
from admin_api.access.principals import BEARER
from admin_api.config import AdminSettings
from admin_api.database import UNAVAILABLE, unavailable
from admin_api.http.openapi import PROBLEMS, complete
from admin_api.metrics import CountRequests
from runtime.docs import add_docs
from runtime.problem import Problem, add_problem_handlers, answer_of
from runtime.requests import NameRequests
from runtime.security import SecurityLog
from runtime.token import Principal

_DESCRIPTION = """
The policy of archiving, the archive, and the proof that it is complete.

Errors are problem details (RFC 9457). A change of policy takes a new version, which with its stamp is the
`ETag` of the resource; send that back as `If-Match` to change only what you have read. Lists are paged:
`next` of an answer is the `after` of the next request.
"""
FEATURES: Final = tuple(each.feature for each in (policy, archive, audit, cdr, fleet, health))


@runtime_checkable
class _Running(Protocol):
    """A part of a feature that runs beside requests."""

    async def run(self) -> None:
        """Run until cancelled."""


def create_app(settings: AdminSettings, principals: Mapping[str, Principal]) -> FastAPI:
    """Return the application. ``principals``: by their tokens' hashes."""

    @contextlib.asynccontextmanager
    async def run_parts(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(part.run()) for part in parts.values() if isinstance(part, _Running)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bulkheads.close()

    app = FastAPI(
        title="LCS Archive: admin API",
        version="1",
        description=_DESCRIPTION,
        openapi_tags=[
            {"name": name, "description": description}
            for feature in FEATURES
            for name, description in feature.tags.items()
        ],
        lifespan=run_parts,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_docs(app)
    app.state.settings = settings
    bulkheads = Bulkheads(settings.database_url)
    parts: dict[str, object] = {}
    for feature in FEATURES:
        parts |= feature.make_parts(settings, bulkheads.own)
    for name, part in parts.items():
        setattr(app.state, name, part)
    add_problem_handlers(app)
    for error in UNAVAILABLE:
        app.add_exception_handler(error, _answer_unavailable)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    doors: list[Door] = []
    for feature in FEATURES:
        limits = feature.limit_bodies(settings)
        for router in feature.routers:
            if feature.is_open:
                app.include_router(router)
            else:
                app.include_router(router, dependencies=[BEARER], responses=PROBLEMS)
                routes = [route for route in router.routes if isinstance(route, APIRoute)]
                doors += [make_door(route, limits, feature.placeless) for route in routes]
    complete(app)

    async def answer_not_allowed(request: Request, _: Exception) -> Response:
        """Answer 405 with the methods of all routes of the path."""
        methods = {
            method
            for feature in FEATURES
            for router in feature.routers
            for route in router.routes
            if isinstance(route, Route) and route.path_regex.match(request.url.path)
            for method in route.methods or ()
        }
        allow = {"Allow": ", ".join(sorted(methods))}
        return answer_of(Problem(405, "This path has other methods: Allow names them.", headers=allow))

    app.add_exception_handler(405, answer_not_allowed)
    app.add_middleware(Admit, doors, principals, bulkheads)
    app.add_middleware(CountRequests)
    app.add_middleware(NameRequests, SecurityLog("admin-api"))
    return app


async def _answer_unavailable(_: Request, error: Exception) -> Response:
    return answer_of(unavailable(error))


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """Answer 400 to a caller that went away while sending; no error of the service is logged."""
    return Response(status_code=400)
