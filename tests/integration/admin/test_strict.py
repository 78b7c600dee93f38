"""No question is answered that was not asked: every route refuses what it does not know."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import given, settings
from hypothesis import strategies as st

from admin_api.app import create_app
from admin_api.config import AdminSettings
from admin_api.http.questions import parameters_of
from contract.message import make_id
from runtime.question import Parameter
from tests.integration.admin.conftest import NO_BROKER, AdminApi
from tests.integration.admin.test_access import ALLOWED, OPEN, PLACES

HIDDEN = {("GET", "/metrics")}
TIME = "2026-01-31T08:00:00Z"
NOBODY: Final = ("nothing", "sip:nobody@nowhere.example")
"""Values that name nothing: a word, and somebody."""
ANYTHING: Final = {
    "after": "where a page ends need not be there any more",
    "search": "people are looked for by a part of their names",
    "text": "what is said may be anything",
    "sender": "a decision is made for anybody",
    "recipient": "likewise",
    "pool": "and for a pool to come",
}
"""Parameters that may be anything, and why: what they find says all."""


class Route(NamedTuple):
    """A route that is made for people or services, and the parameters of its query."""

    method: str
    path: str
    parameters: Mapping[str, Parameter]


def routes() -> Iterator[Route]:
    """Yield every route of the application but those for whoever probes."""
    settings = AdminSettings(database_url="postgresql://", amqp_url=NO_BROKER, principals_file="/dev/null")
    for context in iter_route_contexts(create_app(settings, {}).routes):
        if isinstance(route := context.original_route, APIRoute):
            for method in route.methods or ():
                if (method, route.path_format) not in OPEN | HIDDEN:
                    yield Route(method, route.path_format, parameters_of(route))


ROUTES = list(routes())


def test_every_route_is_looked_at() -> None:
    assert {(route.method, route.path) for route in ROUTES} == ALLOWED.keys()


def ask(api: AdminApi, route: Route, query: str, **request: Any) -> httpx.Response:
    client: httpx.Client = getattr(api, min(ALLOWED[route.method, route.path]))
    return client.request(route.method, f"{route.path.format(**PLACES)}?{query}", **request)


def assert_refused(answer: httpx.Response, field: str, words: str = "") -> None:
    problem = answer.json()
    place = (answer.request.method, answer.request.url, problem)
    assert answer.headers["Content-Type"] == "application/problem+json", place
    assert (answer.status_code, problem.get("field")) == (422, field), place
    assert words in problem["detail"], place


def test_a_parameter_that_a_route_does_not_know_is_refused(idle_api: AdminApi) -> None:
    for route in ROUTES:
        known = "".join(f"{each}={TIME}&" for each in route.parameters)
        for name in ("colour", "LIMIT", "from_"):
            assert_refused(ask(idle_api, route, f"{known}{name}"), name)
        assert_refused(ask(idle_api, route, "=x"), "")


def test_a_parameter_of_which_one_counts_is_refused_twice(idle_api: AdminApi) -> None:
    for route in ROUTES:
        for name, parameter in route.parameters.items():
            if not parameter.repeatable:
                assert_refused(ask(idle_api, route, f"{name}=1&{name}=1"), name, "twice")


def test_times_that_end_before_they_begin_are_refused(idle_api: AdminApi) -> None:
    for route in ROUTES:
        for begin in route.parameters:
            end = f"{begin.removesuffix('from')}to"
            if begin.endswith("from"):
                assert end in route.parameters, "a time that begins has an end"
                for until in (TIME, "2026-01-31T07:59:59.999999Z", "2026-01-31T09:00:00%2B01:00"):
                    assert_refused(ask(idle_api, route, f"{end}={until}&{begin}={TIME}"), end)


def test_times_in_which_nothing_can_have_been_are_refused(idle_api: AdminApi) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat().replace("+00:00", "Z")
    for route in ROUTES:
        for name in route.parameters:
            if name.endswith("from"):
                end = f"{name.removesuffix('from')}to"
                for begin in (later, "9999-12-31T23:59:58Z"):
                    assert_refused(
                        ask(idle_api, route, f"{name}={begin}&{end}=9999-12-31T23:59:59Z"), name, "future"
                    )
                for until in ("0001-01-01T00:00:01Z", "1970-01-01T00:00:00Z"):
                    assert_refused(
                        ask(idle_api, route, f"{name}=0001-01-01T00:00:00Z&{end}={until}"), end, "early"
                    )


OF_TIMES = [
    (route, name.removesuffix("from"))
    for route in ROUTES
    for name in route.parameters
    if name.endswith("from") and route.path != "/v1/cdr/reconciliation"
]
ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.one_of(
    st.sampled_from([datetime.min, datetime.max, datetime(1970, 1, 1), datetime(2026, 3, 29, 2, 30)]),  # noqa: DTZ001, DTZ901
    st.datetimes(),
)
PLACES_AFTER = st.one_of(
    st.integers(1, 1 << 63).map(str),
    st.integers(1, (1 << 48) - 1).map(lambda ms: str(make_id(ms))),
    st.tuples(TIMES, st.integers(1, 99)).map(lambda at: f"{at[0].isoformat()}Z,{at[1]}"),
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(OF_TIMES), TIMES, TIMES, ZONES, ZONES, st.none() | PLACES_AFTER)
def test_every_time_that_there_is_can_be_asked_for(
    idle_api: AdminApi,
    of_times: tuple[Route, str],
    begin: datetime,
    end: datetime,
    zone: timezone,
    other: timezone,
    after: str | None,
) -> None:
    route, prefix = of_times
    times = {f"{prefix}from": begin.replace(tzinfo=zone), f"{prefix}to": end.replace(tzinfo=other)}
    asked = {name: time.isoformat() for name, time in times.items()}
    if after is not None and "after" in route.parameters:
        asked["after"] = after
    answer = ask(idle_api, route, str(httpx.QueryParams(asked)))
    assert answer.status_code in (200, 422), (asked, answer.text)
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        assert answer.json()["field"] in asked


def test_a_path_that_is_not_utf_8_is_refused(idle_api: AdminApi) -> None:
    for route in ROUTES:
        for name in re.findall(r"{(\w+)", route.path):
            if name not in ("scope", "id"):
                for wrong in ("%FF", "J%F6rg", "%ED%A0%80", "%C3"):
                    places = {**PLACES, name: wrong}
                    client: httpx.Client = getattr(idle_api, min(ALLOWED[route.method, route.path]))
                    assert_refused(client.request(route.method, route.path.format(**places)), "path", "UTF-8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_json_in_another_encoding_than_utf_8_is_refused(idle_api: AdminApi, encoding: str) -> None:
    json = {"Content-Type": "application/json"}
    put = idle_api.administrator.put
    answer = put("/v1/policy/cdr", content='{"enabled": true}'.encode(encoding), headers=json)
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["detail"]


@pytest.mark.parametrize("body", ["{", '{"enabled": tru}', "{}x", "\0", "[" * 9000, "NaN", "1" * 5000])
def test_what_is_no_json_is_said_to_be_none(idle_api: AdminApi, body: str) -> None:
    json = {"Content-Type": "application/json"}
    for path in ("/v1/policy/cdr", "/v1/policy/disclaimer"):
        answer = idle_api.administrator.put(path, content=body, headers=json)
        assert (answer.status_code, answer.json().get("field")) == (400, None), answer.text
        assert "no JSON" in answer.json()["detail"]


def test_what_is_wrong_in_a_body_is_pointed_to(idle_api: AdminApi) -> None:
    wordings = {"wordings": {"en": "x", "a/b~": "x"}, "enabled": True}
    answer = idle_api.administrator.put("/v1/policy/disclaimer", json=wordings)
    assert_refused(answer, "/wordings/a~1b~0")
    answer = idle_api.administrator.put(
        "/v1/policy/connectors/c", json={"domains": [], "gateway_for": ["*", ""]}
    )
    assert_refused(answer, "/gateway_for/1")
    assert_refused(idle_api.administrator.put("/v1/policy/disclaimer", json=[]), "")


def test_a_plus_that_might_be_a_blank_is_refused_with_advice(idle_api: AdminApi) -> None:
    for route in ROUTES:
        for name, parameter in route.parameters.items():
            values = ["+49", "C++", "a+b%20c"]
            if not parameter.takes_blanks:
                values += ["a+b@contoso.com", "2026-01-31T08:00:00+01:00"]
            for value in values:
                assert_refused(ask(idle_api, route, f"{name}={value}"), name, "%2B")
            assert_refused(ask(idle_api, route, f"{name}=J%FFrg"), name)


def test_a_value_that_nobody_knows_is_refused_or_said_to_be_unknown(idle_api: AdminApi) -> None:
    document = idle_api.anybody.get("/openapi.json").json()
    wrong = []
    for route in ROUTES:
        if route.method == "GET" and route.path != "/v1/audit/{id}/changes":  # see test_users
            parameters = document["paths"][route.path]["get"].get("parameters", ())
            asked = {each["name"]: each for each in parameters if each["in"] == "query"}
            assert asked.keys() == route.parameters.keys()
            for name in asked.keys() - ANYTHING.keys():
                given = {each: example_of(asked[each]) for each in asked if asked[each].get("required")}
                for value in NOBODY:
                    answer = ask(idle_api, route, str(httpx.QueryParams(given | {name: value})))
                    if not says_so(answer, name, value, asked[name]["schema"]):
                        wrong.append((route.path, name, value, answer.status_code, answer.text))
    assert not wrong, "\n".join(map(str, wrong))


def example_of(parameter: Mapping[str, Any]) -> Any:
    """Return the documented example of a parameter."""
    return parameter["schema"].get("examples", parameter.get("examples"))[0]


def says_so(answer: httpx.Response, name: str, value: str, schema: Mapping[str, Any]) -> bool:
    """Return whether an answer says that there is no such value; of a few values, it names them all."""
    said = answer.json()
    if answer.status_code == httpx.codes.OK:
        return bool(said.get("unknown") == [value])
    values = [each for kind in schema.get("anyOf", [schema]) for each in kind.get("enum", ())]
    refused = answer.status_code in (404, 422) and (
        said["field"] == name or "connector says" in said["detail"]
    )
    return refused and all(f"'{each}'" in said["detail"] for each in values)


def test_a_header_of_which_one_counts_is_refused_twice(idle_api: AdminApi) -> None:
    for route in ROUTES:
        for name in ("If-Match", "If-None-Match", "Content-Type"):
            assert_refused(ask(idle_api, route, "", headers=[(name, '"1"'), (name, '"2"')]), name)


def test_a_body_of_another_kind_than_a_route_takes_is_refused(idle_api: AdminApi) -> None:
    for route in ROUTES:
        xml = {"Content-Type": "application/xml"}
        answer = ask(idle_api, route, "", content=b"<x/>", headers=xml)
        if answer.status_code != httpx.codes.UNSUPPORTED_MEDIA_TYPE:
            assert_refused(answer, "")
        else:
            assert answer.json()["field"] == "Content-Type"


def test_who_may_not_ask_is_told_so_first(idle_api: AdminApi) -> None:
    assert idle_api.operator.get("/v1/messages?colour=x").status_code == 403
    assert idle_api.anybody.get("/v1/messages?colour=x").status_code == 401


def test_probes_may_add_what_they_like(idle_api: AdminApi) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert idle_api.anybody.get(f"{path}?probe=1&probe=2").status_code == 200
