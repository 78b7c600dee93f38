"""Queries for resources of policy."""

from collections.abc import Sequence

from sqlmodel import Session, col, or_, select

from admin_api.policy.whole_policy import load_policy
from admin_api.tables.policy import ConnectorRow, DomainRow, PoolRow, UserRow
from contract.address import domain_of, parts_of_address
from contract.policy import Policy


def find_pools(session: Session) -> Sequence[PoolRow]:
    """Return the pools that have settings, by name."""
    return session.exec(select(PoolRow).order_by(col(PoolRow.name))).all()


def find_domains(session: Session) -> Sequence[DomainRow]:
    """Return our own domains, by name."""
    return session.exec(select(DomainRow).order_by(col(DomainRow.domain))).all()


def find_connectors(session: Session) -> Sequence[ConnectorRow]:
    """Return the connectors that policy names, by name."""
    return session.exec(select(ConnectorRow).order_by(col(ConnectorRow.name))).all()


def find_users(session: Session, search: str | None, after: str | None, limit: int) -> Sequence[UserRow]:
    """Return users by address. ``search``: contained in the address; ``after``: addresses behind it only."""
    query = select(UserRow).where(~col(UserRow.deleted))
    if after is not None:
        query = query.where(col(UserRow.address) > after)
    if search is not None:
        parts = parts_of_address(search)
        query = query.where(or_(*(col(UserRow.address).contains(part, autoescape=True) for part in parts)))
    return session.exec(query.order_by(col(UserRow.address)).limit(limit)).all()


def load_policy_for(session: Session, participants: Sequence[str]) -> Policy:
    """Return the policy with those users only that count for some participants. The session is a snapshot."""
    users = or_(
        col(UserRow.address).in_(participants),
        *(
            col(UserRow.address).startswith(f"sip:{address[4:]}@", autoescape=True)
            for address in participants
            if not domain_of(address)
        ),
    )
    return load_policy(session, users)
