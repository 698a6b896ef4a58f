"""The options of a mixture that requests may change, if the server allows it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

# Limits for requested mixtures: a graph with thousands of members takes minutes and gigabytes to build.
_MAX_LAYERS = 10
_MAX_PROPOSERS = 32


def _check_model(spec: str) -> str:
    # Opening it would disclose whether the file exists.
    if spec.lower().endswith(".gguf"):
        msg = f"Model {spec!r} is a file on the server, which requests can't name."
        raise ValueError(msg)
    return spec


def _check_layer(proposers: list[str | dict[str, Any]]) -> list[str | dict[str, Any]]:
    count = 0
    for proposer in proposers:
        model = proposer.get("model") if isinstance(proposer, dict) else proposer
        samples = proposer.get("samples") if isinstance(proposer, dict) else 1
        _check_model(model if isinstance(model, str) else "")
        count += samples if isinstance(samples, int) else 1
    if count > _MAX_PROPOSERS:
        msg = f"A layer of {count} proposers, samples included, is too large: at most {_MAX_PROPOSERS}."
        raise ValueError(msg)
    return proposers


_Layer = Annotated[list[str | dict[str, Any]], AfterValidator(_check_layer)]


class Overrides(BaseModel):
    """Request fields that change the mixture; same meaning as the options of `ChatMoA`."""

    rounds: int | None = Field(default=None, le=_MAX_LAYERS)
    proposers: _Layer | None = None
    layers: list[_Layer] | None = Field(default=None, max_length=_MAX_LAYERS)
    aggregator: Annotated[str, AfterValidator(_check_model)] | None = None
    aggregation: str | None = None
    quorum: int | float | None = None
    timeout: float | None = None
    deadline: float | None = None
    grace: float | None = None
