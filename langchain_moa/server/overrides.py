"""The options of a mixture that requests may change, if the server allows it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from langchain_moa._models.description import Description
from langchain_moa.chat_models import ChatMoA
from langchain_moa.options import MoAOptions

# Limits for requested mixtures: a graph with thousands of members takes minutes and gigabytes to build.
_MAX_LAYERS = 10
_MAX_PROPOSERS = 32


def _check_model(spec: str) -> str:
    if not spec or not spec.isprintable() or spec != spec.strip(" :/"):
        msg = f"Model {spec!r} is no name: write 'provider:model', or the id of a model on Together."
        raise ValueError(msg)
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
        if isinstance(model, str):
            _check_model(model)
        count += samples if isinstance(samples, int) else 1
    if count > _MAX_PROPOSERS:
        msg = f"A layer of {count} proposers, samples included, is too large: at most {_MAX_PROPOSERS}."
        raise ValueError(msg)
    return proposers


_Layer = Annotated[list[str | dict[str, Any]], AfterValidator(_check_layer)]


def _option(name: str, **limits: Any) -> Any:
    return Field(default=None, description=MoAOptions.model_fields[name].description, **limits)


def check_calls(variant: ChatMoA, served: ChatMoA, most: int) -> None:
    """Refuse a mixture of the request's choice that makes too many calls for one answer.

    Raises:
        ValueError: It may make more than `most`, and more than the served mixture itself.
    """
    calls = Description.of(variant).calls()[1]
    if calls > max(most, Description.of(served).calls()[1]):
        msg = f"This mixture makes up to {calls} calls; one request may make {most} (--max-calls)."
        raise ValueError(msg)


class Overrides(BaseModel):
    """Request fields that change the mixture: options of `ChatMoA`, which checks them too."""

    rounds: int | None = _option("rounds", le=_MAX_LAYERS)
    proposers: _Layer | None = _option("proposers")
    layers: list[_Layer] | None = _option("layers", max_length=_MAX_LAYERS)
    aggregator: Annotated[str, AfterValidator(_check_model)] | None = _option("aggregator")
    aggregation: str | None = _option("aggregation")
    quorum: int | float | None = _option("quorum")
    timeout: float | None = _option("timeout")
    deadline: float | None = _option("deadline")
    grace: float | None = _option("grace")
