"""Decisions explained: the meaning of policy for one IM."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.http.fields import Address, Name
from admin_api.names.looks import Looked
from admin_api.policy.queries import load_policy_for
from contract.message import Scope
from contract.policy import RULES, Flags, decide

router = APIRouter(prefix="/v1/policy", tags=["policy"])


class Participant(Looked):
    """A participant of an IM; flags count only for local users."""

    local: bool
    archive_internal: bool
    archive_federated: bool


class DecisionAnswer(BaseModel):
    """The decision on an IM, with its reason."""

    archive: bool
    rule: str
    explanation: str
    scope: Scope
    version: int
    participants: list[Participant]


@router.get("/decision")
def get_decision(
    actor: ActorDep,
    database: DatabaseDep,
    sender: Annotated[Address, Query(examples=["sip:yannis@contoso.com"])],
    recipient: Annotated[
        list[Address],
        Query(min_length=1, max_length=1000, examples=[["sip:administrator@contoso.com"]]),
    ],
    pool: Annotated[Name, Query(description="One without settings has the defaults")] = "default",
    media: Annotated[bool, Query(description="By a connector that carries audio and video only")] = False,
) -> DecisionAnswer:
    """Decide as a front end would whether an IM is archived, and name the rule.

    The answer reveals users' flags, so each look is written to the audit trail.
    """
    participants = list(dict.fromkeys([sender, *recipient]))
    with database.snapshot() as session:
        policy = load_policy_for(session, participants)
        asked = {"sender": sender, "recipient": recipient, "pool": pool, "media": media}
        audit.record(session, actor, "users.decision", sender, detail=audit.asked(asked))
    decision = decide(policy, pool=pool, sender=sender, recipients=recipient, media=media)
    return DecisionAnswer(
        archive=decision.archive,
        rule=decision.rule,
        explanation=RULES[decision.rule],
        scope=decision.scope,
        version=decision.version,
        participants=[
            Participant(
                address=address,
                local=policy.is_local(address),
                archive_internal=bool(policy.flags_of(address) & Flags.INTERNAL),
                archive_federated=bool(policy.flags_of(address) & Flags.FEDERATED),
            )
            for address in participants
        ],
    )
