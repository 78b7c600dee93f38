"""Routes of completeness."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
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
    database: DatabaseOf,
    pool: Annotated[Name | None, Query(examples=["pool1"])] = None,
    limit: Limit = 100,
) -> Completeness:
    """Count what the archiving agents numbered and what of it is in the archive.

    Agents tell how far they got on the queue, behind their IMs, and front ends tell it here as well. What was
    told here alone is `waiting`, however long the queue is, until something later comes from the queue or
    workers have read it up to then; what is not there then is `missing`, until it is archived after all. For
    seconds so is what one worker still has in its hands while another has stored what came later.
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
def disown(agent: UUID, body: Reason, actor: ActorDep, database: DatabaseOf) -> Changed:
    """Count what is missing of an agent now as missing no longer: it can't be restored, or never was.

    It is shown as disowned, with who did it and why; what is missing later counts again.
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
def own(agent: UUID, body: Reason, actor: ActorDep, database: DatabaseOf) -> Changed:
    """Take it back: what was disowned of an agent, and is not there, counts as missing again."""
    with database.transaction() as session:
        changed = own_agent(session, agent)
        if not changed:
            raise Problem(409, "Nothing of it is disowned.")
        audit.record(session, actor, "archive.agent.own", str(agent), detail={"reason": body.reason})
    return Changed(changed=changed)


def _unknown() -> Problem:
    return Problem(404, "No such agent was ever heard of.", field="agent")
