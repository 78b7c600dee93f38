"""A front end put together: policy, publisher, agent, listener, health."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from contract.policy import NO_POLICY_RULE, RULES
from contract.problem import add_problem_handlers
from contract.token import Connector
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.listeners.http import Listener
from frontend.policies import CheckIn, Policies
from frontend.publisher import Publisher

log = logging.getLogger("frontend")


def create_app(settings: FrontEndSettings, connectors: Iterable[Connector]) -> FastAPI:
    """Return the front end's application; ``app.state.stop()`` ends its streams.

    Raises OSError if the state folder can't be made.
    """
    policies = Policies(settings)
    publisher = Publisher(settings.amqp_url, f"front end {settings.front_end}")
    agent = Agent(settings, policies, publisher)
    listener = Listener(settings, agent, connectors)

    def check_in() -> CheckIn:
        return CheckIn(settings.pool, agent.id, policies.version, _state_of(publisher), publisher.since)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = (publisher.run(), policies.run(check_in), agent.run())
        tasks = [asyncio.create_task(part) for part in running]
        for task in tasks:
            task.add_done_callback(_end_if_failed)
        yield
        await agent.drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(title="LCS Archive front end", version="1", lifespan=lifespan)
    add_problem_handlers(app)
    app.include_router(listener.router)
    app.state.stop = listener.stop
    _add_security(app)

    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"])
    async def readyz(response: Response) -> dict[str, Any]:
        """Able to archive: 200 while the broker is connected; else 503."""
        connected = publisher.connected.is_set()
        response.status_code = 200 if connected else 503
        policy: dict[str, Any] = {"version": policies.version, "source": policies.source}
        if policies.current is None:
            policy["detail"] = RULES[NO_POLICY_RULE]
        return {
            "state": _state_of(publisher),
            "since": publisher.since,
            "front_end": settings.front_end,
            "pool": settings.pool,
            "broker": "connected" if connected else "out of reach",
            "policy": policy,
            "agent": agent.id,
            "accepted": agent.accepted,
            "confirmed": agent.confirmed,
        }

    @app.get("/metrics", tags=["health"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def _state_of(publisher: Publisher) -> str:
    return "normal" if publisher.connected.is_set() else "blocking"


def _end_if_failed(task: "asyncio.Task[None]") -> None:
    """A part that fails as nobody foresaw ends the process: it must not go on as if it could archive."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the front end failed", exc_info=error)
        os._exit(1)


def _add_security(app: FastAPI) -> None:
    """Name the connectors' tokens in the OpenAPI document."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["connector"] = {"type": "http", "scheme": "bearer"}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documentation, "Extending OpenAPI"
