"""Two people of contoso.com who talk SIP, and those who look after the archive."""

from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from deploy.local.process import wait_for
from deploy.local.stack import Stack
from tests.sip import scenarios
from tests.sip.edge import HOST, Edge, Sipp, said_in


class Office:
    """A test's own people: ``yannis`` writes, ``ada`` has a client that answers."""

    def __init__(self, stack: Stack, edge: Edge, sipp: Sipp, number: int) -> None:
        self.yannis, self.ada = f"yannis{number}@contoso.com", f"ada{number}@contoso.com"
        self.stack, self.edge, self.sipp = stack, edge, sipp
        self._clients = [_client(stack, person) for person in ("administrator", "compliance")]
        self.administrator, self.officer = self._clients
        self.set_policy()

    def close(self) -> None:
        """Hang up."""
        for client in self._clients:
            client.close()

    def set_policy(
        self,
        *,
        internal: str = "everyone",
        federated: str = "everyone",
        critical: bool = False,
        disclaimer: str = "",
        unseen: Sequence[str] = (),
    ) -> None:
        """Set whose IMs are archived, and what partners are told; return when the front end knows.

        ``unseen``: what may go past the archive.
        """
        settings: dict[str, Any] = {"archive": True, "critical": critical, "archive_all_group": False}
        settings["unseen_media"] = list(unseen)
        self.administrator.put("/v1/policy/domains/contoso.com", json={}).raise_for_status()
        for scope, setting in (("internal", internal), ("federated", federated)):
            self.administrator.put(f"/v1/policy/global/{scope}", json={"archive": setting}).raise_for_status()
        self.administrator.put("/v1/policy/pools/pool1", json=settings).raise_for_status()
        self._set_disclaimer(disclaimer)
        self.wait_for_policy()

    def wait_for_policy(self) -> None:
        """Return when the front end has the policy of now."""
        version = self.administrator.get("/v1/policy").raise_for_status().json()["version"]
        wait_for(lambda: self.readiness()["policy"]["version"] == version, "the policy at the front end")

    def _set_disclaimer(self, text: str) -> None:
        document = {"enabled": bool(text), "wordings": {"en": text} if text else {}}
        self.administrator.put("/v1/policy/disclaimer", json=document).raise_for_status()

    def readiness(self) -> dict[str, Any]:
        """Return what the front end says of itself."""
        answer: dict[str, Any] = httpx.get(f"{self.stack.front_end_urls[0]}/readyz", trust_env=False).json()
        return answer

    def wait_until_normal(self) -> None:
        """Return when the front end's IMs are confirmed by the broker again."""
        wait_for(lambda: self.readiness()["state"] == "normal", "the state normal")

    def register(self, address: str, *transport: str, at: Edge | None = None, answering: str = "") -> Path:
        """Have a client answer for somebody; return the log of what it is told.

        ``transport``: sipp's arguments for another than UDP; ``at``: another edge than ours; ``answering``:
        another scenario than one that agrees to everything.
        """
        edge = at or self.edge
        name = address.partition("@")[0]
        port, log = self.sipp.answer(answering or scenarios.answer(), *transport)
        contact = f"sip:{name}@{HOST}:{port}" + (";transport=tcp" if transport else "")
        self.sipp.run(scenarios.register(address, edge.password_of(address), contact), edge.port, *transport)
        return log

    def send(
        self, body: str, *arguments: str, sender: str = "", to: str = "", at: Edge | None = None, **how: Any
    ) -> None:
        """Have somebody, by default yannis, send somebody, by default ada, a MESSAGE."""
        edge, sender = at or self.edge, sender or self.yannis
        scenario = scenarios.message(sender, to or self.ada, body, password=edge.password_of(sender), **how)
        self.sipp.run(scenario, edge.port, *arguments)

    def archived(self, user: str = "") -> list[dict[str, Any]]:
        """Return what somebody (yannis) wrote or was written, oldest first, once everything is archived.

        Of more than a thousand IMs the newest.
        """
        front_end = self.readiness()
        confirmed, agent = front_end["confirmed"], front_end["agent"]

        def is_there() -> bool:
            [entry] = [
                each
                for each in self.officer.get("/v1/completeness").raise_for_status().json()["agents"]
                if each["agent"] == agent
            ] or [{}]
            return bool(entry.get("archived", 0) >= confirmed) or not confirmed

        wait_for(is_there, f"{confirmed} IMs of agent {agent} in the archive")
        found = self.officer.get(
            "/v1/messages", params={"user": user or self.yannis, "order": "desc", "limit": 1000}
        )
        return list(found.raise_for_status().json()["messages"])[::-1]

    def contents(self) -> list[tuple[str, bytes]]:
        """Return what yannis wrote or was written, oldest first: content types and bytes."""
        return [
            (im["content_type"], b64decode(im["content"]) if im["content"] else im["body"].encode())
            for im in self.archived()
        ]

    def told(self, partner: str) -> list[dict[str, Any]]:
        """Return the notices that a partner was given."""
        found = self.officer.get("/v1/disclaimers", params={"partner": partner}).raise_for_status()
        return list(found.json()["disclaimers"])

    def taken_back(self, partner: str) -> int:
        """Return how many notices a partner could not be given."""
        asked = {"target": f"sip:{partner}", "action": "disclaimer.retract"}
        return len(self.officer.get("/v1/audit", params=asked).raise_for_status().json()["records"])

    def sessions(self, *, ended: str | None, messages: int = 0) -> list[dict[str, Any]]:
        """Return yannis's call detail records, newest first, once the newest ended so."""
        params = {"user": self.yannis}

        def found() -> list[dict[str, Any]]:
            sessions: list[dict[str, Any]] = (
                self.officer.get("/v1/cdr", params=params).raise_for_status().json()["sessions"]
            )
            return sessions

        def is_there() -> bool:
            return any(each["ended"] == ended and each["messages"] >= messages for each in found()[:1])

        wait_for(is_there, f"a session that ended: {ended}")
        return found()


def _client(stack: Stack, person: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {stack.tokens[person]}"}
    return httpx.Client(base_url=stack.admin_url, headers=headers, timeout=30, trust_env=False)


def wait_until_told(log: Path, *texts: str) -> None:
    """Return when a client was told exactly these, in order; fail if it was told otherwise."""
    wait_for(lambda: len(said_in(log)) >= len(texts), f"{len(texts)} at the client: {said_in(log)}")
    told = said_in(log)
    assert told == list(texts), told


def wait_until_told_last(log: Path, text: str) -> None:
    """Return when the last that a client was told is this."""
    wait_for(lambda: said_in(log)[-1:] == [text], f"{text!r} at the client")
