"""Routes for front ends, and for the operators who watch them."""

import logging

from fastapi import APIRouter, BackgroundTasks

from admin_api import metrics
from admin_api.access.bulkheads import DatabaseDep
from admin_api.fleet.answers import (
    CheckIn,
    CurrentVersion,
    FrontEndList,
    Noted,
    Numbers,
)
from admin_api.fleet.queries import find_front_ends, log_witness, note_check_in
from admin_api.http.fields import NameInPath
from admin_api.policy.digests import DigestsDep
from admin_api.policy.rendering import SnapshotsDep

log = logging.getLogger("admin-api")
router = APIRouter(prefix="/v1/front-ends", tags=["front ends"])


@router.post("/{name:path}/check-in")
def check_in(
    name: NameInPath,
    document: CheckIn,
    database: DatabaseDep,
    digests: DigestsDep,
    snapshots: SnapshotsDep,
    later: BackgroundTasks,
) -> CurrentVersion:
    """Note a front end's state; answer the version of policy that it should run."""
    process = document.process or document.agent
    differs = _differ(document.digest, digests.find(document.version, document.stamp))
    with database.transaction() as session:
        newest, namesakes = note_check_in(session, name, process, document, differs)
    metrics.POLICY_VERSION.set(newest.version)
    if namesakes:
        log.warning("front ends run under one name", extra={"front_end": name, "others": namesakes})
    if document.digest is not None:
        later.add_task(digests.refresh, database)
    if differs:
        metrics.POLICY_DIFFERENCES.inc()
        snapshots.forget()
        log.error(
            "a front end's policy is not its version's", extra={"front_end": name, "version": newest.version}
        )
    return CurrentVersion(version=newest.version, stamp=newest.stamp, anew=bool(differs), namesakes=namesakes)


def _differ(theirs: str | None, ours: str | None) -> bool | None:
    """Return whether two digests differ; None if one is missing, or if their forms differ."""
    if theirs is None or ours is None or theirs.partition(":")[0] != ours.partition(":")[0]:
        return None
    return theirs != ours


@router.get("")
def list_front_ends(database: DatabaseDep) -> FrontEndList:
    """List the front ends and the version of policy that each runs."""
    with database.snapshot() as session:
        return find_front_ends(session)


@router.post("/{name:path}/numbers")
def note_numbers(name: NameInPath, document: Numbers, database: DatabaseDep) -> Noted:
    """Note how far agents got.

    Completeness counts these numbers if the queue is lost together with the agents' own statements, or if the
    archive is restored to a time before the agents began.
    """
    with database.transaction() as session:
        return Noted(incarnation=log_witness(session, name, document))
