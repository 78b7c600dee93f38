"""People of the archive: all numbers under which somebody's IMs are."""

from collections.abc import Sequence

from sqlmodel import Session, col, or_, select

from admin_api.cdr_tables import SessionPartyRow
from admin_api.database import Database
from admin_api.tables import ArchivedConversation, ArchivedUser
from contract.address import AddressError, parse_address
from contract.problem import Problem


def numbers_of_person(session: Session, address: str) -> Sequence[int]:
    """Return the numbers of somebody: one, and one for each name that older front ends gave."""
    number, same_as = col(ArchivedUser.id), col(ArchivedUser.same_as)
    person = select(number).where(col(ArchivedUser.address) == address)
    return session.exec(select(number).where(or_(number.in_(person), same_as.in_(person)))).all()


def numbers_of_conversations(session: Session, keys: Sequence[str]) -> Sequence[int]:
    """Return the numbers of conversations, with those of the same people by older names."""
    number, same_as = col(ArchivedConversation.id), col(ArchivedConversation.same_as)
    named = select(number, same_as).where(col(ArchivedConversation.conversation).in_(keys))
    first = {each for pair in session.exec(named) for each in pair if each is not None}
    return (
        session.exec(select(number).where(or_(number.in_(first), same_as.in_(first)))).all() if first else []
    )


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
