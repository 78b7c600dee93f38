"""Settings of policy: scopes, pools, domains, disclaimer, call detail records; and all of them at once."""

from typing import Annotated, Self

import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, StrictBool, WrapValidator, model_validator
from sqlmodel import Session

from admin_api.access.bulkheads import DatabaseDep
from admin_api.http.fields import (
    MANY,
    Document,
    Domain,
    DomainInPath,
    IfAny,
    Language,
    NameInPath,
    Wording,
    refuse_merged,
)
from admin_api.http.openapi import problem
from admin_api.http.preconditions import find_etag
from admin_api.policy.connectors import ConnectorAnswer
from admin_api.policy.queries import find_connectors, find_domains, find_pools
from admin_api.policy.resources import ChangesDep, delete, find, put
from admin_api.policy.whole_policy import read_rows
from admin_api.tables.policy import CDRSwitchRow, DisclaimerRow, DomainRow, GlobalRow, PolicyRow, PoolRow
from contract.domain import show_domain
from contract.message import Scope
from contract.policy import GlobalSetting
from contract.sdp import UnseenKind
from runtime.problem import Problem

router = APIRouter(prefix="/v1/policy", tags=["policy"])


class GlobalDocument(Document):
    """The setting of a scope."""

    archive: GlobalSetting = Field(examples=["per_user"])


class GlobalAnswer(GlobalDocument):
    """The setting of a scope, since ``version``."""

    scope: Scope
    version: int


class PoolDocument(Document):
    """The settings of a pool."""

    archive: StrictBool = Field(description="The switch: false means nothing from this pool is archived")
    critical: StrictBool = Field(description="An IM that must be archived and cannot be is not delivered")
    archive_all_group: StrictBool = Field(description="Archive every group IM whatever the other rules say")
    unseen_media: list[UnseenKind] = Field(
        default_factory=list,
        exclude_if=lambda kinds: not kinds,
        description="What SIP sessions may agree to send past the archive, knowingly: else it is refused."
        " Call detail records say where it was. Left out of answers where it is empty.",
        examples=[[]],
    )


class PoolAnswer(PoolDocument):
    """A pool's settings, since ``version``."""

    name: str
    version: int


class PoolList(BaseModel):
    """All pools that have settings; others have the defaults."""

    pools: list[PoolAnswer]


class DomainAnswer(BaseModel):
    """One of our own SIP domains, since ``version``."""

    domain: str
    shown: IfAny[str] = Field(None, description="An IDN in its letters")
    version: int

    @model_validator(mode="after")
    def _show(self) -> Self:
        self.shown = shown if (shown := show_domain(self.domain)) != self.domain else None
        return self


class DomainList(BaseModel):
    """All our own SIP domains."""

    domains: list[DomainAnswer]


class DisclaimerDocument(Document):
    """The notice to federated partners that a conversation is archived."""

    enabled: StrictBool
    language: Language = Field("en", description="For partners that `partners` does not name")
    wordings: Annotated[dict[Language, Wording], WrapValidator(refuse_merged)] = Field(
        default_factory=dict,
        max_length=MANY,
        description="Language to text",
        examples=[{"en": "This conversation is archived.", "de": "Dieses Gespräch wird archiviert."}],
    )
    partners: Annotated[dict[Domain, Language], WrapValidator(refuse_merged)] = Field(
        default_factory=dict,
        max_length=MANY,
        description="A partner's domain to the language spoken there",
        examples=[{"fabrikam.de": "de"}],
    )

    @model_validator(mode="after")
    def _is_worded(self) -> Self:
        spoken = {*self.partners.values(), *([self.language] if self.enabled else [])}
        if missing := sorted(spoken - self.wordings.keys()):
            raise ValueError(f"there is no wording in {', '.join(missing)}: add it to `wordings`")
        return self


class DisclaimerAnswer(DisclaimerDocument):
    """The notice to federated partners, since ``version``."""

    version: int


class CDRDocument(Document):
    """The switch of call detail records."""

    enabled: StrictBool


class CDRAnswer(CDRDocument):
    """The switch of call detail records, since ``version``."""

    version: int


class PolicyAnswer(BaseModel):
    """The whole policy but for the users."""

    version: int
    internal: GlobalSetting
    federated: GlobalSetting
    domains: list[str]
    connectors: list[ConnectorAnswer]
    pools: list[PoolAnswer]
    disclaimer: DisclaimerAnswer
    cdr: CDRAnswer


@router.get("", response_model=PolicyAnswer)
def get_policy(database: DatabaseDep, response: Response) -> object:
    """Return the whole policy but for the users."""
    with database.snapshot() as session:
        rows = read_rows(session)
        settings = rows.settings()
        response.headers["ETag"] = find_etag(session, settings.version)
    return msgspec.structs.asdict(settings) | {
        "domains": sorted(settings.domains),
        "connectors": rows.connectors,
        "pools": rows.pools,
        "disclaimer": rows.disclaimer.model_dump(exclude={"name"}),
        "cdr": rows.cdr.model_dump(exclude={"name"}),
    }


@router.get("/global/{scope}", response_model=GlobalAnswer)
def get_global(scope: Scope, database: DatabaseDep, response: Response) -> PolicyRow:
    """Return the setting of a scope."""
    return find(database, GlobalRow, scope, response)


@router.put("/global/{scope}", response_model=GlobalAnswer)
def put_global(scope: Scope, document: GlobalDocument, changes: ChangesDep, response: Response) -> PolicyRow:
    """Set what is archived in a scope: `none`, `everyone`, or `per_user` (IMs of users with the flag)."""
    return put(changes, GlobalRow(scope=scope, archive=document.archive), response)


@router.get("/pools", response_model=PoolList)
def list_pools(database: DatabaseDep) -> object:
    """List the pools that have settings."""
    with database.transaction() as session:
        return {"pools": find_pools(session)}


@router.get("/pools/{name:path}", response_model=PoolAnswer)
def get_pool(name: NameInPath, database: DatabaseDep, response: Response) -> PolicyRow:
    """Return a pool's settings."""
    return find(database, PoolRow, name, response)


@router.put("/pools/{name:path}", response_model=PoolAnswer, responses={201: {"description": "Created"}})
def put_pool(name: NameInPath, document: PoolDocument, changes: ChangesDep, response: Response) -> PolicyRow:
    """Set a pool's settings, all of them."""
    return put(changes, PoolRow(name=name, **document.model_dump()), response)


@router.delete("/pools/{name:path}", status_code=204, response_class=Response)
def delete_pool(name: NameInPath, changes: ChangesDep) -> None:
    """Reset a pool to the defaults: archived by the global settings, not critical."""
    delete(changes, PoolRow, name)


@router.get("/domains", response_model=DomainList)
def list_domains(database: DatabaseDep) -> object:
    """List our own SIP domains."""
    with database.transaction() as session:
        return {"domains": find_domains(session)}


@router.get("/domains/{domain}", response_model=DomainAnswer)
def get_domain(domain: DomainInPath, database: DatabaseDep, response: Response) -> PolicyRow:
    """Return a domain of ours; 404 if it is not ours."""
    return find(database, DomainRow, domain, response)


@router.put("/domains/{domain}", response_model=DomainAnswer, responses={201: {"description": "Created"}})
def put_domain(
    domain: DomainInPath, changes: ChangesDep, response: Response, _: Document | None = None
) -> PolicyRow:
    """Make a domain ours: its users are local, and IMs among our domains only are internal."""
    return put(changes, DomainRow(domain=domain), response)


@router.delete(
    "/domains/{domain}",
    status_code=204,
    response_class=Response,
    responses={409: problem("A connector speaks for it")},
)
def delete_domain(domain: DomainInPath, changes: ChangesDep) -> None:
    """Remove a domain from ours; 409 while a connector speaks for it."""

    def check(session: Session) -> None:
        speakers = [row.name for row in find_connectors(session) if domain in row.domains]
        if speakers:
            raise Problem(409, f"Connector {speakers[0]} speaks for {domain}: take it out there first.")

    delete(changes, DomainRow, domain, check)


@router.get("/disclaimer", response_model=DisclaimerAnswer)
def get_disclaimer(database: DatabaseDep, response: Response) -> object:
    """Return the notice to federated partners, and its switch."""
    return find(database, DisclaimerRow, "disclaimer", response).model_dump(exclude={"name"})


@router.put("/disclaimer", response_model=DisclaimerAnswer)
def put_disclaimer(document: DisclaimerDocument, changes: ChangesDep, response: Response) -> object:
    """Set the notice that federated partners get with a conversation's first archived IM, by language."""
    row = put(changes, DisclaimerRow(**document.model_dump()), response)
    return row.model_dump(exclude={"name"})


@router.get("/cdr", response_model=CDRAnswer)
def get_cdr_switch(database: DatabaseDep, response: Response) -> object:
    """Return the switch of call detail records."""
    return find(database, CDRSwitchRow, "cdr", response).model_dump(exclude={"name"})


@router.put("/cdr", response_model=CDRAnswer)
def put_cdr_switch(document: CDRDocument, changes: ChangesDep, response: Response) -> object:
    """Switch call detail records on or off. They do not depend on content archiving."""
    return put(changes, CDRSwitchRow(**document.model_dump()), response).model_dump(exclude={"name"})
