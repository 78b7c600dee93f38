"""Requests' bodies and answers as OpenAPI documents describe them."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any, NamedTuple

import httpx

from admin_api.app import create_app
from admin_api.config import AdminSettings
from frontend.app import LISTENERS
from frontend.listeners.openapi import describe_operations

Document = Mapping[str, Any]
Schema = Mapping[str, Any]


class Body(NamedTuple):
    """A body that an operation takes, in one of its media types."""

    method: str
    path: str
    url: str
    """Its path, with the documented example of each parameter."""
    media_type: str
    schema: Schema
    example: Any
    """As it is documented: whole, or made of its fields' examples, as the page shows it."""


def bodies_of(document: Document) -> Iterator[Body]:
    """Yield each body of each operation."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            url = path.format(
                **{
                    each["name"]: each.get("example", example_of(each["schema"], document))
                    for each in operation.get("parameters", ())
                    if each["in"] == "path"
                }
            )
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = content["schema"]
                example = content.get("example", example_of(schema, document))
                yield Body(method.upper(), path, url, media_type, schema, example)


def objects_of(schema: Schema, document: Document, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where objects with fields of their own are in a schema's example, the outermost first."""
    schema = resolve(schema, document)
    if "items" in schema:
        yield from objects_of(schema["items"], document, (*place, "0"))
    elif schema.get("type") == "object" and "patternProperties" not in schema:
        if not isinstance(schema.get("additionalProperties"), dict):
            yield place
        for name, inner in schema.get("properties", {}).items():
            yield from objects_of(inner, document, (*place, name))


def resolve(schema: Schema, document: Document) -> Schema:
    """Return a schema without references and alternatives at its top: of those, the first."""
    if "anyOf" in schema:
        return resolve({**schema["anyOf"][0], **{k: v for k, v in schema.items() if k != "anyOf"}}, document)
    if "$ref" in schema:
        found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return {**found, **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


def example_of(schema: Schema, document: Document) -> Any:
    """Return an example of a schema, as Swagger UI makes it."""
    schema = resolve(schema, document)
    for known in ("example", "examples", "default", "const", "enum"):
        if known in schema:
            return schema[known][0] if known in ("examples", "enum") else schema[known]
    match schema.get("type"):
        case "object":
            return {name: example_of(each, document) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [example_of(schema["items"], document)]
        case "integer":
            return int(schema.get("minimum", 0))
        case "boolean":
            return True
    by_format = {"uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "date-time": "2026-01-31T08:00:00Z"}
    return by_format.get(schema.get("format", ""), "string")


_MAKING = Lock()
"""FastAPI does not make a document in two threads at once, and functools.cache does not prevent that."""


class Documented:
    """A hook of an HTTP client: what answers has its status and content type in the OpenAPI document."""

    def __init__(self, document: Callable[[], Document]) -> None:
        """``document`` is asked for once an answer comes."""
        self._document = document

    def __call__(self, answer: httpx.Response) -> None:
        """Check an answer of an operation; paths that are none are not looked at."""
        method, path = answer.request.method.lower(), answer.request.url.path
        with _MAKING:
            paths = self._document()["paths"]
        for template, operations in paths.items():
            if method in operations and _pattern_of(template).fullmatch(path):
                described = operations[method]["responses"].get(str(answer.status_code))
                assert described is not None, f"{method} {template}: {answer.status_code} is not documented"
                kind = answer.headers.get("content-type", "").partition(";")[0]
                kinds = described.get("content") or {"": None}
                assert kind in kinds or "*/*" in kinds, f"{method} {template}: {kind}"
                return


@functools.cache
def _pattern_of(template: str) -> re.Pattern[str]:
    """Return the expression of a path; an address may have slashes."""
    parts = re.split(r"(\{[^}]*\})", template)
    return re.compile(
        "".join((".+" if p == "{address}" else "[^/]+") if p.startswith("{") else re.escape(p) for p in parts)
    )


@functools.cache
def admin_document() -> Document:
    """Return the OpenAPI document of the admin API."""
    settings = AdminSettings(
        database_url="postgresql://", amqp_url="amqp://a:b@127.0.0.1:1/lcs", principals_file="/dev/null"
    )
    return create_app(settings, {}).openapi()


@functools.cache
def front_end_document() -> Document:
    """Return what the front end documents of all that connectors ask."""
    return {"paths": describe_operations(LISTENERS)}
