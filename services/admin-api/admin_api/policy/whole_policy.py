"""The whole policy as a front end holds it, from the tables."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from admin_api.tables.policy import (
    CDRSwitchRow,
    ConnectorRow,
    DisclaimerRow,
    DomainRow,
    GlobalRow,
    PoolRow,
    UserRow,
    VersionRow,
    flags_of,
)
from contract.policy import ConnectorRights, Disclaimer, GlobalSetting, Policy, PolicySettings, Pool


class PolicyRows(NamedTuple):
    """The rows of policy but for the users."""

    version: VersionRow
    scopes: Sequence[GlobalRow]
    domains: Sequence[DomainRow]
    pools: Sequence[PoolRow]
    disclaimer: DisclaimerRow
    cdr: CDRSwitchRow
    connectors: Sequence[ConnectorRow]

    def settings(self) -> PolicySettings:
        """Return the settings as front ends hold them."""
        scopes = {row.scope: GlobalSetting(row.archive) for row in self.scopes}
        return PolicySettings(
            version=self.version.version,
            stamp=self.version.stamp,
            since=0,
            internal=scopes["internal"],
            federated=scopes["federated"],
            domains=frozenset(row.domain for row in self.domains),
            pools=tuple(Pool(name=row.name, **row.settings()) for row in self.pools),
            disclaimer=Disclaimer(**self.disclaimer.settings()),
            cdr=self.cdr.enabled,
            connectors=tuple(
                ConnectorRights(
                    name=row.name, domains=frozenset(row.domains), gateway_for=frozenset(row.gateway_for)
                )
                for row in self.connectors
            ),
        )


def read_rows(session: Session) -> PolicyRows:
    """Return all rows but the users'. The session is a snapshot."""
    return PolicyRows(
        version=session.exec(select(VersionRow)).one(),
        scopes=session.exec(select(GlobalRow)).all(),
        domains=session.exec(select(DomainRow)).all(),
        pools=session.exec(select(PoolRow).order_by(col(PoolRow.name))).all(),
        disclaimer=session.exec(select(DisclaimerRow)).one(),
        cdr=session.exec(select(CDRSwitchRow)).one(),
        connectors=session.exec(select(ConnectorRow).order_by(col(ConnectorRow.name))).all(),
    )


def load_settings(session: Session) -> PolicySettings:
    """Return the settings as front ends hold them. The session is a snapshot."""
    return read_rows(session).settings()


def load_policy(session: Session, users: ColumnElement[bool]) -> Policy:
    """Return the policy with only those users that meet a condition. The session is a snapshot."""
    rows = session.exec(select(UserRow).where(users))
    flags = {row.address: flags_of(row.archive_internal, row.archive_federated) for row in rows}
    return Policy(load_settings(session), flags)
