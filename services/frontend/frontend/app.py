"""A front end put together: policy, publisher, agent, listener, health."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware import Middleware

from contract.broker_users import read_front_end_user
from contract.check_in import CheckIn
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.listeners.attempts import AttemptsListener
from frontend.listeners.gate import Gate
from frontend.listeners.http import HTTPListener
from frontend.listeners.listener import Listener
from frontend.listeners.notices import NoticesListener
from frontend.listeners.openapi import describe_operations
from frontend.listeners.reception import Reception
from frontend.listeners.sip.listener import SIPListener
from frontend.metrics import BROKER_CONNECTED, NamedFigures, watch_disk
from frontend.policy.policies import Policies
from frontend.publisher import Publisher
from frontend.spool.spool import Spool
from runtime.docs import add_docs
from runtime.problem import add_problem_handlers
from runtime.requests import NameRequests
from runtime.token import Connector

if TYPE_CHECKING:
    from frontend.spans import Tracing

log = logging.getLogger("frontend")

LISTENERS: Final[tuple[type[Listener], ...]] = (HTTPListener, SIPListener, NoticesListener, AttemptsListener)
"""The listeners of a front end."""


def create_app(settings: FrontEndSettings, connectors: Sequence[Connector]) -> FastAPI:
    """Return the front end's application; ``app.state.stop()`` ends its streams."""
    spool = Spool(settings)
    try:
        spool.take_slot()
    except OSError as error:  # it is tried again; what needs the broker alone goes on
        spool.note_trouble(f"LCS_STATE_DIR can't be used: {error}")
    folder = spool.slot.folder if spool.slot is not None else settings.state_dir / "none"
    policies = Policies(settings, folder)
    publisher = Publisher(settings.amqp_url, f"front end {settings.front_end}", gauge=BROKER_CONNECTED)
    _check_user(publisher.user, settings)
    tracing = _trace(settings)
    agent = Agent(settings, policies, publisher, spool, tracing, connectors)
    reception = Reception(settings, agent, connectors)
    listeners = [make(reception) for make in LISTENERS]
    process = uuid4()
    figures = NamedFigures(settings.pool, settings.front_end)
    watch_disk(settings.state_dir)

    def check_in() -> CheckIn:
        state = agent.safekeeping.note_state()
        return CheckIn(
            pool=settings.pool,
            agent=agent.safekeeping.id,
            process=process,
            version=policies.version,
            stamp=policies.stamp,
            digest=policies.digest,
            state=state.name,
            since=state.since,
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts = (publisher.run(), policies.run(check_in), agent.run(), reception.intake.run())
        running = (*parts, *(listener.run() for listener in listeners))
        tasks = [asyncio.create_task(part) for part in running]
        for task in tasks:
            task.add_done_callback(_end_if_failed)
        yield
        await agent.drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    def stop() -> None:
        reception.connectors.stop()
        for listener in listeners:
            listener.stop()

    app = FastAPI(
        title="LCS Archive: front end",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Gate, reception.connectors, reception.intake.turns),
            Middleware(NameRequests, reception.connectors.security),
        ],
    )
    add_docs(app)
    add_problem_handlers(app)
    # Every IM passes one of these: FastAPI's own routes take their time for what isn't needed here.
    app.router.routes += [route for listener in listeners for route in listener.routes]
    app.state.stop = stop
    _describe(app, listeners)

    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @app.get(
        "/readyz",
        tags=["health"],
        responses={503: {"description": "Blocking", "content": {"application/json": {}}}},
    )
    async def readyz(response: Response) -> dict[str, Any]:
        """Able to make IMs safe: 200 in state normal and spooling, 503 in state blocking."""
        state = agent.safekeeping.note_state()
        response.status_code = 503 if state.name == "blocking" else 200
        policy: dict[str, Any] = {"version": policies.version, "source": policies.source}
        if policies.trouble:
            policy["detail"] = policies.trouble
        return {
            "state": state.name,
            "since": state.since,
            "why": state.why,
            "front_end": settings.front_end,
            "pool": settings.pool,
            "broker": "connected" if publisher.connected.is_set() else publisher.trouble,
            "policy": policy,
            "agent": agent.safekeeping.id,
            "accepted": agent.safekeeping.accepted,
            "confirmed": agent.safekeeping.confirmed,
            "spooled": agent.safekeeping.spooled,
            "disk": agent.safekeeping.disk_trouble,
            "left": agent.safekeeping.left,
        }

    @app.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(figures), media_type=CONTENT_TYPE_LATEST)

    return app


def _check_user(user: str, settings: FrontEndSettings) -> None:
    """Warn if the broker's user isn't this front end's: workers may park its IMs."""
    known = read_front_end_user(user)
    if known is None or known.pool != settings.pool or known.front_end not in ("", settings.front_end):
        log.warning(
            "workers park what the broker's user sends, unless their LCS_FRONT_END_USERS names it",
            extra={"user": user, "pool": settings.pool, "front_end": settings.front_end},
        )


def _trace(settings: FrontEndSettings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    from frontend.spans import Tracing  # noqa: PLC0415 - OpenTelemetry is loaded only where it is used

    return Tracing(settings)


def _end_if_failed(task: "asyncio.Task[None]") -> None:
    """End the process if a part failed unforeseen: it must not go on as if it could archive."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the front end failed", exc_info=error)
        os._exit(1)


def _describe(app: FastAPI, listeners: Sequence[Listener]) -> None:
    """Put the listeners' operations, and the connectors' tokens, into the OpenAPI document."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        document["paths"] |= describe_operations(listeners)
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["connector"] = {"type": "http", "scheme": "bearer"}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documentation, "Extending OpenAPI"
