"""The web page that shows what happens inside a mixture."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from langchain_moa.server.page.endpoint import ask, describe
from langchain_moa.server.page.files import PageFiles

_HERE = Path(__file__).parent


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page: `GET /`, its files under `/page`, and its API `/inside`.

    They use the `Served` in `request.app.state.served`.
    """
    assets = PageFiles(directory=_HERE / "assets")

    async def page(request: Request) -> Response:
        return await assets.get_response("index.html", request.scope)

    return [
        Route("/", page),
        Route("/inside", describe),
        Route("/inside", ask, methods=["POST"]),
        Mount("/page/vendor", PageFiles(directory=_HERE / "vendor")),
        Mount("/page", assets),
    ]
