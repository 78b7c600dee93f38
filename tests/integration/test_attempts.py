"""``POST /v1/attempts``: who tries to talk past the archive stands in the call detail records."""

import re
from typing import Any

import httpx

from contract.cdr import Activity, decode_activities
from contract.topology import CDR_QUEUE
from deploy.local.process import wait_for
from tests.conftest import Vhost
from tests.integration.frontend_service import FrontEnd

ATTEMPT = {"sender": "xmpp:Yannis@contoso.com", "recipient": "ada@contoso.com", "kind": "file"}


def _recorded(vhost: Vhost) -> list[Activity]:
    wait_for(lambda: vhost.depth(CDR_QUEUE) > 0, "call detail records")
    return [one for delivery in vhost.take(CDR_QUEUE) for one in decode_activities(delivery.body)]


def test_an_attempt_stands_in_the_call_detail_records_of_the_two(vhost: Vhost, front_end: FrontEnd) -> None:
    assert front_end.http.post("/v1/attempts", json=ATTEMPT).status_code == httpx.codes.NO_CONTENT
    [activity] = _recorded(vhost)
    assert (activity.sender, activity.recipients) == ("sip:yannis@contoso.com", ("sip:ada@contoso.com",))
    assert activity.conversation == "p2p:sip:ada@contoso.com|sip:yannis@contoso.com"
    assert (activity.attempts, activity.archived, activity.invited) == ({"file": 1}, 0, False)
    metrics = front_end.http.get("/metrics").text
    assert re.search(r'^lcs_frontend_unseen_attempts_total{.*kind="file".*} 1\.0$', metrics, re.MULTILINE)


def test_an_attempt_that_a_connector_may_not_tell_is_refused(front_end: FrontEnd) -> None:
    refused: list[tuple[dict[str, Any], int, str | None]] = [
        ({"kind": "smoke signals"}, 422, "/kind"),
        ({"sender": "nobody"}, 422, "/sender"),
        ({"recipient": ""}, 422, "/recipient"),
        ({"why": "?"}, 422, "/why"),
        ({"sender": "ceo@litware.com"}, 403, None),
        ({"sender": "eve@else.example", "recipient": "bob@else.example"}, 403, None),
    ]
    for changed, status, field in refused:
        answer = front_end.http.post("/v1/attempts", json=ATTEMPT | changed)
        assert (answer.status_code, answer.json().get("field")) == (status, field), changed


def test_an_attempt_with_a_name_twice_or_no_json_is_refused(front_end: FrontEnd) -> None:
    for content in (
        b'{"kind": "file", "kind": "fax", "sender": "a@contoso.com", "recipient": "b@x.example"}',
        b"{",
    ):
        answer = front_end.http.post("/v1/attempts", content=content)
        assert answer.status_code == httpx.codes.BAD_REQUEST
