"""`POST /v1/responses`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from langchain_moa.server.api_errors import ApiError
from langchain_moa.server.body import parse_json
from langchain_moa.server.completions import ChatCompletions
from langchain_moa.server.exchange import exchange
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
        try:
            asked, completion = parse(fields, allow_overrides=self._allow_overrides)
            exchange(request).ignored = asked.ignored()
            return await self._completions.answer(request, completion, ResponseEvents(ResponseObject(asked=fields)))
        except ApiError as error:
            raise _about_input(error) from None


def _about_input(error: ApiError) -> ApiError:
    """Return an error about the messages of the chat completion as one about the input that they were made of."""
    if error.code != "invalid_value" or not (error.param or "").startswith("messages"):
        return error
    return ApiError(error.status, str(error).replace("messages", "input", 1), code=error.code, param="input")
