"""The API as an OpenAPI document: https://spec.openapis.org/oas/v3.1.0."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

from langchain_moa.server.ignored import IGNORED_HEADER
from langchain_moa.server.overrides import Overrides
from langchain_moa.server.requests import Completion
from langchain_moa.server.responses_api.request import RENAMED, ResponseRequest

_REF = "#/components/schemas/{model}"

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The request field that caused it."},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
_MODELS = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {
        "object": {"const": "list"},
        "data": {"type": "array", "items": {"$ref": _REF.format(model="Model")}},
    },
}
_COMPLETION = {
    "type": "object",
    "description": "OpenAI's `chat.completion`; the field `moa` says who took part.",
    "required": ["id", "object", "created", "model", "choices", "usage", "moa"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object"}},
        "usage": {"type": ["object", "null"], "description": "The sum over all calls."},
        "moa": {"type": "object"},
    },
}
_RESPONSE = {
    "type": "object",
    "description": "OpenAI's `response`; the field `moa` says who took part.",
    "required": ["id", "object", "created_at", "model", "status", "output", "usage", "moa"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "response"},
        "created_at": {"type": "integer"},
        "model": {"type": "string"},
        "status": {"enum": ["completed", "incomplete"]},
        "output": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "usage": {"type": ["object", "null"], "description": "The sum over all calls."},
        "moa": {"type": "object"},
    },
}


def document(*, allow_overrides: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        allow_overrides: Whether requests may change the mixture.
    """
    schemas = {
        "Error": _ERROR,
        "Model": _MODEL,
        "Models": _MODELS,
        "ChatCompletion": _COMPLETION,
        "Response": _RESPONSE,
    }
    completion = _request(Completion, schemas, without=() if allow_overrides else Overrides.model_fields)
    response = _request(ResponseRequest, schemas)
    _share_fields(schemas)
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "langchain-moa", "version": version("langchain-moa")},
        "paths": {
            "/v1/chat/completions": {
                "post": _operation(
                    "Ask a mixture.",
                    _content("ChatCompletion") | stream,
                    requestBody={"required": True, "content": completion},
                ),
            },
            "/v1/responses": {
                "post": _operation(
                    "Ask a mixture.", _content("Response") | stream, requestBody={"required": True, "content": response}
                ),
            },
            "/v1/models": {"get": _operation("List the served mixtures.", _content("Models"))},
            "/v1/models/{model}": {
                "get": _operation("Return one served mixture.", _content("Model"), parameters=[name])
            },
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
    }


def _request(model: type[BaseModel], schemas: dict[str, Any], *, without: Iterable[str] = ()) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    schemas |= schema.pop("$defs")
    for name in without:
        del schema["properties"][name]
    schemas[model.__name__] = schema
    return _content(model.__name__)


def _share_fields(schemas: dict[str, Any]) -> None:
    """Describe the fields of a response's request that are those of chat completions."""
    response, chat = schemas["ResponseRequest"], schemas["Completion"]
    shared = {name: schema for name, schema in chat["properties"].items() if name not in RENAMED}
    response["properties"] = shared | response["properties"]
    response["required"] = ["model", *response["required"]]
    response["additionalProperties"] = False


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=schema)}}}


def _operation(summary: str, content: dict[str, Any], **details: Any) -> dict[str, Any]:
    ignored = {"description": "Fields of the request without effect.", "schema": {"type": "string"}}
    return {
        "summary": summary,
        **details,
        "responses": {
            "200": {"description": "The answer.", "headers": {IGNORED_HEADER: ignored}, "content": content},
            "default": {"description": "An error.", "content": _content("Error")},
        },
    }
