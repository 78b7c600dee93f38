"""The page of each service's OpenAPI document, in a real browser."""

from collections.abc import Iterator

import docker
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from deploy.local.process import wait_for
from tests.e2e.systems import Processes
from tests.sip.browser import Browser

pytestmark = pytest.mark.containers

_LOADED = "return performance.getEntriesByType('resource').map((entry) => entry.name)"


@pytest.fixture(scope="module")
def driver(engine: docker.DockerClient) -> Iterator[webdriver.Remote]:
    """A browser."""
    browser = Browser(engine)
    driver = browser.start()
    yield driver
    driver.quit()
    browser.stop()


def text_at(driver: webdriver.Remote, selector: str) -> str:
    """Return what is shown at a place, the last of several; "" if there is none."""
    found = driver.find_elements(By.CSS_SELECTOR, selector)
    return found[-1].text if found else ""


def click(driver: webdriver.Remote, selector: str) -> None:
    """Click on something, once it is there."""
    wait_for(lambda: driver.find_elements(By.CSS_SELECTOR, selector) != [], f"{selector} on the page")
    driver.execute_script("arguments[0].click()", driver.find_element(By.CSS_SELECTOR, selector))


@pytest.mark.parametrize(
    ("service", "person", "operation", "status"),
    [
        ("admin API", "operator", "policy-get_policy_v1_policy_get", "200"),
        ("front end", "connector", "messages-post_v1_messages", "201"),
    ],
)
def test_an_example_is_tried_on_the_page_and_nothing_comes_from_elsewhere(
    driver: webdriver.Remote, processes: Processes, service: str, person: str, operation: str, status: str
) -> None:
    url = processes.admin_url if service == "admin API" else processes.front_end_urls[0]
    driver.get(f"{url}/docs")
    click(driver, ".authorize")
    driver.find_element(By.CSS_SELECTOR, ".auth-container input").send_keys(processes.tokens[person])
    for button in (".auth-btn-wrapper .authorize", ".btn-done"):
        click(driver, button)
    place = f"#operations-{operation}"
    for button in (".opblock-control-arrow", ".try-out__btn", ".execute"):
        click(driver, f"{place} {button}")
    wait_for(
        lambda: text_at(driver, f"{place} .live-responses-table .response-col_status").startswith(status),
        f"{status} on the page",
    )
    assert {address.startswith(url) for address in driver.execute_script(_LOADED)} == {True}
    said = driver.execute("getLog", {"type": "browser"})["value"]  # what the page's policy refuses, too
    assert [line for line in said if line["level"] == "SEVERE"] == []
