"""What only the containers promise."""

import json
import re
from pathlib import Path

import pytest

from deploy.local.process import wait_for
from tests.e2e.systems import Containers

pytestmark = pytest.mark.containers
_TOUR = Path(__file__).parent.parent.parent / "docs" / "tour.md"
_OURS = ("frontend", "archiving", "admin-api", "proxy")


def test_two_front_ends_and_one_worker_run_by_default(containers: Containers) -> None:
    services = json.loads(containers.compose("config", "--format", "json"))["services"]
    assert services["frontend"]["deploy"]["replicas"] == 2
    assert "deploy" not in services["archiving"]


@pytest.mark.parametrize("service", [*_OURS, "prometheus"])
def test_our_containers_can_do_little(containers: Containers, service: str) -> None:
    (container, *_) = containers.containers(service)
    assert container.exec_run(["sh", "-c", "[ $(id -u) != 0 ]"]).exit_code == 0
    host = container.attrs["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]


@pytest.mark.parametrize("service", _OURS)
def test_no_build_tools_are_left_in_our_images(containers: Containers, service: str) -> None:
    (container, *_) = containers.containers(service)
    for tool in ("gcc", "cc", "make"):
        assert container.exec_run(["sh", "-c", f"command -v {tool}"]).exit_code != 0
    assert container.exec_run(["python", "-c", "import pip"]).exit_code != 0


def test_ports_are_published_on_loopback_alone(containers: Containers) -> None:
    published = {
        container.labels["com.docker.compose.service"]: {binding["HostIp"] for binding in bindings}
        for container in containers.containers()
        for bindings in container.attrs["NetworkSettings"]["Ports"].values()
        if bindings
    }
    assert set().union(*published.values()) == {"127.0.0.1"}
    assert published.keys() - {"grafana"} == {"proxy", "admin-api", "rabbitmq", "prometheus"}


def test_no_secret_can_be_read_from_a_container_s_settings(containers: Containers) -> None:
    secrets = json.loads(containers.secret("kept/secrets.json")).values()
    settings = json.dumps([container.attrs for container in containers.containers()])
    assert not [secret for secret in secrets if secret in settings]


def test_the_readme_s_tokens_are_those_of_the_stack_that_runs(containers: Containers, tmp_path: Path) -> None:
    of_another_stack = tmp_path / ".state/up/secrets/people/compliance"
    of_another_stack.parent.mkdir(parents=True)
    of_another_stack.write_text("of make up, which has ended")
    setup = re.search(r"<!-- begin: setup -->\n```sh\n(.*?)```", _TOUR.read_text(), re.DOTALL)
    assert setup is not None
    said = containers.run(["bash", "-c", f'{setup[1]}echo "$OFFICER"'], tmp_path)
    assert said == f"Authorization: Bearer {containers.tokens['compliance']}\n"


def test_parked_ims_are_replayed_by_one_command(containers: Containers) -> None:
    containers.compose("run", "--rm", "-T", "replay")


def test_a_refused_caller_is_logged_with_its_own_address_whatever_it_says(containers: Containers) -> None:
    [caller] = containers.containers("admin-api")
    [network] = caller.attrs["NetworkSettings"]["Networks"].values()
    ask = """
import urllib.error, urllib.request
headers = {"Authorization": "Bearer nobody's", "X-Forwarded-For": "203.0.113.66"}
try:
    urllib.request.urlopen(urllib.request.Request("http://proxy:8080/v1/messages", b"{}", headers))
except urllib.error.HTTPError as error:
    print(error.headers["X-Request-ID"])
"""
    asked = caller.exec_run(["python", "-c", ask])
    assert asked.exit_code == 0, asked.output
    assert isinstance(asked.output, bytes)
    request = asked.output.decode().strip()

    def lines() -> list[dict[str, str]]:
        logged = containers.compose("logs", "--no-log-prefix", "frontend").splitlines()
        return [json.loads(line) for line in logged if request in line]

    wait_for(lambda: bool(lines()), "the security log")
    assert [line["client"] for line in lines()] == [network["IPAddress"]]
