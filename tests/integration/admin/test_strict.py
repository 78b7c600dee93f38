"""No question is answered that was not asked: every route refuses what it does not know."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from admin_api.app import create_app
from admin_api.config import AdminSettings
from admin_api.questions import parameters_of
from contract.question import Parameter
from tests.integration.admin.conftest import NO_BROKER, AdminApi
from tests.integration.admin.test_access import ALLOWED, OPEN, PLACES

HIDDEN = {("GET", "/metrics")}
TIME = "2026-01-31T08:00:00Z"


def routes() -> Iterator[tuple[str, str, Mapping[str, Parameter]]]:
    """Yield every route of the application that is made for people and services: method, path, parameters."""
    settings = AdminSettings(database_url="postgresql://", amqp_url=NO_BROKER, principals_file="/dev/null")
    for context in iter_route_contexts(create_app(settings, {}).routes):
        if isinstance(route := context.original_route, APIRoute):
            for method in route.methods or ():
                if (method, route.path_format) not in OPEN | HIDDEN:
                    yield method, route.path_format, parameters_of(route)


ROUTES = list(routes())
NAMES = [f"{method} {path}" for method, path, _ in ROUTES]


def test_every_route_is_looked_at() -> None:
    assert {(method, path) for method, path, _ in ROUTES} == ALLOWED.keys()


def ask(api: AdminApi, method: str, path: str, query: str, **request: Any) -> httpx.Response:
    client: httpx.Client = getattr(api, min(ALLOWED[method, path]))
    return client.request(method, f"{path.format(**PLACES)}?{query}", **request)


def refused(answer: httpx.Response, field: str) -> bool:
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    return (answer.status_code, problem.get("field")) == (422, field)


@pytest.mark.parametrize(("method", "path", "parameters"), ROUTES, ids=NAMES)
def test_a_parameter_that_a_route_does_not_know_is_refused(
    idle_api: AdminApi, method: str, path: str, parameters: Mapping[str, Parameter]
) -> None:
    known = "".join(f"{each}={TIME}&" for each in parameters)
    for name in ("colour", "LIMIT", "from_"):
        assert refused(ask(idle_api, method, path, f"{known}{name}"), name), name
    assert refused(ask(idle_api, method, path, "=x"), "")


@pytest.mark.parametrize(("method", "path", "parameters"), ROUTES, ids=NAMES)
def test_a_parameter_of_which_one_counts_is_refused_twice(
    idle_api: AdminApi, method: str, path: str, parameters: Mapping[str, Parameter]
) -> None:
    for name, parameter in parameters.items():
        if not parameter.repeatable:
            answer = ask(idle_api, method, path, f"{name}=1&{name}=1")
            assert refused(answer, name), name
            assert "twice" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path", "parameters"), ROUTES, ids=NAMES)
def test_times_that_end_before_they_begin_are_refused(
    idle_api: AdminApi, method: str, path: str, parameters: Mapping[str, Parameter]
) -> None:
    for begin in parameters:
        end = f"{begin.removesuffix('from')}to"
        if begin.endswith("from"):
            assert end in parameters, "a time that begins has an end"
            for until in (TIME, "2026-01-31T07:59:59.999999Z", "2026-01-31T09:00:00%2B01:00"):
                assert refused(ask(idle_api, method, path, f"{end}={until}&{begin}={TIME}"), end)


@pytest.mark.parametrize(("method", "path", "parameters"), ROUTES, ids=NAMES)
def test_a_plus_that_might_be_a_blank_is_refused_with_advice(
    idle_api: AdminApi, method: str, path: str, parameters: Mapping[str, Parameter]
) -> None:
    for name, parameter in parameters.items():
        values = ["+49", "C++", "a+b%20c"]
        if not parameter.takes_blanks:
            values += ["a+b@contoso.com", "2026-01-31T08:00:00+01:00"]
        for value in values:
            answer = ask(idle_api, method, path, f"{name}={value}")
            assert refused(answer, name), (name, value)
            assert "%2B" in answer.json()["detail"]
        assert refused(ask(idle_api, method, path, f"{name}=J%FFrg"), name)


@pytest.mark.parametrize(("method", "path", "parameters"), ROUTES, ids=NAMES)
def test_a_header_of_which_one_counts_is_refused_twice(
    idle_api: AdminApi, method: str, path: str, parameters: Mapping[str, Parameter]
) -> None:
    for name in ("If-Match", "If-None-Match", "Content-Type"):
        answer = ask(idle_api, method, path, "", headers=[(name, '"1"'), (name, '"2"')])
        assert refused(answer, name), name


@pytest.mark.parametrize(("method", "path", "parameters"), ROUTES, ids=NAMES)
def test_a_body_of_another_kind_than_a_route_takes_is_refused(
    idle_api: AdminApi, method: str, path: str, parameters: Mapping[str, Parameter]
) -> None:
    answer = ask(idle_api, method, path, "", content=b"<x/>", headers={"Content-Type": "application/xml"})
    assert answer.status_code in (415, 422)
    assert answer.json()["field"] == ("Content-Type" if answer.status_code == 415 else "")


def test_who_may_not_ask_is_told_so_first(idle_api: AdminApi) -> None:
    assert idle_api.operator.get("/v1/messages?colour=x").status_code == 403
    assert idle_api.anybody.get("/v1/messages?colour=x").status_code == 401


def test_probes_may_add_what_they_like(idle_api: AdminApi) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert idle_api.anybody.get(f"{path}?probe=1&probe=2").status_code == 200
