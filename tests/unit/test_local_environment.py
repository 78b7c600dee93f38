"""What of the environment reaches the services of the local stack."""

import pytest

from deploy.local.environment import SERVICES, describe, ports_asked_for, settings_for
from deploy.local.process import StartError


@pytest.mark.parametrize(
    ("setting", "services"),
    [
        ("LCS_POLICY_MAX_AGE_SECONDS", {"frontend"}),
        ("LCS_CDR_IDLE_SECONDS", {"cdr"}),
        ("LCS_SEARCH_SECONDS", {"admin-api"}),
        ("LCS_SIP_PARTNERS", {"edge"}),
        ("LCS_OTLP_ENDPOINT", {"frontend", "archiving"}),
        ("LCS_TRUST_ANONYMOUS", {"archiving", "cdr"}),
    ],
)
def test_a_setting_goes_to_those_who_know_it_and_that_is_said(setting: str, services: set[str]) -> None:
    environment = {setting: "1", "HOME": "/root"}
    given = {service for service in (*SERVICES, "edge") if settings_for(service, environment)}
    assert given == services
    [line] = describe(environment)
    assert all(service in line for service in services)


@pytest.mark.parametrize("setting", ["LCS_POOL", "LCS_STATE_DIR", "LCS_SIP_TLS_PORT"])
def test_what_the_stack_sets_itself_is_said_not_to_be_heeded(setting: str) -> None:
    assert not any(settings_for(service, {setting: "1"}) for service in (*SERVICES, "edge"))
    assert describe({setting: "1"}) == [f"{setting} is not heeded: the stack sets it itself"]


def test_a_port_is_asked_for_as_of_compose() -> None:
    environment = {"LCS_PORT": "9000", "LCS_ADMIN_PORT": "9001"}
    assert ports_asked_for(environment) == {"fe1": 9000, "admin-api": 9001}
    assert not any(settings_for(service, environment) for service in (*SERVICES, "edge"))
    assert describe(environment) == []


@pytest.mark.parametrize("port", ["", "many", "0", "65536", "-1", "²"])
def test_what_is_no_port_is_refused_with_the_setting_s_name(port: str) -> None:
    with pytest.raises(StartError, match="LCS_PORT is"):
        ports_asked_for({"LCS_PORT": port})


def test_a_misspelt_setting_is_said_with_the_one_that_was_meant() -> None:
    [line] = describe({"LCS_CDR_IDLE_SECOND": "1"})
    assert line == "LCS_CDR_IDLE_SECOND is no setting of the local stack: LCS_CDR_IDLE_SECONDS?"


def test_a_setting_of_a_service_that_nobody_here_knows_has_no_secret_in_what_is_said() -> None:
    assert "secret" not in str(describe({"LCS_ADMIN_API_TOKEN": "secret", "LCS_X": "secret"}))
