"""Every field that a caller can send comes back from a search of the archive, and with the IM's trace.

The fields are taken from the submission itself: a new one is tested with no edit here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, running_api
from tests.integration.archiving_service import running_worker, stored_ids
from tests.integration.frontend_service import FrontEnd
from tests.unit.test_every_field import EXPECTED, documents

_STEPS = {"accepted", "decided", "published", "confirmed", "consumed", "committed", "acknowledged"}


def test_every_field_of_a_submission_comes_back_from_search_and_trace(
    vhost: Vhost, database: ArchiveDatabase, start: Callable[..., FrontEnd], tmp_path: Path
) -> None:
    front_end = start(vhost.url("frontend"))
    front_end.wait_until_ready()

    @settings(
        max_examples=2,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(documents(), min_size=20, max_size=40))
    def send_and_search(sent: list[dict[str, Any]]) -> None:
        answers = front_end.stream([msgspec.json.encode(document) for document in sent])
        assert {answer["status"] for answer in answers} == {201}
        ids = [UUID(answer["id"]) for answer in answers]
        wait_for(lambda: {*ids} <= {*stored_ids(database)}, "the IMs")
        found = {UUID(each["id"]): each for each in _find_all(api)}
        for im, document in zip(ids, sent, strict=True):
            _compare(document, found[im])
            _follow(api, found[im])

    with running_worker(vhost, database, tmp_path / "worker"), running_api(database, tmp_path) as api:
        send_and_search()


def _find_all(api: AdminApi) -> list[dict[str, Any]]:
    answer = api.compliance.get("/v1/messages", params={"limit": "1000"}).raise_for_status().json()
    assert answer["next"] is None
    messages: list[dict[str, Any]] = answer["messages"]
    return messages


def _compare(document: dict[str, Any], found: dict[str, Any]) -> None:
    for name, value in document.items():
        expected = EXPECTED[name](value) if name in EXPECTED else value
        answered = "content" if name == "body" and found["encoding"] == "base64" else name
        if expected == "":  # sent or not, it is nothing
            assert found[answered] is None, name
        else:
            assert msgspec.convert(found[answered], type(expected)) == expected, name


def _follow(api: AdminApi, found: dict[str, Any]) -> None:
    def read() -> dict[str, Any]:
        trace = api.operator.get(f"/v1/messages/{found['id']}/trace").raise_for_status().json()
        return {step["step"]: step for step in trace["steps"]}

    wait_for(lambda: all(step["at"] for step in read().values()), "the times of all steps")
    steps = read()
    assert steps.keys() == _STEPS
    assert steps["accepted"]["at"] == found["sent_at"]
    told = steps["accepted"]["detail"] | steps["decided"]["detail"]
    assert {name: found[name] for name in told if name in found} == {
        name: told[name] for name in ("pool", "agent", "seq", "rule", "policy_version")
    }
