"""`POST /v1/responses`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from langchain_moa.server.body import parse_json
from langchain_moa.server.completions import ChatCompletions
from langchain_moa.server.responses_api.events import ResponseEvents
from langchain_moa.server.responses_api.request import parse
from langchain_moa.server.responses_api.response_object import ResponseObject


class Responses:
    """The handler of OpenAI's Responses API: chat completions in another form. Nothing is stored."""

    def __init__(self, completions: ChatCompletions, *, allow_overrides: bool) -> None:
        self._completions = completions
        self._allow_overrides = allow_overrides

    async def create(self, request: Request) -> Response:
        """Handle one request."""
        fields = parse_json(await request.body(), request.headers)
        asked, completion = parse(fields, allow_overrides=self._allow_overrides)
        form = ResponseEvents(ResponseObject(asked=fields))
        response = await self._completions.answer(request, completion, form)
        if ignored := asked.ignored():
            response.headers["x-moa-ignored"] = ", ".join(ignored)
        return response
