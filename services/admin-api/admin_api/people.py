"""People of the archive: all numbers under which somebody's IMs are."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from admin_api.cdr_tables import SessionPartyRow
from admin_api.database import Database
from admin_api.tables import ArchivedConversation, ArchivedUser
from contract.address import AddressError, parse_address
from contract.problem import Problem


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


def check_person(database: Database, name: str | None) -> None:
    """Raise Problem (422) for what is no address, and no name of before there were canonical ones."""
    if name is None:
        return
    try:
        parse_address(name)
    except AddressError as error:
        archived = select(ArchivedUser.id).where(col(ArchivedUser.address) == name).limit(1)
        recorded = select(SessionPartyRow.session_id).where(col(SessionPartyRow.address) == name).limit(1)
        with database.transaction() as session:
            known = [*session.exec(archived), *session.exec(recorded)]
        if not known:
            raise Problem(422, str(error), field="user") from None
