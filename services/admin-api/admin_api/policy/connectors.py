"""Connectors: the domains that each may speak for. Until policy says so, front ends' files do."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, Field
from sqlmodel import Session

from admin_api.access.bulkheads import DatabaseDep
from admin_api.http.fields import MANY, ConnectorName, Document, Domain
from admin_api.policy.queries import find_connectors, find_domains
from admin_api.policy.resources import ChangesDep, delete, find, put
from admin_api.tables.policy import ConnectorRow, PolicyRow
from runtime.problem import Problem

router = APIRouter(prefix="/v1/policy", tags=["policy"])

ConnectorInPath = Annotated[ConnectorName, Path(description="As front ends know it", examples=["edge"])]
Sorted = AfterValidator(lambda names: sorted(set(names)))


class ConnectorDocument(Document):
    """The domains that a connector may speak for."""

    domains: Annotated[list[Domain], Sorted] = Field(
        max_length=MANY,
        description="Of our own domains, those whose people it has",
        examples=[["contoso.com"]],
    )
    gateway_for: Annotated[list[Domain | Literal["*"]], Sorted] = Field(
        default_factory=list,
        max_length=MANY,
        description="Foreign domains whose people's IMs come by it, because it verifies them; `*`: all",
        examples=[["*"]],
    )


class ConnectorAnswer(ConnectorDocument):
    """The domains that a connector may speak for, since ``version``."""

    name: str
    version: int


class ConnectorList(BaseModel):
    """The connectors that policy names; others have the rights in their front ends' files."""

    connectors: list[ConnectorAnswer]


@router.get("/connectors", response_model=ConnectorList)
def list_connectors(database: DatabaseDep) -> object:
    """List the connectors that policy names."""
    with database.transaction() as session:
        return {"connectors": find_connectors(session)}


@router.get("/connectors/{name}", response_model=ConnectorAnswer)
def get_connector(name: ConnectorInPath, database: DatabaseDep, response: Response) -> PolicyRow:
    """Return the domains that a connector may speak for; 404 if policy does not name it."""
    return find(database, ConnectorRow, name, response)


@router.put("/connectors/{name}", response_model=ConnectorAnswer, responses={201: {"description": "Created"}})
def put_connector(
    name: ConnectorInPath, document: ConnectorDocument, changes: ChangesDep, response: Response
) -> PolicyRow:
    """Set the domains that a connector may speak for, in place of those in its front ends' files.

    Its `domains` must be ours already. Connectors that policy does not name lose these domains: name every
    connector that has them.
    """

    def check(session: Session) -> None:
        ours = {row.domain for row in find_domains(session)}
        if foreign := [domain for domain in document.domains if domain not in ours]:
            raise Problem(
                422,
                f"{foreign[0]} is not ours: PUT /v1/policy/domains/{foreign[0]} first, or name it in"
                " gateway_for.",
                field="/domains",
            )

    return put(changes, ConnectorRow(name=name, **document.model_dump()), response, check)


@router.delete("/connectors/{name}", status_code=204, response_class=Response)
def delete_connector(name: ConnectorInPath, changes: ChangesDep) -> None:
    """Forget a connector: its front ends' files count again. Empty lists let it do nothing."""
    delete(changes, ConnectorRow, name)
