"""The names in the code are those that the broker's definitions declare."""

import json
import re
from pathlib import Path

from contract import topology

DEFINITIONS = json.loads((Path(__file__).parents[2] / "deploy" / "rabbitmq" / "definitions.json").read_text())


def test_every_exchange_and_queue_of_the_code_is_declared() -> None:
    names = {entry["name"] for kind in ("exchanges", "queues", "vhosts") for entry in DEFINITIONS[kind]}
    assert names == {value for name, value in vars(topology).items() if name.isupper()}


def test_queues_are_quorum_queues_bound_under_their_exchange() -> None:
    assert {queue["arguments"]["x-queue-type"] for queue in DEFINITIONS["queues"]} == {"quorum"}
    bound = {(b["source"], b["routing_key"], b["destination"]) for b in DEFINITIONS["bindings"]}
    assert (topology.INGEST_EXCHANGE, topology.QUEUE, topology.QUEUE) in bound
    assert (topology.PARK_EXCHANGE, topology.QUEUE, topology.PARKED_QUEUE) in bound


def test_what_lcslog_gives_up_on_goes_to_the_parked_queue_and_nothing_expires() -> None:
    policies = {policy["pattern"]: policy["definition"] for policy in DEFINITIONS["policies"]}
    definition = policies[f"^{topology.QUEUE}$"]
    assert (definition["dead-letter-exchange"], definition["dead-letter-routing-key"]) == (
        topology.PARK_EXCHANGE,
        topology.QUEUE,
    )
    assert definition["dead-letter-strategy"] == "at-least-once"
    assert definition["overflow"] == "reject-publish"
    for pattern, each in policies.items():
        assert not {"message-ttl", "expires"} & set(each), pattern
    # RabbitMQ 4 drops after 20 deliveries what has nowhere else to go.
    [others] = [each for pattern, each in policies.items() if re.search(pattern, topology.PARKED_QUEUE)]
    assert others["delivery-limit"] >= 1_000_000


def test_no_queue_is_left_to_the_broker_s_own_delivery_limit_after_which_messages_are_dropped() -> None:
    for queue in DEFINITIONS["queues"]:
        [policy] = [each for each in DEFINITIONS["policies"] if re.search(each["pattern"], queue["name"])]
        assert policy["definition"]["delivery-limit"] >= 100


def test_no_service_may_configure_or_touch_more_than_its_own() -> None:
    rights = {entry["user"]: entry for entry in DEFINITIONS["permissions"]}

    def may(user: str, right: str) -> set[str]:
        names = {value for name, value in vars(topology).items() if name.isupper() and name != "VHOST"}
        return {name for name in names if re.search(rights[user][right], name)}

    for user in ("frontend", "archiving", "admin-api"):
        assert may(user, "configure") == set()
    assert may("frontend", "write") == {topology.INGEST_EXCHANGE, topology.CDR_EXCHANGE}
    assert may("frontend", "read") == {topology.POLICY_EXCHANGE}
    assert may("archiving", "write") == set()
    assert may("archiving", "read") == {topology.QUEUE, topology.PARKED_QUEUE, topology.CDR_QUEUE}
    assert may("admin-api", "write") == {topology.POLICY_EXCHANGE}
    assert may("admin-api", "read") == set()
