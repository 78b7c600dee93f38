"""A connector's IM is archived as it came, or refused: whatever it is called and however it is written."""

import base64
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.message import content_of
from contract.topology import QUEUE
from tests.conftest import Vhost
from tests.integration.frontend_service import FrontEnd, ims_of

_TYPES = st.one_of(
    st.sampled_from(
        [
            "text/plain", "TEXT/plain;charset=utf-8", "audio/ogg", "video/h264", "application/sdp",
            "application/im-iscomposing+xml", "message/imdn+xml", "text/x-msmsgsinvite", "message/cpim",
            "multipart/mixed; boundary=b", "application/octet-stream", "image/png", "no type",
        ]
    ),
    st.from_regex(r"[a-z]{1,12}/[a-z0-9.+-]{1,12}", fullmatch=True),
)  # fmt: skip
_SUBMISSIONS = st.fixed_dictionaries(
    {
        "sender": st.sampled_from(["yannis@contoso.com", "SIP:Ada@Contoso.COM", "ada@else.example", "ada"]),
        "recipients": st.lists(
            st.sampled_from(["grace@contoso.com", "bob@fabrikam.com", "sips:bob@fabrikam.com:5061"]),
            max_size=3,
        ),
        "body": st.one_of(
            st.text(max_size=40),
            st.binary(max_size=40).map(lambda content: base64.b64encode(content).decode()),
        ),
    },
    optional={
        "content_type": _TYPES,
        "encoding": st.sampled_from(["text", "base64"]),
        "content_encoding": st.sampled_from(["", "gzip", "deflate, gzip", "\n"]),
        "conversation": st.text(max_size=5),
        "silent": st.just(True),
    },
)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(_SUBMISSIONS, min_size=1, max_size=60))
def test_each_im_is_archived_as_it_came_or_refused(
    vhost: Vhost, front_end: FrontEnd, submissions: list[dict[str, Any]]
) -> None:
    answers = front_end.stream([json.dumps(submission).encode() for submission in submissions])
    archived = {str(im.id): im for im in ims_of(vhost.take(QUEUE))}
    for submission, answer in zip(submissions, answers, strict=True):
        if answer["status"] >= 400:
            assert answer["detail"]
            continue
        assert (answer["status"], answer["archived"]) == (201, True)
        im = archived.pop(answer["id"])
        assert (im.body, im.encoding) == (submission["body"], submission.get("encoding", "text"))
        assert im.content_type == submission.get("content_type", "text/plain")
        assert im.content_encoding == submission.get("content_encoding", "")
        assert content_of(im) is not None
    assert archived == {}
