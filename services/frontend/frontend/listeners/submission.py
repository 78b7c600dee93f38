"""An IM as a caller sends it, checked field by field: every error says what to do."""

import base64
import binascii
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from contract.address import AddressError, is_spelled_otherwise, parse_address
from contract.conversation import conversation_of
from contract.message import AsSent, Encoding, Time, make_id, milliseconds_of, time_at, time_of
from contract.remembered import Remembered, weigh_texts
from frontend.config import FrontEndSettings
from frontend.im import MAX_CONVERSATION, CheckedIM
from runtime.json_text import RepeatedNameError, check_names
from runtime.problem import Problem

_MAX_CONTENT_TYPE: Final = 255
_MAX_REMEMBERED: Final = 8
"""Recipients of an IM, at most, whose checked addresses are remembered."""
_REMEMBERED_BYTES: Final = 64 << 20
_SHORTEST: Final = len(',"id":null')
"""Bytes of a name with its value in a document, at least."""
_CONTENT_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+ *(;[\t -~]*)?", re.ASCII)
_CONTENT_ENCODING: Final = re.compile(r"(?=.{1,100}$)[\w!#$&^.+-]+( *, *[\w!#$&^.+-]+)*", re.ASCII)
_PLACE: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_NAMED: Final = re.compile(r"(missing required|unknown) field `(?P<name>.*)`$", re.DOTALL)


class Submission(AsSent, forbid_unknown_fields=True, gc=False):
    """One IM as a caller sends it."""

    sender: str
    recipients: list[str]
    body: str
    id: UUID | None = None
    sent_at: Time | None = None
    conversation: str | None = None
    content_type: str = "text/plain"
    encoding: Encoding = "text"


_decoder = msgspec.json.Decoder(Submission)
_as_sent_of: Final[Callable[[AsSent], object]] = attrgetter(*AsSent.__struct_fields__)
_AS_USUAL: Final = AsSent()


def read_submission(raw: bytes, settings: FrontEndSettings) -> CheckedIM:
    """Return the IM of a JSON document. Raises Problem, which names the field."""
    if len(raw) > settings.max_im_bytes:
        raise Problem(
            413, f"the IM has {len(raw)} bytes of JSON, at most {settings.max_im_bytes} are allowed"
        )
    try:
        submission = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise problem_of(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, _explain(raw, error)) from None
    if not _has_each_name_once(raw, submission):
        try:
            check_names(raw)
        except RepeatedNameError as error:
            raise Problem(400, str(error)) from None
    return check_submission(submission, len(raw), settings)


def _has_each_name_once(raw: bytes, submission: Submission) -> bool:
    """Return True if a document has each name once at a glance: it has no room, or no strings, for more.

    False is no verdict. A full look costs as much as all else that is done to read an IM.
    """
    body, recipients = submission.body, submission.recipients
    # Beside its texts it has 38 bytes, and 3 for each recipient; a further name and value take 10 or more.
    room = len(raw) - len(body) - len(submission.sender) - len("".join(recipients)) - 3 * len(recipients) - 38
    if room < _SHORTEST:  # as nearly always
        return True
    quoted = body.count('"')
    if quoted and rb"\u0022" in raw:  # a quote that is none in the document
        return False
    # Sender, recipients and body with their names; quotes that are escaped stand in the body, or none match.
    more = raw.count(b'"') - quoted - 10 - 2 * len(recipients)
    given: int = (
        (submission.id is not None)
        + (submission.sent_at is not None)
        + (submission.conversation is not None)
        + (submission.content_type != "text/plain")
        + (submission.encoding != "text")
        + sum(getattr(submission, name) != getattr(_AS_USUAL, name) for name in AsSent.__struct_fields__)
    )
    return more == 4 * given  # each of these is a name and a text


def check_submission(submission: Submission, size: int, settings: FrontEndSettings) -> CheckedIM:
    """Return the IM of a submission that came in ``size`` bytes. Raises Problem, which names the field."""
    _check_body(submission, settings)
    people = (submission.sender, tuple(submission.recipients))
    sender, recipients, conversation, spelled = _remembered.get(people) or _recall_people(people, settings)
    now = time.time_ns() // 1_000_000
    im_id, sent_at = _check_time(submission, now, settings)
    if submission.conversation is not None:
        _check_conversation(submission.conversation)
    if submission.content_type != "text/plain":
        _check_content_type(submission.content_type)
    if submission.content_encoding:
        _check_content_encoding(submission)
    im = CheckedIM(
        id=im_id,
        sent_at=sent_at,
        sender=sender,
        recipients=recipients,
        conversation=submission.conversation or conversation,
        content_type=submission.content_type,
        encoding=submission.encoding,
        body=submission.body,
        brought=submission.id is not None,
        keyed=submission.conversation is not None,
        size=size,
        received_at=time_at(now),
        spelled=spelled,
    )
    if _as_sent_of(submission) != _as_sent_of(_AS_USUAL):
        for name in AsSent.__struct_fields__:
            setattr(im, name, getattr(submission, name))
    return im


def problem_of(error: msgspec.ValidationError) -> Problem:
    """Return the problem of a JSON document that is not of its type: the field, and what is wrong."""
    text = str(error)
    path = ""
    if (place := _PLACE.search(text)) is not None:
        text = text[: place.start()]
        path = re.sub(r"\.|\[", "/", place["path"]).replace("]", "")
    if (named := _NAMED.search(text)) is not None:
        path += "/" + named["name"].replace("~", "~0").replace("/", "~1")  # RFC 6901, 3
    return Problem(422, text, field=path or None)


def _explain(raw: bytes, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError) or b"\0" in raw:  # a NUL: of UTF-16, say
        return "the JSON is not UTF-8: send a body in another character set as base64"
    if re.search(rb"\\u[dD][89a-fA-F]", raw):
        return f"invalid JSON ({error}); it may be half of a surrogate pair: send such a body as base64"
    return f"invalid JSON: {error}"


def _check_body(submission: Submission, settings: FrontEndSettings) -> None:
    body = submission.body
    if submission.encoding == "base64":
        try:
            size = len(base64.b64decode(body, validate=True))
        except (binascii.Error, ValueError) as error:
            raise Problem(422, f"the body is not base64 (RFC 4648, 4): {error}", field="/body") from None
    else:
        size = len(body) if body.isascii() else len(body.encode())
        if "\0" in body:
            raise Problem(
                422,
                'the text has a NUL (U+0000): send it as base64, with "encoding": "base64"',
                field="/body",
            )
    if size > settings.max_body_bytes:
        raise Problem(
            413, f"the body has {size} bytes, at most {settings.max_body_bytes} are allowed", field="/body"
        )


class _People(NamedTuple):
    sender: str
    recipients: tuple[str, ...]
    conversation: str
    """The key of these people's conversation."""
    spelled: tuple[str, ...]
    """As in ``CheckedIM``."""


def _check_people(sender: str, recipients: tuple[str, ...], most: int) -> _People:
    """Return sender and recipients in canonical form. Raises Problem."""
    checked = _check_recipients(recipients, most)
    address = _address(sender, "/sender")
    came = (sender, *recipients)
    spelled = came if any(map(is_spelled_otherwise, came, (address, *checked))) else ()
    distinct = tuple(dict.fromkeys(checked))
    return _People(address, distinct, conversation_of(address, distinct), spelled)


_Came = tuple[str, tuple[str, ...]]
"""Sender and recipients as they came."""


def _weigh_people(came: _Came, people: _People) -> int:
    sender, recipients = came
    return weigh_texts(
        sender, people.sender, people.conversation, *recipients, *people.recipients, *people.spelled
    )


_remembered: Final = Remembered[_Came, _People](_REMEMBERED_BYTES, _weigh_people)


def _recall_people(came: _Came, settings: FrontEndSettings) -> _People:
    people = _remembered.recall(came)
    if people is None:
        people = _check_people(*came, settings.max_recipients)
        if len(came[1]) <= _MAX_REMEMBERED:  # a longer list hardly comes again
            _remembered.put(came, people)
    return people


def _check_recipients(recipients: tuple[str, ...], most: int) -> tuple[str, ...]:
    if not recipients:
        raise Problem(422, "an IM has at least one recipient", field="/recipients")
    if len(recipients) > most:
        raise Problem(
            422,
            f"{len(recipients)} recipients, at most {most} are allowed: send several IMs",
            field="/recipients",
        )
    try:
        return tuple(map(parse_address, recipients))
    except AddressError:
        return tuple(_address(text, f"/recipients/{place}") for place, text in enumerate(recipients))


def _address(text: str, field: str) -> str:
    try:
        return parse_address(text)
    except AddressError as error:
        raise Problem(422, str(error), field=field) from None


def _check_conversation(key: str) -> None:
    if not 1 <= len(key) <= MAX_CONVERSATION:
        raise Problem(
            422,
            f"the conversation's key has {len(key)} characters: leave it out, or give one of 1 to"
            f" {MAX_CONVERSATION}",
            field="/conversation",
        )
    if "\0" in key:
        raise Problem(422, "the conversation's key has a NUL (U+0000): leave it out", field="/conversation")


def _check_content_type(content_type: str) -> None:
    if len(content_type) > _MAX_CONTENT_TYPE or _CONTENT_TYPE.fullmatch(content_type) is None:
        raise Problem(
            422,
            f"not a MIME type: write type/subtype, of at most {_MAX_CONTENT_TYPE} characters",
            field="/content_type",
        )


def _check_content_encoding(submission: Submission) -> None:
    if _CONTENT_ENCODING.fullmatch(submission.content_encoding) is None:
        raise Problem(
            422,
            'not a content encoding: write one such as "gzip", or several with commas between them',
            field="/content_encoding",
        )
    if submission.encoding != "base64":
        raise Problem(
            422,
            'compressed content is bytes: send it as base64, with "encoding": "base64"',
            field="/content_encoding",
        )


def _check_time(submission: Submission, now: int, settings: FrontEndSettings) -> tuple[UUID, datetime]:
    """Return an IM's id and time, which are one (docs/decisions/0001). ``now``: milliseconds since 1970."""
    if submission.id is None and submission.sent_at is None:
        im_id = make_id()
        return im_id, time_at(milliseconds_of(im_id))
    if submission.id is None:
        assert submission.sent_at is not None
        field = "/sent_at"
        milliseconds = _milliseconds(submission.sent_at)
        _check_clock(milliseconds - now, field, settings)
        return make_id(milliseconds), time_at(milliseconds)
    try:
        sent_at = time_of(submission.id)
    except ValueError as error:
        raise Problem(422, str(error), field="/id") from None
    if submission.sent_at is not None and _milliseconds(submission.sent_at) != milliseconds_of(submission.id):
        raise Problem(
            422,
            f"sent_at is not the time inside id, {sent_at.isoformat(timespec='milliseconds')}: leave one out",
            field="/sent_at",
        )
    _check_clock(milliseconds_of(submission.id) - now, "/id", settings)
    return submission.id, sent_at


def _milliseconds(moment: datetime) -> int:
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1000 + elapsed.microseconds // 1000


def _check_clock(milliseconds: int, field: str, settings: FrontEndSettings) -> None:
    """Raise Problem if an IM's time is too many milliseconds ahead of now, or behind it."""
    ahead = milliseconds / 1000
    if ahead > settings.clock_ahead_seconds:
        raise Problem(
            422,
            f"the IM's time is {ahead:.0f} s ahead of this front end's clock, at most"
            f" {settings.clock_ahead_seconds:.0f} are allowed: set the sender's clock",
            field=field,
        )
    if -ahead > settings.clock_behind_seconds:
        raise Problem(
            422,
            f"the IM's time is {-ahead:.0f} s behind this front end's clock, at most"
            f" {settings.clock_behind_seconds:.0f} are allowed: set the sender's clock",
            field=field,
        )
