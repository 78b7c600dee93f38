"""One address names all nodes of a broker."""

import pytest

from archiving.config import WorkerSettings
from runtime.broker import BrokerAddress
from runtime.settings import load_settings


def test_an_address_of_one_node_is_that_node() -> None:
    assert BrokerAddress("amqp://u:p@h:5672/lcs").urls == ("amqp://u:p@h:5672/lcs",)


def test_every_node_has_the_same_user_and_vhost() -> None:
    assert set(BrokerAddress("amqps://u:p%2Cq@h1:1,h2:2,[::1]:3/lcs?x=1").urls) == {
        f"amqps://u:p%2Cq@{host}/lcs?x=1" for host in ("h1:1", "h2:2", "[::1]:3")
    }


def test_the_nodes_take_turns() -> None:
    address = BrokerAddress("amqp://u:p@h1,h2,h3/lcs")
    assert [address.next_url() for _ in range(6)] == [*address.urls, *address.urls]
    assert len(set(address.urls)) == 3


def test_clients_start_with_different_nodes() -> None:
    assert len({BrokerAddress("amqp://h1,h2,h3/lcs").next_url() for _ in range(200)}) == 3


@pytest.mark.parametrize(
    "url",
    ["", "h:5672", "http://h/lcs", "amqp:///lcs", "amqp://h1,,h2/lcs", "amqp://u@:5672/", "amqp://h:x/"],
)
def test_what_is_no_address_is_told_in_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCS_AMQP_URL", url)
    monkeypatch.setenv("LCS_DATABASE_URL", "postgresql://nowhere")
    with pytest.raises(SystemExit) as end:
        load_settings(WorkerSettings)
    assert str(end.value).startswith("LCS_AMQP_URL: ")
    assert "\n" not in str(end.value)
