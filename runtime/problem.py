"""Errors of the HTTP services: problem details (RFC 9457) that name the field and the mend."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from runtime.current_request import note_reason

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that cannot be served as it is."""

    def __init__(
        self, status: int, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """``field``: JSON Pointer (RFC 6901) to the error, or the parameter's name."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.headers = headers

    def document(self) -> dict[str, Any]:
        """Return the problem as RFC 9457 wants it."""
        document = {"status": self.status, "title": HTTPStatus(self.status).phrase, "detail": self.detail}
        return document if self.field is None else document | {"field": self.field}


def answer_of(problem: Problem) -> JSONResponse:
    """Return a problem as a response; the request that is served notes it."""
    note_reason(problem.detail)
    return JSONResponse(problem.document(), problem.status, problem.headers, MEDIA_TYPE)


def _pointer(path: Sequence[str | int], body: Any) -> str:
    """Return the JSON Pointer to the error in a body; a path goes on with names of our own checks."""
    pointer = ""
    for part in path:
        if isinstance(body, dict):
            body = body.get(part)
        elif isinstance(body, list) and isinstance(part, int):
            body = body[part]
        else:
            break
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def add_problem_handlers(app: FastAPI) -> None:
    """Let an app answer every error, its own and the framework's, as problem details."""

    @app.exception_handler(Problem)
    async def on_problem(_: Request, problem: Problem) -> JSONResponse:
        return answer_of(problem)

    @app.exception_handler(HTTPException)
    async def on_http_exception(_: Request, error: HTTPException) -> JSONResponse:
        return answer_of(Problem(error.status_code, error.detail, headers=error.headers))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place, *path = first["loc"]
        field = _pointer(path, error.body) if place == "body" else str(path[0]) if path else ""
        return answer_of(Problem(422, f"{first['msg']} (in the {place})", field=field))

    @app.exception_handler(Exception)
    async def on_defect(_: Request, __: Exception) -> JSONResponse:
        return answer_of(Problem(500, "This is a defect of the service; its log says more."))
