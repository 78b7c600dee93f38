"""Decisions that are remembered are those that would be made."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.policy import GlobalSetting, Policy, PolicySettings, Pool, decide
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM, IMProblem
from frontend.listeners.submission import read_submission
from frontend.policy.decisions import Decisions
from runtime.token import Connector

_SETTINGS = FrontEndSettings(amqp_url="amqp://nowhere", connectors_file=Path("none"))
_OURS = frozenset({"contoso.com"})
_CONTOSO = Connector(name="chat", hash="1", pool="pool1", domains=_OURS)
_CALLS = Connector(name="calls", hash="3", pool="pool1", domains=_OURS, media=True)
_FABRIKAM = Connector(name="chat", hash="2", pool="pool1", domains=frozenset({"fabrikam.com"}))
_PEOPLE = ["sip:a@contoso.com", "sip:b@contoso.com", "sip:c@fabrikam.com"]

policies = st.builds(
    Policy,
    st.builds(
        PolicySettings,
        version=st.integers(1, 9),
        since=st.just(0),
        internal=st.sampled_from(GlobalSetting),
        federated=st.sampled_from(GlobalSetting),
        domains=st.just(_OURS),
        pools=st.builds(lambda archive: (Pool(name="pool1", archive=archive),), st.booleans()),
    ),
    users=st.dictionaries(st.sampled_from(_PEOPLE), st.integers(0, 3)),
)


def _im(sender: str, recipients: list[str], content_type: str = "text/plain") -> CheckedIM:
    document = {"sender": sender, "recipients": recipients, "body": "hello", "content_type": content_type}
    return read_submission(json.dumps(document).encode(), _SETTINGS)


ims = st.builds(
    _im,
    st.sampled_from(_PEOPLE[:2]),
    st.lists(st.sampled_from(_PEOPLE), min_size=1, max_size=3),
    st.sampled_from(["text/plain", "audio/ogg"]),
)


@given(st.lists(st.tuples(policies, st.lists(ims, max_size=6)), max_size=4))
def test_a_remembered_decision_is_the_one_that_policy_makes(
    steps: list[tuple[Policy, list[CheckedIM]]],
) -> None:
    decisions = Decisions("pool1")
    for policy, some in steps:
        for im, connector in itertools.product(some * 2, (_CONTOSO, _CALLS)):
            assert decisions.decide(policy, im, connector) == decide(
                policy,
                pool="pool1",
                sender=im.sender,
                recipients=im.recipients,
                media=connector.media,
                domains=_OURS,
            )


def test_what_one_connector_may_send_another_may_not() -> None:
    settings = PolicySettings(
        version=1, since=0, internal=GlobalSetting.EVERYONE, federated=GlobalSetting.EVERYONE, domains=_OURS,
        pools=(),
    )  # fmt: skip
    policy = Policy(settings, users={})
    decisions = Decisions("pool1")
    im = _im("sip:a@contoso.com", ["sip:b@contoso.com"])
    assert decisions.decide(policy, im, _CONTOSO).archive
    for _ in range(2):
        with pytest.raises(IMProblem, match="doesn't speak for contoso"):
            decisions.decide(policy, im, _FABRIKAM)


@pytest.mark.parametrize("content_type", ["audio/x", "VIDEO/mp4", "image/png", "text/plain"])
def test_a_content_type_makes_no_audio_or_video_of_an_im(content_type: str) -> None:
    decision = Decisions("pool1").decide(None, _im(_PEOPLE[0], _PEOPLE[1:2], content_type), _CONTOSO)
    assert decision.archive
