"""Routes that count IMs, and disown those that cannot be restored."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.archive.completeness.answers import Completeness
from admin_api.archive.completeness.queries import count_all, disown_agent, is_pool, own_agent
from admin_api.archive.parked.answers import Changed, Reason
from admin_api.http.fields import Limit, Name
from admin_api.http.openapi import problem
from runtime.problem import Problem

router = APIRouter(tags=["completeness"])


@router.get(
    "/v1/completeness",
    responses={404: problem("There is no such pool")},
)
def get_completeness(
    database: DatabaseDep,
    pool: Annotated[Name | None, Query(examples=["pool1"])] = None,
    limit: Limit = 100,
) -> Completeness:
    """Count the IMs that archiving agents numbered, and those of them that are in the archive.

    Agents report how far they got on the queue, behind their IMs; front ends report it here as well. IMs
    reported only here are `waiting`, however long the queue is, until a later message comes from the queue or
    workers have read the queue up to that time. IMs that are not there then are `missing`, until they are
    archived after all. IMs that one worker still holds, while another has stored later ones, are `missing`
    for seconds, too.
    """
    found = count_all(database, pool, limit)
    if pool is not None and not found.totals.agents:
        with database.transaction() as session:
            if not is_pool(session, pool):
                raise Problem(404, "No such pool was ever heard of.", field="pool")
    return found


@router.post(
    "/v1/completeness/{agent}/disown", responses={409: problem("Nothing of it is missing, or it works")}
)
def disown(agent: UUID, body: Reason, actor: ActorDep, database: DatabaseDep) -> Changed:
    """Disown an agent's missing IMs: they cannot be restored, or never were. They count as missing no longer.

    They are shown as disowned, with the operator and the reason. IMs that are missing later count again.
    """
    with database.transaction() as session:
        changed = disown_agent(session, agent, actor, body.reason)
        if changed is None:
            raise _unknown()
        if not changed:
            raise Problem(409, "Nothing of it is missing.")
        audit.record(
            session,
            actor,
            "archive.agent.disown",
            str(agent),
            detail={"reason": body.reason, "missing": changed},
        )
    return Changed(changed=changed)


@router.post("/v1/completeness/{agent}/own", responses={409: problem("Nothing of it is disowned")})
def own(agent: UUID, body: Reason, actor: ActorDep, database: DatabaseDep) -> Changed:
    """Take back an agent's disowned IMs: those that are not in the archive count as missing again."""
    with database.transaction() as session:
        changed = own_agent(session, agent)
        if not changed:
            raise Problem(409, "Nothing of it is disowned.")
        audit.record(session, actor, "archive.agent.own", str(agent), detail={"reason": body.reason})
    return Changed(changed=changed)


def _unknown() -> Problem:
    return Problem(404, "No such agent was ever heard of.", field="agent")
