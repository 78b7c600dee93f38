"""``/docs``: the OpenAPI document for people, by Swagger UI. Everything comes from the service itself."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_SWAGGER_UI: Final = Path(find_spec("fastapi_swagger").origin).parent / "resources"  # type: ignore[union-attr, arg-type]  # it is in the lock
"""Swagger UI as it was released: the package is but its carrier."""
# A token that is entered stays in the page's memory: reload, and it is gone.
_START: Final = b"""\
SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#docs",
    persistAuthorization: false,
    queryConfigEnabled: false,
    validatorUrl: null,
})
"""
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" type="image/png" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<main id="docs"></main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS: Final = {
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("swagger-ui.css", "text/css"),
    "favicon.png": ("favicon-32x32.png", "image/png"),
}


def add_docs(app: FastAPI) -> None:
    """Serve the page and its parts; an application made with ``docs_url=None, redoc_url=None``."""
    page = _PAGE.format(title=app.title)

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def give_start(_: Request) -> Response:
        return Response(_START, media_type="text/javascript")

    async def give_asset(request: Request) -> Response:
        name, media_type = _ASSETS[request.url.path.rpartition("/")[2]]
        return FileResponse(str(_SWAGGER_UI / name), media_type=media_type)

    app.router.routes += [
        Route("/docs", show_page),
        Route("/docs/start.js", give_start),
        *(Route(f"/docs/{name}", give_asset) for name in _ASSETS),
    ]
