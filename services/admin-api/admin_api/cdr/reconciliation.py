"""The reconciliation of call detail records with the archive."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy

from admin_api.cdr.answers import MOST_DIFFERENCES, Reconciliation
from admin_api.database import Database

_STEP: Final = timedelta(minutes=5)
"""The length of a step in a long reconciliation: at 5,000 IMs a second it counts 1.5 million."""
_RECONCILE: Final = sqlalchemy.text("""
WITH found AS MATERIALIZED (
    SELECT conversation, recorded, passed, archived, parked, discarded, differing
    FROM cdr.reconcile(:since, :until)
),
differing AS (
    SELECT conversation, recorded, archived, parked, discarded, differing AS minutes FROM found
    WHERE differing > 0
    ORDER BY abs(recorded - archived - parked - discarded) DESC, conversation LIMIT :most
)
SELECT count(*) AS conversations, coalesce(sum(recorded), 0)::bigint AS recorded,
       coalesce(sum(passed), 0)::bigint AS not_archived, coalesce(sum(archived), 0)::bigint AS archived,
       coalesce(sum(parked), 0)::bigint AS parked, coalesce(sum(discarded), 0)::bigint AS discarded,
       cdr.count_unattributed(:since, :until) AS unattributed,
       count(*) FILTER (WHERE differing > 0) AS differing,
       (SELECT coalesce(json_agg(d), '[]') FROM differing AS d) AS differences
FROM found
""")


def reconcile(database: Database, since: datetime, until: datetime) -> Reconciliation:
    """Return the reconciliation of a time. Raises the exceptions of ``database.UNAVAILABLE``."""
    with database.transaction() as session:
        parameters = {"since": since, "until": until, "most": MOST_DIFFERENCES}
        row = session.execute(_RECONCILE, parameters).mappings().one()
    return Reconciliation(messages=row["recorded"] + row["not_archived"], **row)


def steps_of(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the steps of a long reconciliation, so that no statement takes long at any load."""
    since = since.replace(second=0, microsecond=0)  # each minute is in one step
    while since < until:
        end = min(since + _STEP, until)
        yield since, end
        since = end


def total_of(steps: Iterable[Reconciliation]) -> Reconciliation:
    """Return the totals of some steps. A conversation counts once for each step in which it went on."""
    totals = Counter(dict.fromkeys(Reconciliation.model_fields.keys() - {"differences"}, 0))
    for step in steps:
        totals.update(step.model_dump(exclude={"differences"}))
    return Reconciliation(**totals, differences=None)


def line_of(found: Reconciliation) -> str:
    """Return the totals as a line for a person. It has no names: any person may read it."""
    aside = {
        "parked": found.parked,
        "discarded": found.discarded,
        "parked of unknown conversations": found.unattributed,
    }
    return (
        f"{found.conversations} conversations: {found.messages} messages, {found.not_archived} not archived"
        f" by rule, {found.recorded} recorded as archived, {found.archived} in the archive,"
        f"{''.join(f' {count} {what},' for what, count in aside.items() if count)} {found.differing} differ"
    )
