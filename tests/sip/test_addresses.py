"""One person is one address at the edge: what it delivers is archived as said to the one who hears it."""

import pytest

from tests.sip.office import Office, wait_until_told

FLAGS = {"archive_internal": True, "archive_federated": True}


def _flag(office: Office, *people: str) -> None:
    """Have these people archived, and nobody else."""
    office.set_policy(internal="per_user")
    for person in people:
        office.administrator.put(f"/v1/policy/users/{person}", json=FLAGS).raise_for_status()
    office.wait_for_policy()


@pytest.mark.parametrize("spelling", ["%61{}", "{}:5060", "{};transport=udp"])
def test_whoever_hears_it_is_whose_flags_count(office: Office, spelling: str) -> None:
    log = office.register(office.ada)
    _flag(office, office.ada)
    to = spelling.format(office.ada[1:] if spelling.startswith("%61") else office.ada)
    office.send("hidden?", to=to.replace(":5060", f":{office.edge.port}"))
    wait_until_told(log, "MESSAGE hidden?")
    assert [(im["recipients"], im["body"]) for im in office.archived(office.ada)] == [
        ([f"sip:{office.ada}"], "hidden?")
    ]


@pytest.mark.parametrize("spelling", ["ada;x=y@contoso.com", "ad%E2%80%8Ba@contoso.com", "ada@contoso.com."])
def test_a_spelling_that_the_edge_knows_nobody_by_reaches_nobody(office: Office, spelling: str) -> None:
    office.register(office.ada)
    name = office.ada.partition("@")[0]
    to = spelling.replace("ad", name[:-1], 1).replace("a;", f"{name[-1]};").replace("a@", f"{name[-1]}@")
    office.send("hidden?", to=to, status=403 if spelling.endswith(".") else 480)
    assert office.archived(office.ada) == []


def test_a_telephone_number_is_whoever_has_it_in_its_senders_domain(office: Office) -> None:
    number = office.ada.replace("ada", "+1425555")
    log = office.register(number)
    _flag(office, number)
    digits = number.partition("@")[0]
    office.send("by its number", to=f"tel:{digits[:2]}-{digits[2:5]}-{digits[5:]}")
    wait_until_told(log, "MESSAGE by its number")
    assert [im["recipients"] for im in office.archived(number)] == [[f"sip:{number}"]]
    office.send("nobody's", to="tel:+19999", status=480)


def test_a_name_with_an_apostrophe_is_one_person_however_it_is_escaped(office: Office) -> None:
    artagnan = office.ada.replace("ada", "d'art")
    log = office.register(artagnan)
    _flag(office, artagnan)
    office.send("one", to=artagnan)
    wait_until_told(log, "MESSAGE one")
    office.send("two", to=artagnan.replace("'", "%27"))
    wait_until_told(log, "MESSAGE one", "MESSAGE two")
    assert [im["recipients"] for im in office.archived(artagnan)] == [[f"sip:{artagnan}"]] * 2
