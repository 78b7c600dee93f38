"""The tables of the schema ``policy``, as they are migrated."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Column, ColumnElement, DateTime, SmallInteger, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped
from sqlmodel import Field, Session, SQLModel

from contract.policy import Flags

_POLICY = {"schema": "policy"}
_TIME = DateTime(timezone=True)


class VersionRow(SQLModel, table=True):
    """The one row with the version of the whole policy; the database stamps each that is taken."""

    __tablename__ = "version"
    __table_args__ = _POLICY
    singleton: bool = Field(default=True, primary_key=True)
    version: int = Field(sa_type=BigInteger)
    stamp: UUID


class StampRow(SQLModel, table=True):
    """A version that this database has been through; the stamp tells it from others of that number."""

    __tablename__ = "versions"
    __table_args__ = _POLICY
    version: int = Field(primary_key=True, sa_type=BigInteger)
    stamp: UUID


class PolicyRow(SQLModel):
    """A resource of policy that has settings and the version that changed it last."""

    KIND: ClassVar[str]
    """The resource's kind in the audit trail."""
    KEY: ClassVar[str]
    """The name of the field that identifies it."""
    version: int = Field(default=0, sa_type=BigInteger)

    @property
    def key(self) -> str:
        """Return the key of this resource among those of its kind."""
        return str(getattr(self, self.KEY))

    @property
    def exists(self) -> bool:
        """False if the row only says that the resource was deleted."""
        return True

    def settings(self) -> dict[str, Any]:
        """Return the settings: the fields that can be changed."""
        return self.model_dump(mode="json", exclude={self.KEY, "version", "deleted"})

    def delete(self, session: Session, version: int) -> None:
        """Remove this resource in a version of policy."""
        session.delete(self)


class GlobalRow(PolicyRow, table=True):
    """The setting of a scope."""

    __tablename__ = "global_settings"
    __table_args__ = _POLICY
    KIND = "global"
    KEY = "scope"
    scope: str = Field(primary_key=True)
    archive: str


class DomainRow(PolicyRow, table=True):
    """One of our own SIP domains."""

    __tablename__ = "domains"
    __table_args__ = _POLICY
    KIND = "domain"
    KEY = "domain"
    domain: str = Field(primary_key=True)


class ConnectorRow(PolicyRow, table=True):
    """The domains that a connector may speak for: see ``contract.policy.ConnectorRights``."""

    __tablename__ = "connectors"
    __table_args__ = _POLICY
    KIND = "connector"
    KEY = "name"
    name: str = Field(primary_key=True)
    domains: list[str] = Field(sa_column=Column(ARRAY(Text)))
    gateway_for: list[str] = Field(sa_column=Column(ARRAY(Text)))


class PoolRow(PolicyRow, table=True):
    """The settings of a pool: see ``contract.policy.Pool``."""

    __tablename__ = "pools"
    __table_args__ = _POLICY
    KIND = "pool"
    KEY = "name"
    name: str = Field(primary_key=True)
    archive: bool
    critical: bool
    archive_all_group: bool
    unseen_media: list[str] = Field(default_factory=list, sa_column=Column(ARRAY(Text), nullable=False))

    def settings(self) -> dict[str, Any]:
        """Return the settings; ``unseen_media`` is left out where it is empty, as in answers."""
        settings = super().settings()
        if not self.unseen_media:
            del settings["unseen_media"]
        return settings


class DisclaimerRow(PolicyRow, table=True):
    """The notice to federated partners: see ``contract.policy.Disclaimer``. One row."""

    __tablename__ = "disclaimer"
    __table_args__ = _POLICY
    KIND = "disclaimer"
    KEY = "name"
    name: str = Field(default="disclaimer", primary_key=True)
    enabled: bool
    language: str
    wordings: dict[str, str] = Field(sa_column=Column(JSONB))
    partners: dict[str, str] = Field(sa_column=Column(JSONB))


class CDRSwitchRow(PolicyRow, table=True):
    """The switch of call detail records. One row."""

    __tablename__ = "cdr"
    __table_args__ = _POLICY
    KIND = "cdr"
    KEY = "name"
    name: str = Field(default="cdr", primary_key=True)
    enabled: bool


class UserRow(PolicyRow, table=True):
    """A user's flags; once deleted the row stays, so that front ends learn of it."""

    __tablename__ = "users"
    __table_args__ = _POLICY
    KIND = "user"
    KEY = "address"
    address: str = Field(primary_key=True)
    archive_internal: bool
    archive_federated: bool
    deleted: bool = False

    @property
    def exists(self) -> bool:
        """False once the user was deleted."""
        return not self.deleted

    def delete(self, session: Session, version: int) -> None:
        """Clear the flags; the row stays with the version that cleared them."""
        self.archive_internal = self.archive_federated = False
        self.deleted = True
        self.version = version


def flags_of(archive_internal: bool, archive_federated: bool) -> int:
    """Return a user's flags as front ends hold them: ``contract.policy.Flags``."""
    return Flags.INTERNAL * archive_internal | Flags.FEDERATED * archive_federated


def holds(column: Mapped[str], texts: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a column that is indexed by digests holds one of some texts."""
    return func.policy.digest_of(column).in_([func.policy.digest_of(each) for each in texts])


class AuditRow(SQLModel, table=True):
    """An action with its actor; the database sets ``id`` and ``at``."""

    __tablename__ = "audit"
    __table_args__ = _POLICY
    id: int = Field(primary_key=True, sa_type=BigInteger)
    at: datetime = Field(sa_column=Column(_TIME))
    actor: str
    role: str
    action: str
    target: str
    before: dict[str, Any] | None = Field(sa_column=Column(JSONB(none_as_null=True)))
    after: dict[str, Any] | None = Field(sa_column=Column(JSONB(none_as_null=True)))
    version: int | None = Field(sa_type=BigInteger)
    detail: dict[str, Any] | None = Field(sa_column=Column(JSONB(none_as_null=True)))
    request: UUID | None = None
    client: str | None = None
    weakened: bool = False


class AuditUsersRow(SQLModel, table=True):
    """A part of the users that a bulk change changed, and their flags before (None: no user) and after."""

    __tablename__ = "audit_users"
    __table_args__ = _POLICY
    audit_id: int = Field(primary_key=True, sa_type=BigInteger)
    part: int = Field(primary_key=True)
    addresses: list[str] = Field(sa_column=Column(ARRAY(Text)))
    before: list[int | None] = Field(sa_column=Column(ARRAY(SmallInteger)))
    after: list[int] = Field(sa_column=Column(ARRAY(SmallInteger)))


class FrontEndRow(SQLModel, table=True):
    """A front end's last check-in; the database sets ``last_seen``.

    ``highest``: the highest version that it ever ran. ``differs``: at the last comparison its policy was not
    that of its version; ``differed_at``: the last time that this was so.
    """

    __tablename__ = "front_ends"
    __table_args__ = _POLICY
    name: str = Field(primary_key=True)
    process: UUID = Field(primary_key=True)
    pool: str
    agent: UUID
    version: int = Field(sa_type=BigInteger)
    stamp: UUID | None = None
    state: str
    since: datetime | None = Field(sa_column=Column(_TIME))
    first_seen: datetime = Field(sa_column=Column(_TIME))
    last_seen: datetime = Field(sa_column=Column(_TIME))
    highest: int = Field(default=0, sa_type=BigInteger)
    differs: bool = False
    differed_at: datetime | None = Field(default=None, sa_column=Column(_TIME))


class NoticeRow(SQLModel, table=True):
    """A notice that was handed to a connector: to tell a partner, with an IM, that both are archived.

    The database sets ``id``.
    """

    __tablename__ = "disclaimers_sent"
    __table_args__ = _POLICY
    conversation: str
    partner: str
    im: UUID
    connector: str
    told_at: datetime | None = Field(sa_column=Column(_TIME))
    at: datetime = Field(sa_column=Column(_TIME))
    front_end: str
    language: str
    wording: str
    version: int = Field(sa_type=BigInteger)
    id: int = Field(primary_key=True, sa_type=BigInteger)
