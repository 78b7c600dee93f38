"""Bodies of requests: JSON that readers read differently is refused."""

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from contract.json_text import RepeatedNameError, check_headers, check_names
from contract.problem import MEDIA_TYPE, Problem


class CheckHeaders:
    """Answers 415 to a request that is compressed or not in UTF-8, before anybody reads its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                check_headers(Headers(scope=scope))
            except Problem as problem:
                answer = JSONResponse(problem.document(), problem.status, problem.headers, MEDIA_TYPE)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def check_json(request: Request) -> None:
    """Raise Problem (400) for JSON that has a name twice in one object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.endswith(("/json", "+json")):
        return
    try:
        check_names(await request.body())
    except RepeatedNameError as error:
        raise Problem(400, str(error)) from None
    except ValueError:
        return  # no JSON: FastAPI says what is wrong, if it wants some
