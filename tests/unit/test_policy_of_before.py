"""A policy of before addresses were canonical, on a front end's disk or from an older admin API."""

from pathlib import Path

import msgspec

from contract.policy import Flags, GlobalSetting, PolicySettings, PolicyUser
from frontend.policy.policies import Policies
from tests.unit.agent_port import SETTINGS

_HEADER = PolicySettings(
    version=7,
    since=0,
    internal=GlobalSetting.PER_USER,
    federated=GlobalSetting.PER_USER,
    domains=frozenset({"contoso.com", "[2001:db8:0::1]"}),
    pools=(),
)
_USERS = [
    PolicyUser("sip:jose\u0301@contoso.com", Flags.INTERNAL),
    PolicyUser("sip:jos\u00e9@contoso.com", Flags.FEDERATED),
    PolicyUser("sip:%62ob@contoso.com", Flags.INTERNAL),
    PolicyUser("sip:ann@contoso.com", Flags.FEDERATED),
    PolicyUser("sip:bo\u200bb@contoso.com", Flags.INTERNAL),
]


def test_whoever_was_flagged_by_any_spelling_is_flagged(tmp_path: Path) -> None:
    (tmp_path / "policy.ndjson").write_bytes(msgspec.json.Encoder().encode_lines([_HEADER, *_USERS]))
    policy = Policies(SETTINGS, tmp_path).current
    assert policy is not None
    assert policy.users == {
        "sip:jos\u00e9@contoso.com": Flags.INTERNAL | Flags.FEDERATED,
        "sip:bob@contoso.com": Flags.INTERNAL,
        "sip:ann@contoso.com": Flags.FEDERATED,
        "sip:bo\u200bb@contoso.com": Flags.INTERNAL,
    }
    assert policy.settings.domains == {"contoso.com", "[2001:db8::1]"}
