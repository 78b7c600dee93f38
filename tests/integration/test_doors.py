"""Whatever a door lets through has room: in the archive, the call detail records, and policy."""

import json
import random
import string
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pika import BasicProperties

from archiving.cdr.records import Records, Settlement
from archiving.delivery import Delivery
from archiving.senders import Senders
from contract.address import MAX_LENGTH
from contract.cdr import CDR_TYPE, Activity, encode_activities
from contract.conversation import conversation_key
from frontend.im import MAX_CONVERSATION, CheckedIM
from frontend.listeners.submission import read_submission
from runtime.problem import Problem
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, make_im, running_api
from tests.unit.agent_port import SETTINGS

ALPHABETS = (
    string.ascii_lowercase,
    "".join(map(chr, range(0x430, 0x450))),
    "".join(map(chr, range(0x4E00, 0x5000))),
    "".join(map(chr, range(0x20000, 0x20800))),
)
"""Letters of one byte, of two, three and four."""


def _text(length: int, alphabet: str, seed: int) -> str:
    """Return a text that can't be compressed."""
    return "".join(random.Random(seed).choices(alphabet, k=length))


def texts(most: int) -> st.SearchStrategy[str]:
    """Texts up to a length, the longest among them."""
    lengths = st.integers(1, most) | st.integers(most - 20, most)
    return st.builds(_text, lengths, st.sampled_from(ALPHABETS), st.integers(0, 1 << 30))


@pytest.fixture
def api(database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API, for people of contoso.com."""
    with running_api(database, tmp_path) as running:
        running.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        yield running


LONGEST = _text(MAX_LENGTH - 16, ALPHABETS[-1], 1)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.tuples(texts(MAX_LENGTH - 10), texts(MAX_LENGTH - 10)),
    key=texts(MAX_CONVERSATION + 3) | st.none(),
    connector=texts(64),
)
@example(names=(LONGEST, LONGEST[::-1]), key=None, connector="c")
@example(names=("a", "b"), key=_text(MAX_CONVERSATION, ALPHABETS[-1], 2), connector=LONGEST[:64])
@example(names=(LONGEST * 2, "b"), key=None, connector="c")
@example(names=("b", "b"), key=None, connector="c")
def test_what_a_door_lets_through_has_room_wherever_it_goes(
    database: ArchiveDatabase, api: AdminApi, names: tuple[str, str], key: str | None, connector: str
) -> None:
    ann, ben = (f"{name}@contoso.com" for name in names)
    document = {"sender": ann, "recipients": [ben], "body": "hello", "conversation": key}
    try:
        im = read_submission(json.dumps(document).encode(), SETTINGS)
    except Problem as problem:
        assert problem.status == 422
        assert problem.field in ("/sender", "/recipients/0", "/conversation")
        assert (
            len(f"sip:{ann}") > MAX_LENGTH
            or len(f"sip:{ben}") > MAX_LENGTH
            or len(key or "") > MAX_CONVERSATION
        )
        return
    conversation = conversation_key(connector, im.conversation) if im.keyed else im.conversation
    _archive(api, im, conversation)
    _record(database, im, conversation)
    _set_policy(api, im, connector)
    _claim(api, im, conversation, connector)


def _archive(api: AdminApi, im: CheckedIM, conversation: str) -> None:
    stored = make_im(sender=im.sender, recipients=im.recipients, conversation=conversation)
    api.store([stored])
    for asked in ({"user": im.sender}, {"user": im.recipients[0]}, {"conversation": conversation}):
        found = api.compliance.get("/v1/messages", params=asked).raise_for_status().json()["messages"]
        assert str(stored.id) in [each["id"] for each in found]


def _record(database: ArchiveDatabase, im: CheckedIM, conversation: str) -> None:
    records = Records(database.url("lcs_archiving"), timedelta(minutes=10))
    activity = Activity(
        conversation=conversation,
        sender=im.sender,
        recipients=im.recipients,
        scope="internal",
        pool="pool1",
        client="c",
        first=im.sent_at,
        last=im.sent_at,
        archived=1,
    )
    properties = BasicProperties(type=CDR_TYPE, message_id=str(uuid4()))
    delivery = Delivery(0, 0, properties, encode_activities([activity]))
    assert Settlement(delivery, SENDERS).settle(records) == 1
    records.close()


SENDERS = Senders({}, trust_anonymous=True)


def _set_policy(api: AdminApi, im: CheckedIM, connector: str) -> None:
    flags = {"archive_internal": True, "archive_federated": False}
    path = f"/v1/policy/users/{quote(im.sender, safe='')}"
    api.administrator.put(path, json=flags).raise_for_status()
    newest = {"target": im.sender, "limit": "1"}  # a look, if an example before had set the same flags
    [record] = api.compliance.get("/v1/audit", params=newest).raise_for_status().json()["records"]
    assert record["target"] == im.sender
    line = json.dumps({"address": im.recipients[0], "archive_internal": True}) + "\n"
    ndjson = {"Content-Type": "application/x-ndjson"}
    api.administrator.patch("/v1/policy/users", content=line, headers=ndjson).raise_for_status()
    rights = {"domains": ["contoso.com"], "gateway_for": []}
    path = f"/v1/policy/connectors/{quote(connector, safe='')}"
    api.administrator.put(path, json=rights).raise_for_status()
    api.administrator.delete(path).raise_for_status()


def _claim(api: AdminApi, im: CheckedIM, conversation: str, connector: str) -> None:
    claim = {
        "front_end": "fe1",
        "connector": connector,
        "conversation": conversation,
        "im": str(im.id),
        "at": im.sent_at.isoformat(),
        "version": 1,
        "notices": [{"partner": im.recipients[0], "language": "en", "wording": "You are archived."}],
    }
    api.frontend.post("/v1/disclaimers", json=claim).raise_for_status()
    params = {"conversation": conversation}
    sent = api.compliance.get("/v1/disclaimers", params=params).raise_for_status().json()
    assert im.recipients[0] in [each["partner"] for each in sent["disclaimers"]]
