"""The whole policy as a front end holds it, from the tables."""

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
from contract.policy import ConnectorRights, Disclaimer, GlobalSetting, Policy, Pool


def load_policy(session: Session, users: ColumnElement[bool]) -> Policy:
    """Return the policy with those users only that a condition names. The session is a snapshot."""
    settings = {row.scope: GlobalSetting(row.archive) for row in session.exec(select(GlobalRow))}
    pools = session.exec(select(PoolRow).order_by(col(PoolRow.name)))
    version, stamp = session.exec(select(VersionRow.version, VersionRow.stamp)).one()
    return Policy(
        version=version,
        stamp=stamp,
        internal=settings["internal"],
        federated=settings["federated"],
        domains=frozenset(session.exec(select(DomainRow.domain))),
        pools={row.name: Pool(name=row.name, **row.settings()) for row in pools},
        users={
            row.address: flags_of(row.archive_internal, row.archive_federated)
            for row in session.exec(select(UserRow).where(users))
        },
        disclaimer=Disclaimer(**session.exec(select(DisclaimerRow)).one().settings()),
        cdr=session.exec(select(CDRSwitchRow.enabled)).one(),
        connectors={
            row.name: ConnectorRights(
                name=row.name, domains=frozenset(row.domains), gateway_for=frozenset(row.gateway_for)
            )
            for row in session.exec(select(ConnectorRow))
        },
    )
