"""Chromium with the chat page, in a container, driven as a person would."""

from typing import NamedTuple

import docker
from docker.models.containers import Container
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.webelement import WebElement
from urllib3.exceptions import HTTPError

from deploy.local.process import find_free_port, wait_for
from tests.sip.edge import HOST, Edge, build_image

_IMAGE = "lcs-archive/sip-browser:test"


_READ_MESSAGES = """
return [...document.querySelectorAll("#messages li")].map(
    (item) => [".text", ".fate"].map((part) => item.querySelector(part).innerText))"""


class Shown(NamedTuple):
    """A message on the page, and what stands below it."""

    text: str
    fate: str


class ChatPage:
    """Somebody's browser at an edge's chat page."""

    def __init__(self, driver: webdriver.Remote, edge: Edge) -> None:
        """Opens the page."""
        self.driver = driver
        self._edge = edge
        driver.get(f"http://{HOST}:{edge.websocket_port}/")

    def try_to_log_in(self, address: str, password: str) -> None:
        """Fill in the form."""
        self._type("#login [name=address]", address)
        self._type("#login [name=password]", password)
        self._find("#login button").click()

    def log_in(self, address: str) -> None:
        """Log in, with the right password."""
        self.try_to_log_in(address, self._edge.password_of(address))
        wait_for(lambda: self.text("#me") == address, f"{address} to be logged in")

    def write(self, peer: str, text: str) -> None:
        """Write to somebody."""
        if self.text("#peer") != peer:
            self._type("#open [name=peer]", peer)
            self._find("#open button").click()
        self._type("#say [name=text]", text)
        self._find("#say button").click()

    def text(self, selector: str) -> str:
        """Return what is shown at a place, "" if it is hidden."""
        return self._find(selector).text

    def shown(self) -> list[Shown]:
        """Return the messages of the conversation that is open."""
        return [Shown(*parts) for parts in self.driver.execute_script(_READ_MESSAGES)]

    def wait_until_shown(self, *messages: tuple[str, str]) -> None:
        """Return when the conversation is these messages, each with what stands below it."""
        wait_for(lambda: self.shown() == list(messages), f"{messages} on the page, not {self.shown()}")

    def _find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def _type(self, selector: str, text: str) -> None:
        field = self._find(selector)
        field.clear()
        field.send_keys(text)


class Browser:
    """Opens chat pages, each in a browser of its own."""

    def __init__(self, engine: docker.DockerClient) -> None:
        """Starts what drives them."""
        build_image(engine, _IMAGE, "tests/sip/browser.Dockerfile")
        port = find_free_port()
        self._address = f"http://{HOST}:{port}"
        self._pages: list[ChatPage] = []
        self._container: Container = engine.containers.run(
            _IMAGE, ["chromedriver", f"--port={port}"], detach=True, network_mode="host", shm_size="256m"
        )

    def open(self, edge: Edge) -> ChatPage:
        """Open an edge's page in a new browser."""
        page = ChatPage(self.start(), edge)
        self._pages.append(page)
        return page

    def start(self) -> webdriver.Remote:
        """Return a new browser, whose console can be read."""
        options = webdriver.ChromeOptions()
        # Root in a container has no sandbox of its own; a browser that looks for updates finds no network.
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        config = ClientConfig(self._address, ignore_certificates=False, timeout=60)
        drivers: list[webdriver.Remote] = []

        def start() -> bool:
            try:
                drivers.append(webdriver.Remote(self._address, options=options, client_config=config))
            except HTTPError:  # not yet listening
                return False
            return True

        wait_for(start, "a browser")
        return drivers[0]

    def close_pages(self) -> None:
        """Close all pages."""
        while self._pages:
            self._pages.pop().driver.quit()

    def stop(self) -> None:
        """Remove everything."""
        self._container.remove(force=True)
