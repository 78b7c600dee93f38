"""The stack behind the chat server: its policy, and what it archived."""

import base64
from typing import Any, Final
from urllib.parse import quote

import httpx

from deploy.local.process import wait_for
from tests.e2e.systems import Processes
from tests.xmpp.people import Person

_DOMAINS: Final = ("contoso.com", "rooms.contoso.com", "litware.com", "bot.litware.com", "bücher.example")


def content_of(im: dict[str, Any]) -> str:
    """Return what was archived, as it came."""
    return base64.b64decode(im["content"]).decode() if im["encoding"] == "base64" else str(im["body"])


class Archive:
    """The archive as administrators and compliance officers see it."""

    def __init__(self, system: Processes) -> None:
        self.system = system

    def set_policy(self, *, internal: str = "everyone", critical: bool = False, disclaimer: str = "") -> None:
        """Set who is archived; return when the front end knows."""
        headers = {"Authorization": f"Bearer {self.system.tokens['administrator']}"}
        pool = {"archive": True, "critical": critical, "archive_all_group": False}
        with httpx.Client(base_url=self.system.admin_url, headers=headers, trust_env=False) as client:
            for domain in _DOMAINS:
                client.put(f"/v1/policy/domains/{domain}", json={}).raise_for_status()
            speaks = {"domains": list(_DOMAINS), "gateway_for": ["*"]}
            client.put("/v1/policy/connectors/prosody", json=speaks).raise_for_status()
            client.put("/v1/policy/global/internal", json={"archive": internal}).raise_for_status()
            client.put("/v1/policy/pools/pool1", json=pool).raise_for_status()
            told = {"enabled": bool(disclaimer), "wordings": {"en": disclaimer} if disclaimer else {}}
            client.put("/v1/policy/disclaimer", json=told).raise_for_status()
            version = client.get("/v1/policy").raise_for_status().json()["version"]
        wait_for(lambda: self.readiness()["policy"]["version"] == version, "the policy at the front end")

    def readiness(self) -> dict[str, Any]:
        """Return what the front end says of itself."""
        answer: dict[str, Any] = httpx.get(f"{self.system.front_end_urls[0]}/readyz", trust_env=False).json()
        return answer

    def asked(self) -> int:
        """Return how many IMs the front end was asked about."""
        metrics = (
            httpx.get(f"{self.system.front_end_urls[0]}/metrics", trust_env=False).raise_for_status().text
        )
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in metrics.splitlines()
            if line.startswith("lcs_frontend_answered_ims_total{")
        )

    def of(self, person: Person, count: int) -> list[dict[str, Any]]:
        """Return somebody's archived IMs, oldest first, once there are so many."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = self._find(person, order="asc", limit="1000")
            return len(found) >= count

        wait_for(is_there, f"{count} archived IMs")
        return found

    def latest(self, person: Person) -> list[dict[str, Any]]:
        """Return somebody's newest IMs, as far as they are archived."""
        return self._find(person, order="desc", limit="200")

    def _find(self, person: Person, **params: str) -> list[dict[str, Any]]:
        params["user"] = f"xmpp:{quote(str(person.boundjid.bare), safe='@')}"
        headers = {"Authorization": f"Bearer {self.system.tokens['compliance']}"}
        answer = httpx.get(
            f"{self.system.admin_url}/v1/messages", params=params, headers=headers, trust_env=False
        )
        messages: list[dict[str, Any]] = answer.raise_for_status().json()["messages"]
        return messages

    def attempts_of(self, person: Person) -> dict[str, int]:
        """Return what somebody tried past the archive, by kind."""
        headers = {"Authorization": f"Bearer {self.system.tokens['compliance']}"}
        times = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "limit": "1000"}
        answer = httpx.get(
            f"{self.system.admin_url}/v1/cdr/attempts", params=times, headers=headers, trust_env=False
        )
        people = answer.raise_for_status().json()["people"]
        return next((one["kinds"] for one in people if one["address"] == f"sip:{person.boundjid.bare}"), {})

    def notices_taken_back(self, partner: str) -> int:
        """Return how many notices a partner could not be given."""
        answer = httpx.get(
            f"{self.system.admin_url}/v1/audit",
            params={"target": f"sip:{partner}", "action": "disclaimer.retract"},
            headers={"Authorization": f"Bearer {self.system.tokens['compliance']}"},
            trust_env=False,
        )
        return len(answer.raise_for_status().json()["records"])

    def notices_to(self, partner: Person) -> list[tuple[str, str]]:
        """Return what a partner was told of being archived, and whether that is confirmed."""
        headers = {"Authorization": f"Bearer {self.system.tokens['compliance']}"}
        answer = httpx.get(
            f"{self.system.admin_url}/v1/disclaimers",
            params={"partner": f"xmpp:{quote(str(partner.boundjid.bare), safe='@')}"},
            headers=headers,
            trust_env=False,
        )
        notices = answer.raise_for_status().json()["disclaimers"]
        return [(each["wording"], each["state"]) for each in notices]
