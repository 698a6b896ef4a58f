"""`GET /v1/models` and `GET /v1/models/{name}`."""

from __future__ import annotations

from time import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

# OpenAI's API wants one for each model; a line-up has none to the second.
_CREATED = int(time())


async def list_models(request: Request) -> Response:
    """Return what is served."""
    names = request.app.state.served.names()
    return JSONResponse({"object": "list", "data": [_model(name) for name in names]})


async def retrieve_model(request: Request) -> Response:
    """Return one of what is served; `UnknownModelError` tells which there are."""
    name = request.path_params["name"]
    request.app.state.served.resolve(name)
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "langchain-moa"}
