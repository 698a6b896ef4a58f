"""Structured output, enforced by llama.cpp's grammars."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel

# A model this small often fails to end strings and lists.
_CHARACTERS = 80
_ITEMS = 2


def in_schema(schema: dict[str, Any] | type) -> dict[str, Any]:
    """Return the request body fields for structured output; unbounded strings and lists get a limit."""
    json_schema = convert_to_json_schema(schema)
    name = json_schema.get("title", "answer")
    # In the body, and not as `response_format`: the OpenAI SDK would make an error, without usage, of a cut-off answer.
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": _bounded(json_schema)}}}


def parsed(model: Runnable[Any, Any], schema: dict[str, Any] | type, *, include_raw: bool) -> Runnable[Any, Any]:
    """Parse a model's answer; with `include_raw`, as in `BaseChatModel.with_structured_output`."""
    is_pydantic = isinstance(schema, type) and issubclass(schema, BaseModel)
    parser: BaseOutputParser[Any] = PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
    if not include_raw:
        return model | parser
    good = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    bad = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | good.with_fallbacks([bad], exception_key="parsing_error")


def _bounded(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    bounds = {"string": {"maxLength": _CHARACTERS}, "array": {"maxItems": _ITEMS}}.get(str(schema.get("type")), {})
    if "enum" in schema:
        bounds = {}
    return {**bounds, **{name: _bounded(value) for name, value in schema.items()}}
