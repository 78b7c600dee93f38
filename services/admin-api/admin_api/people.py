"""People of the archive: all numbers under which somebody's IMs are."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select
from sqlmodel import Session, col, select

from admin_api.cdr_tables import SessionPartyRow
from admin_api.database import Database
from admin_api.tables import ArchivedConversation, ArchivedUser, NoticeRow, UserRow, holds
from contract.address import AddressError, parse_address
from contract.problem import Problem

UNKNOWN: Final = (
    "Of those who were asked for, who is known nowhere: neither the archive, nor call detail records, nor"
    " policy has such a name. That nothing is found of them says nothing of anybody"
)


def numbers_of_person(session: Session, address: str) -> list[int]:
    """Return the numbers of somebody: one, and one for each name that older front ends gave."""
    return _numbers(session, ArchivedUser, col(ArchivedUser.address) == address)


def numbers_of_conversations(session: Session, keys: Sequence[str]) -> list[int]:
    """Return the numbers of conversations, with those of the same people by older names."""
    return _numbers(session, ArchivedConversation, col(ArchivedConversation.conversation).in_(keys))


def _numbers(
    session: Session, table: type[ArchivedUser | ArchivedConversation], named: ColumnElement[bool]
) -> list[int]:
    found = session.exec(select(table.id, table.same_as).where(named))
    numbers = {number if same_as is None else same_as for number, same_as in found}
    spelled = select(table.id).where(col(table.same_as).in_(numbers))
    return [*numbers, *session.exec(spelled)] if numbers else []


def keys_of_conversations(session: Session, keys: Sequence[str]) -> Sequence[str]:
    """Return all keys of the same people's conversations, as far as the archive knows them."""
    numbers = numbers_of_conversations(session, keys) if keys else []
    key = col(ArchivedConversation.conversation)
    return session.exec(select(key).where(col(ArchivedConversation.id).in_(numbers))).all() if numbers else []


def check_people(database: Database, names: Sequence[str]) -> list[str]:
    """Return those of some names that are known nowhere: neither archive, nor records, nor policy has them.

    Raises Problem (422) for such a one that is no address either.
    """
    unknown = []
    with database.transaction() as session:
        for name in dict.fromkeys(names):
            known: tuple[Select[Any], ...] = (
                select(ArchivedUser.id).where(col(ArchivedUser.address) == name),
                select(SessionPartyRow.session_id).where(col(SessionPartyRow.address) == name),
                select(UserRow.address).where(col(UserRow.address) == name),
                select(NoticeRow.id).where(holds(col(NoticeRow.partner), [name])),
            )
            if all(session.execute(query.limit(1)).first() is None for query in known):
                unknown.append(name)
    for name in unknown:
        try:
            parse_address(name)
        except AddressError as error:
            raise Problem(422, str(error), field="user") from None
    return unknown
