"""The route of a trace."""

from typing import Annotated

from fastapi import APIRouter, Path

from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.archive.traces.answers import Trace
from admin_api.archive.traces.queries import find_trace
from admin_api.http.fields import ImId
from runtime.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])


@router.get("/{id}/trace")
def get_trace(
    im_id: Annotated[ImId, Path(alias="id")],
    actor: ActorDep,
    database: DatabaseDep,
) -> Trace:
    """Return the way of an archived IM. The publish and the batch that carried it are kept for some weeks."""
    trace = find_trace(database, im_id, actor)
    if trace is None:
        raise Problem(404, "There is no such IM in the archive; it may be parked.", field="id")
    return trace
