"""Errors in the OpenAPI document: each operation names every status that it may answer."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from runtime.problem import MEDIA_TYPE


class ProblemDocument(BaseModel):
    """Problem details (RFC 9457)."""

    status: int
    title: str
    detail: str
    field: str | None = None


def problem(description: str) -> dict[str, Any]:
    """Return the description of an error."""
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}},
    }


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: problem(text)
    for status, text in (
        (400, "The request is no JSON, or has a name twice in one object"),
        (401, "No token, or one that is not known"),
        (403, "The token's roles do not allow this"),
        (408, "The request came too slowly"),
        (413, "The request is too long for this path"),
        (415, "The request is compressed, or not in UTF-8"),
        (422, "The request is wrong: `field` says where"),
        (429, "Too many requests of this principal are under way"),
        (500, "A defect of the service: its log says more"),
        (503, "The database is out of reach, or too much is under way: try again later"),
    )
}
"""Answers of every operation that needs a token."""
_NOT_THERE: Final = problem("There is no such resource: `field` says of what")
_CHANGED: Final = problem("It is not as `If-Match` or `If-None-Match` wants it")


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is given, without null: in a query that would be four letters."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**kinds[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def complete(app: FastAPI) -> None:
    """Add to each operation the answers that follow from its parameters and its other answers."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        for path in document["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    parameter["schema"] = _given(parameter["schema"])
                places = {parameter["in"] for parameter in operation.get("parameters", ())}
                names = {parameter["name"] for parameter in operation.get("parameters", ())}
                responses = operation["responses"]
                if "201" in responses:  # what was created is answered as what was changed is
                    responses["201"]["content"] = responses["200"]["content"]
                if "path" in places:
                    responses.setdefault("404", _NOT_THERE)
                if "if-match" in names:
                    responses.setdefault("412", _CHANGED)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documentation, "Extending OpenAPI"
