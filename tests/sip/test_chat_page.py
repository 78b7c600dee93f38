"""The edge's chat page in real browsers, over WebSocket: people see whether what they say is archived."""

from collections.abc import Iterator

import docker
import pytest

from deploy.local.process import wait_for
from tests.sip import scenarios
from tests.sip.browser import Browser
from tests.sip.edge import Edge
from tests.sip.office import Office, wait_until_told

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def _driver(engine: docker.DockerClient) -> Iterator[Browser]:
    one = Browser(engine)
    yield one
    one.stop()


@pytest.fixture
def browser(_driver: Browser) -> Iterator[Browser]:
    """What opens pages, which are closed after the test."""
    yield _driver
    _driver.close_pages()


def test_two_people_chat_in_two_browsers_and_see_that_it_is_archived(
    office: Office, browser: Browser
) -> None:
    yannis, ada = browser.open(office.edge), browser.open(office.edge)
    yannis.log_in(office.yannis)
    ada.log_in(office.ada)
    yannis.write(office.ada, "Shall we meet at ten? <b>€</b>")
    yannis.wait_until_shown(("Shall we meet at ten? <b>€</b>", "archived"))
    ada.wait_until_shown(("Shall we meet at ten? <b>€</b>", "archived"))
    ada.write(office.yannis, "At eleven.")
    yannis.wait_until_shown(("Shall we meet at ten? <b>€</b>", "archived"), ("At eleven.", "archived"))
    assert yannis.text("#archived") == ada.text("#archived") == "This conversation is archived"
    assert [(im["sender"], im["body"]) for im in office.archived()] == [
        (f"sip:{office.yannis}", "Shall we meet at ten? <b>€</b>"),
        (f"sip:{office.ada}", "At eleven."),
    ]


def test_a_conversation_that_policy_does_not_archive_says_so(office: Office, browser: Browser) -> None:
    office.set_policy(internal="none")
    yannis, ada = browser.open(office.edge), browser.open(office.edge)
    yannis.log_in(office.yannis)
    ada.log_in(office.ada)
    yannis.write(office.ada, "off the record")
    ada.wait_until_shown(("off the record", "not archived"))
    yannis.wait_until_shown(("off the record", "not archived"))
    assert ada.text("#archived") == "This conversation is not archived"
    assert office.archived() == []


def test_in_a_critical_pool_the_sender_sees_that_nothing_was_delivered(
    office: Office, browser: Browser
) -> None:
    log = office.register(office.ada)
    office.set_policy(critical=True)
    yannis = browser.open(office.edge)
    yannis.log_in(office.yannis)
    broker = office.stack.broker
    assert broker is not None
    broker.stop()
    try:
        yannis.write(office.ada, "too early")
        refused = ("too early", "not delivered: it must be archived and can't be now, try again")
        yannis.wait_until_shown(refused)
    finally:
        broker.start()
    office.wait_until_normal()
    yannis.write(office.ada, "in time")
    yannis.wait_until_shown(refused, ("in time", "archived"))
    wait_until_told(log, "MESSAGE in time")
    assert [im["body"] for im in office.archived()] == ["in time"]


def test_who_is_not_there_gets_nothing_and_the_page_says_so(office: Office, browser: Browser) -> None:
    yannis = browser.open(office.edge)
    yannis.log_in(office.yannis)
    yannis.write(office.ada, "anybody?")
    yannis.wait_until_shown(("anybody?", "not delivered: not here now"))


def test_a_wrong_password_is_said_to_be_wrong(office: Office, browser: Browser) -> None:
    page = browser.open(office.edge)
    page.try_to_log_in(office.yannis, "wrong")
    wait_for(lambda: page.text("#trouble").startswith("Not logged in: 401"), "the page to say so")
    page.log_in(office.yannis)


def test_no_sender_decides_what_the_page_says_of_archiving(office: Office, browser: Browser) -> None:
    ada = browser.open(office.edge)
    ada.log_in(office.ada)
    office.send("trust me", headers="LCS-Archived: no\n")
    ada.wait_until_shown(("trust me", "archived"))


def test_a_partner_is_not_shown_what_we_archive(office: Office, partner: Edge, browser: Browser) -> None:
    friend = office.ada.replace("contoso", "fabrikam")
    yannis, theirs = browser.open(office.edge), browser.open(partner)
    yannis.log_in(office.yannis)
    theirs.log_in(friend)
    yannis.write(friend, "hello")
    yannis.wait_until_shown(("hello", "archived"))
    theirs.wait_until_shown(("hello", ""))
    theirs.write(office.yannis, "hello yourself")
    yannis.wait_until_shown(("hello", "archived"), ("hello yourself", "archived"))
    theirs.wait_until_shown(("hello", ""), ("hello yourself", ""))


def test_members_of_a_group_are_shown_that_it_is_archived(office: Office, browser: Browser) -> None:
    ada = browser.open(office.edge)
    ada.log_in(office.ada)
    office.send(
        scenarios.list_body("Hello all", [office.ada]),
        to="list@contoso.com",
        content_type="multipart/mixed;boundary=b1",
        headers="Require: recipient-list-message\n",
        status=202,
    )
    ada.wait_until_shown(("Hello all", "archived"))


def test_typing_notices_are_not_shown(office: Office, browser: Browser) -> None:
    ada = browser.open(office.edge)
    ada.log_in(office.ada)
    office.send(scenarios.TYPING, content_type="application/im-iscomposing+xml")
    office.send("typed")
    ada.wait_until_shown(("typed", "archived"))


def test_the_page_runs_nothing_but_its_own(office: Office, browser: Browser) -> None:
    page = browser.open(office.edge)
    page.log_in(office.yannis)
    ran = page.driver.execute_script("""
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.head.append(script);
        return window.ran === true""")
    assert not ran
