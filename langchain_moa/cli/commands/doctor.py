"""`moa doctor`: check that a line-up works, and say how to fix it if it does not."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli import mixture_options as options

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_LIST_SECONDS = 15.0
_ANSWER_SECONDS = 60.0
_KEY = "TOGETHER_API_KEY"
_GET_A_KEY = f"Create a key at https://api.together.ai/settings/api-keys, and export {_KEY}."


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check."""

    name: str
    problem: str = ""
    """Empty: no problem."""

    found: str = "ok"
    remedy: str = ""


def doctor(
    lineup: Annotated[str | None, typer.Argument(help="A line-up. Default: the one that `moa ask` would use.")] = None,
    debug: options.Debug = False,
) -> None:
    """Check a line-up: the API key, and that every model is available and answers. Exits with 1 on a problem."""
    mixture = options.MixtureOptions(model=lineup)
    options.tell_if_local(mixture)
    from rich.console import Console

    from langchain_moa.cli.terminal.answer_view import print_rows

    models = _models(mixture.lineup)
    with Console(stderr=True).status(f"Asking {len(models)} models for one token each"):
        checks = asyncio.run(_check(models))
    rows = [[check.name, check.problem or check.found, check.remedy] for check in checks]
    print_rows(Console(), ["check", "result", "what to do"], rows, whole=0)
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def _models(lineup: str) -> list[str]:
    """Return the models of a line-up, each once."""
    from langchain_moa.lineups import get_lineup

    chosen = get_lineup(lineup)
    proposers = [proposer if isinstance(proposer, str) else str(proposer.model) for proposer in chosen.proposers]
    others = [chosen.aggregator, *chosen.fallback_aggregators, *([chosen.judge] if chosen.judge else [])]
    return list(dict.fromkeys([*proposers, *others]))


async def _check(models: list[str]) -> list[Check]:
    local = [model for model in models if model.startswith("local:")]
    served = [model for model in models if model not in local]
    checks = await _check_together(served) if served else []
    return [*checks, *(await _check_local(local) if local else [])]


async def _check_together(models: list[str]) -> list[Check]:
    if not os.environ.get(_KEY):
        return [Check(name=_KEY, problem="not set", remedy=_GET_A_KEY), *map(_not_checked, models)]
    built = [_build(model) for model in models]
    key, listed = await _check_key(built[0])
    if key.problem:
        return [key, *map(_not_checked, models)]
    answers = [_check_answer(name, model, listed=name in listed) for name, model in zip(models, built, strict=True)]
    return [key, *await asyncio.gather(*answers)]


def _build(model: str) -> BaseChatModel:
    from langchain_moa._models.factory import build_model

    return build_model(model, temperature=None, max_tokens=1, timeout=_ANSWER_SECONDS)


def _not_checked(model: str) -> Check:
    return Check(name=model, problem="not checked", remedy="Fix the key first.")


async def _check_key(model: Any) -> tuple[Check, set[str]]:
    """List the provider's models, with the client, key and base URL that `model` uses."""
    from langchain_moa.cli.error_messages import explain

    try:
        async with asyncio.timeout(_LIST_SECONDS):
            listing = await model.root_async_client.get("/models", cast_to=object)
    except Exception as error:
        rejected = getattr(error, "status_code", None) in (401, 403)
        remedy = _GET_A_KEY if rejected else "Check the network, and TOGETHER_API_BASE if you set it."
        problem = "not accepted" if rejected else f"can't list the models: {explain(error)}"
        return Check(name=_KEY, problem=problem, remedy=remedy), set()
    # Together lists the models bare, OpenAI and others inside an object.
    entries = listing.get("data", []) if isinstance(listing, dict) else listing
    ids = {entry["id"] for entry in entries}
    return Check(name=_KEY, found=f"ok, {len(ids)} models listed"), ids


async def _check_answer(name: str, model: BaseChatModel, *, listed: bool) -> Check:
    from langchain_moa.cli.error_messages import explain

    problems = [] if listed else ["not in the provider's list"]
    started = monotonic()
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await model.ainvoke("Hi")
        problems = [f"answers, but is {problem}" for problem in problems]
    except TimeoutError:
        problems.append(f"no answer within {_ANSWER_SECONDS:g} s")
    except Exception as error:
        problems.append(explain(error))
    found = f"ok, {monotonic() - started:.1f} s"
    remedy = "Try again later." if listed else "Name a model that is served: --proposer, --aggregator, or a line-up."
    return Check(name=name, problem="; ".join(problems), found=found, remedy=remedy if problems else "")


async def _check_local(models: list[str]) -> list[Check]:
    from langchain_moa.cli.error_messages import explain
    from langchain_moa.local import find_weights

    try:
        weights = Check(name="weights", found=f"ok, {find_weights()}")
        built = [_build(model) for model in models]
    except Exception as error:
        return [Check(name="local model", problem=explain(error), remedy="`moa download` fetches the weights.")]
    answers = [_check_answer(name, model, listed=True) for name, model in zip(models, built, strict=True)]
    return [weights, *await asyncio.gather(*answers)]
