"""Snapshots of policy: front ends and admin APIs of earlier versions read them, and are read."""

from pathlib import Path

from contract.policy import Policy
from contract.policy_digest import digest_of, sum_of
from contract.snapshot import decode_settings, decode_users, encode_settings, encode_users
from frontend.policy.source import apply

# What an admin API wrote before a policy had one shape, to the letter.
FORMER = (Path(__file__).parent / "golden" / "policy.ndjson").read_bytes()
FORMER_DIGEST = "1:25ab20641889c15e1afc45b4afe31072ca4f0132f171ef98df3643e798a4534e"
FIRST = b'{"version":1,"since":0,"internal":"none","federated":"everyone","domains":["a.b"],"pools":[]}'
"""The fewest fields that a snapshot ever had."""


def _former() -> Policy:
    line, _, lines = FORMER.partition(b"\n")
    return apply(None, decode_settings(line), decode_users(lines), ())


def test_a_former_snapshot_is_read_and_written_to_the_letter() -> None:
    policy = _former()
    assert policy.users == {"sip:yannis@contoso.com": 1, "sip:nora@contoso.com": 3}
    line, _, lines = FORMER.partition(b"\n")
    assert encode_settings(policy.settings) == line
    assert encode_users(decode_users(lines)) == lines


def test_a_former_front_end_has_the_same_digest() -> None:
    policy = _former()
    assert digest_of(policy.settings, sum_of(policy.users.items())) == FORMER_DIGEST


def test_settings_that_a_former_snapshot_lacks_have_defaults() -> None:
    settings = decode_settings(FIRST)
    assert (settings.stamp, settings.cdr, settings.connectors) == (None, True, ())
    assert not settings.disclaimer.enabled


def test_a_former_reader_passes_over_new_settings() -> None:
    assert decode_settings(FIRST[:-1] + b',"later":[{"name":"l"}]}') == decode_settings(FIRST)
