"""Call detail records: participants, time, duration and number of messages; never content.

Front ends sum up the IMs that pass them, and publish the sums once a second: JSON, an activity a line.
The database joins the activities of a session, as all of them arrive there.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from contract.message import Scope, Time

CDR_TYPE: Final = "lcs.cdr.v1"
"""AMQP ``type`` of a message of activities; its ``message_id`` is a UUID of its own: twice is once."""

DISGUISED: Final = "disguised"
"""The kind of attempt in which a text is called a notice: it is archived. Others are ``contract.sdp``'s."""

ENDED: Final = r"^(bye|idle|[3-6][0-9]{2})$"
"""How a session ends: by BYE, by itself, or before it began, by the status that refused it."""

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
"""No sum of them is more than a database holds."""


class Activity(msgspec.Struct, kw_only=True):
    """Activity of one sender in one conversation, within ten seconds by the IMs' own times.

    Older front ends summed up all IMs of one publish, however long that took.
    """

    conversation: str
    """As in ``contract.message.IM``."""
    sender: str
    recipients: tuple[str, ...]
    scope: Scope
    pool: str
    client: str
    """The sender's client: a SIP client's User-Agent, else the connector's name."""
    first: Time
    last: Time
    archived: Count = 0
    """IMs that were archived and may be delivered."""
    passed: dict[str, Count] = {}
    """IMs that may be delivered and policy does not archive: how many by which rule."""
    invited: bool = False
    """True if this began a session (SIP INVITE)."""
    ended: str = ""
    """How this ended a session: ``bye``, or the status with which an INVITE was refused."""
    unseen: tuple[str, ...] = ()
    """Kinds (``contract.sdp``) of content that goes past the archive in this session, as policy allows."""
    attempts: dict[str, Count] = {}
    """Attempts of the sender to get past the archive, refused or archived: how many of which kind."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Activity)


def encode_activities(activities: Sequence[Activity]) -> bytes:
    """Return an AMQP body: one JSON document a line."""
    return _encoder.encode_lines(activities)


def decode_activities(body: bytes) -> list[Activity]:
    """Return the activities of an AMQP body. Raises msgspec.DecodeError or UnicodeDecodeError."""
    return _decoder.decode_lines(body)


def decode_activity(line: bytes) -> Activity:
    """Return the activity of one line; raises as ``decode_activities``, or RecursionError."""
    return _decoder.decode(line)


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema by AMQP type; a golden copy is in contract/schemas/."""
    return {CDR_TYPE: msgspec.json.schema(Activity)}
