"""Calls with sound and pictures work as before, and say nothing: two clients that we didn't write."""

from pathlib import Path
from random import randrange

import pytest

from deploy.local.process import wait_for
from tests.sip.baresip import Baresip
from tests.sip.edge import HOST
from tests.sip.office import Office

pytestmark = pytest.mark.containers


def test_two_real_clients_talk_with_sound_and_pictures_and_nothing_is_said(
    office: Office, tmp_path: Path
) -> None:
    edge = office.edge
    clients: list[Baresip] = []
    try:
        for person, peer in ((office.yannis, office.ada), (office.ada, office.yannis)):
            clients.append(
                Baresip(
                    edge.engine,
                    tmp_path / person,
                    person,
                    edge.password_of(person),
                    peer=peer,
                    proxy=f"sip:{HOST}:{edge.port}",
                    network="host",
                    control=f"127.{randrange(1, 255)}.{randrange(256)}.{randrange(1, 255)}",
                    calls=True,
                )
            )
        clients[0].call(office.ada)
        for client in clients:
            wait_for(lambda: "Call established" in client.said(), "the call")  # noqa: B023 - called at once
        clients[0].hang_up()
    finally:
        for client in clients:
            client.stop()
    [session] = office.sessions(ended="bye")
    assert (session["invited"], session["messages"], session["attempts"]) == (True, 0, {})
    assert office.archived() == []
