"""Containers killed, paused and cut off: a majority of nodes goes on, and nothing is lost in any case."""

import pytest

from tests.chaos.case import Case
from tests.chaos.containers.cluster import NODES, Cluster
from tests.chaos.scenarios import (
    check_answers,
    survive_a_frozen_broker,
    survive_a_killed_broker,
    survive_a_killed_part,
    wait_until_away,
)
from tests.chaos.system import PARTS

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("name", NODES)
def test_service_goes_on_when_a_node_is_killed(case: Case[Cluster], name: str) -> None:
    with case.load() as load:
        case.system.nodes[name].kill()
        try:
            load.wait_for_answer(201, 50)
        finally:
            case.system.nodes[name].start()
    case.check()


def test_the_majority_goes_on_when_one_node_is_cut_off_and_it_comes_back(case: Case[Cluster]) -> None:
    node = case.system.nodes["rabbitmq-2"]
    with case.load() as load:
        case.system.network.disconnect(node)
        try:
            load.wait_for_answer(201, 50)
        finally:
            case.system.network.connect(node, aliases=["rabbitmq-2"])
        case.system.wait_until_whole()
        load.wait_for_answer(201, 50)
    case.check()


def test_ims_are_refused_or_spooled_while_two_nodes_are_lost_and_nothing_is_lost(
    case: Case[Cluster], critical: bool
) -> None:
    lost = [case.system.nodes[name] for name in ("rabbitmq", "rabbitmq-3")]
    with case.load() as load:
        for node in lost:
            node.kill()
        try:
            wait_until_away(case, critical=critical)
            load.wait_for_answer(503 if critical else 202, 10)
        finally:
            for node in lost:
                node.start()
        case.system.wait_for_state("normal", seconds=120)
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


def test_a_rolling_restart_loses_nothing(case: Case[Cluster]) -> None:
    with case.load() as load:
        for node in case.system.nodes.values():
            node.restart(timeout=60)
            case.system.wait_until_whole()
        load.wait_for_answer(201, 50)
    case.check()


def test_a_broker_of_containers_killed_under_load_loses_nothing(case: Case[Cluster]) -> None:
    case.system.make_critical(False)
    survive_a_killed_broker(case, critical=False)


def test_a_broker_of_paused_containers_is_no_hang(case: Case[Cluster], critical: bool) -> None:
    survive_a_frozen_broker(case, critical=critical)


@pytest.mark.parametrize("part", PARTS)
def test_a_container_killed_under_load_loses_nothing(case: Case[Cluster], part: str) -> None:
    survive_a_killed_part(case, part)


def test_a_database_cut_off_by_the_network_gets_everything_later(case: Case[Cluster]) -> None:
    (server,) = case.system.stack.containers("postgres")
    with case.load() as load:
        case.system.network.disconnect(server)
        try:
            load.wait_for_safe(100)
        finally:
            case.system.network.connect(server, aliases=["postgres"])
        load.wait_for_safe(50)
    case.check(seconds=120)
