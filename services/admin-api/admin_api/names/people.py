"""People of the archive: all numbers under which a person's IMs are stored."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select
from sqlmodel import Session, col, select

from admin_api.database import Database
from admin_api.names.conversations import ConversationFilter
from admin_api.tables.archive import ArchivedConversation, ArchivedUser
from admin_api.tables.cdr import SessionPartyRow, SessionRow
from admin_api.tables.policy import NoticeRow, UserRow, holds
from contract.address import AddressError, parse_address
from runtime.problem import Problem

UNKNOWN: Final = (
    "Of the people and the conversation that were asked for: which are known nowhere. Neither the archive,"
    " nor call detail records, nor policy has such a name. That nothing is found of them says nothing of"
    " anybody"
)


def numbers_of_person(session: Session, address: str) -> list[int]:
    """Return a person's numbers: one, and one for each name that earlier front ends gave."""
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


def find_unknown(
    database: Database, people: Sequence[str], talk: ConversationFilter, field: str = "user"
) -> list[str]:
    """Return the people and the conversation that no part of the service knows.

    Neither the archive, nor call detail records, nor notices, nor policy has such a name. Raises Problem
    (422) for an unknown person whose name is no address; ``field``: the parameter that names people.
    """
    with database.transaction() as session:
        unknown = [name for name in dict.fromkeys(people) if not _has(session, *_of_person(name))]
        if talk.conversation is not None and not _has(session, *_of_conversation(talk.keys)):
            unknown.append(talk.conversation)
    for name in unknown:
        try:
            if name in people:
                parse_address(name)
        except AddressError as error:
            raise Problem(422, str(error), field=field) from None
    return unknown


def _of_person(name: str) -> Iterator[Select[Any]]:
    yield select(ArchivedUser.id).where(col(ArchivedUser.address) == name)
    yield select(SessionPartyRow.session_id).where(col(SessionPartyRow.address) == name)
    yield select(UserRow.address).where(col(UserRow.address) == name)
    yield select(NoticeRow.id).where(holds(col(NoticeRow.partner), [name]))


def _of_conversation(keys: Sequence[str]) -> Iterator[Select[Any]]:
    yield select(ArchivedConversation.id).where(col(ArchivedConversation.conversation).in_(keys))
    yield select(SessionRow.id).where(col(SessionRow.conversation).in_(keys))
    yield select(NoticeRow.id).where(holds(col(NoticeRow.conversation), keys))


def _has(session: Session, *places: Select[Any]) -> bool:
    """Return whether any of some queries finds a row."""
    return any(session.execute(place.limit(1)).first() is not None for place in places)
