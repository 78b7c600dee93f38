"""Questions: each request is held to the declaration of its route, so new routes are as strict as others."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from starlette.datastructures import Headers
from starlette.types import Scope

from runtime.problem import Problem
from runtime.question import Parameter, check_path, check_query, check_single

_BLANK: Final = "a b"
_known: Final[dict[str, Mapping[str, Parameter]]] = {}
"""Parameters by routes' ids. They follow from the code, so all applications share them."""


def check_question(scope: Scope, route: APIRoute) -> None:
    """Raise Problem (422, 415) for a request that brings anything its route does not declare."""
    check_single(scope["headers"])
    check_path(scope.get("raw_path") or b"")  # a server may give none
    check_query(scope["query_string"], parameters_of(route))
    _check_body(Headers(scope=scope), route)


def parameters_of(route: APIRoute) -> Mapping[str, Parameter]:
    """Return the parameters of a route's query."""
    known = _known.get(route.unique_id)
    if known is None:
        known = _known[route.unique_id] = {
            name: Parameter(repeatable=_is_list(info), takes_blanks=_takes_blanks(info))
            for name, info in _find_parameters(route.dependant)
        }
    return known


def _check_body(headers: Headers, route: APIRoute) -> None:
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    if route.body_field is not None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise Problem(415, "Send the body as application/json.", field="Content-Type")
    elif "requestBody" not in (route.openapi_extra or {}):
        raise Problem(422, "This takes no body: leave it out.", field="")


def _find_parameters(dependant: Dependant) -> Iterator[tuple[str, FieldInfo]]:
    for field in dependant.query_params:
        model: Any = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, info in model.model_fields.items():
                yield info.alias or name, info
        else:
            yield field.alias, field.field_info
    for other in dependant.dependencies:
        yield from _find_parameters(other)


def _is_list(info: FieldInfo) -> bool:
    return any(get_origin(each) is list for each in (info.annotation, *get_args(info.annotation)))


def _takes_blanks(info: FieldInfo) -> bool:
    """Return whether a parameter may contain a blank."""
    kind: Any = Annotated[(info.annotation, "as declared", *info.metadata)]
    try:
        TypeAdapter(kind).validate_python([_BLANK] if _is_list(info) else _BLANK)
    except ValidationError:
        return False
    return True
