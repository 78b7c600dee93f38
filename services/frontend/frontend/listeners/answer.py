"""The answer for an IM."""

from typing import Final
from uuid import UUID

import msgspec

from frontend.agent import RETRY_AFTER
from frontend.im import IMProblem
from frontend.receipt import SPOOLED, Notice, Receipt
from runtime.problem import Problem

_STATUSES: Final = {"confirmed": 201, "spooled": 202, "not archived": 200}


class Answer(msgspec.Struct, omit_defaults=True):
    """The answer for one IM; ``line`` only in a stream."""

    status: int
    id: UUID
    archived: bool
    rule: str
    scope: str
    policy_version: int
    spooled: bool = False
    line: int = 0
    notices: tuple[Notice, ...] = ()
    """To be delivered before the IM."""


def outcome_of(receipt: Receipt, line: int = 0) -> Answer | Problem:
    """Return the answer for an IM whose ``fate`` is known; ``line`` is its place in a stream."""
    fate = receipt.fate
    assert fate is not None
    if fate.kind == "refused":
        why = f"not archived, so not to be delivered now: {fate.why}"
        return IMProblem(receipt.id, 503, why, headers=RETRY_AFTER)
    decision = receipt.decision
    return Answer(
        _STATUSES[fate.kind],
        receipt.id,
        decision.archive,
        decision.rule,
        decision.scope,
        decision.version,
        fate is SPOOLED,
        line,
        receipt.notices,
    )
