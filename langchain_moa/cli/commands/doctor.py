"""`moa doctor`: check that a mixture works, and say how to fix it if it does not."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli import mixture_options as options
from langchain_moa.cli.terminal.text import counted

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_moa._models.description import Description
    from langchain_moa.options import MoAOptions

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


@options.takes_a_mixture
def doctor(
    mixture: options.MixtureOptions,
    lineup: Annotated[
        str | None,
        typer.Argument(help="A line-up, or a mixture of the configuration file. Default: what `moa ask` would use."),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Check that a mixture works.

    Its packages and keys, and that each model is served and answers. Exits with 1 on a problem.
    """
    if lineup:
        mixture = replace(mixture, given={**mixture.given, "model": lineup})
    options.tell_if_local(mixture)
    from rich.console import Console

    from langchain_moa.cli.terminal.answer_view import print_rows

    taking_part = _describe(mixture)
    models = taking_part.models
    with Console(stderr=True).status(f"Asking {counted(len(models), 'model')} for one token each"):
        checks = asyncio.run(_check(models, taking_part.options))
    rows = [[check.name, check.problem or check.found, check.remedy] for check in checks]
    print_rows(Console(), ["check", "result", "what to do"], rows, whole=0)
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def _describe(mixture: options.MixtureOptions) -> Description:
    from langchain_moa._models.description import Description
    from langchain_moa.options import MoAOptions

    return Description.of(MoAOptions(**mixture.options()))


async def _check(models: list[str], mixture: MoAOptions) -> list[Check]:
    from langchain_moa._models.factory import provider_of

    on_together = [model for model in models if provider_of(model) == "together"]
    checks = await _check_together(on_together, mixture) if on_together else []
    return [*checks, *await asyncio.gather(*(_check_other(model) for model in models if model not in on_together))]


async def _check_other(model: str) -> Check:
    """Check a model that is on no list: whether its package, its key or its weights are there, and it answers."""
    from langchain_moa.cli.error_messages import explain

    if model.startswith("local:") and (missing := _missing_locally()):
        return missing
    try:
        built = _build(model)
    except Exception as error:
        return Check(name=model, problem=explain(error), remedy="Then run `moa doctor` again.")
    return await _check_answer(model, built, listed=True)


def _missing_locally() -> Check | None:
    """Return all that the local model lacks at once."""
    from langchain_moa.cli.error_messages import explain
    from langchain_moa.exceptions import LocalModelError
    from langchain_moa.local import find_weights

    problems, remedies = [], []
    if find_spec("xllamacpp") is None:
        problems.append("xllamacpp is not installed")
        remedies.append('pip install "langchain-moa[local]"')
    try:
        find_weights()
    except LocalModelError as error:
        problems.append(explain(error))
        remedies.append("`moa download` fetches the weights")
    return Check(name="local model", problem="; ".join(problems), remedy="; ".join(remedies)) if problems else None


async def _check_together(models: list[str], mixture: MoAOptions) -> list[Check]:
    if not (mixture.api_key or os.environ.get(_KEY)):
        return [Check(name=_KEY, problem="not set", remedy=_GET_A_KEY), *map(_not_checked, models)]
    built = [_build(model, api_key=mixture.api_key, base_url=mixture.base_url) for model in models]
    key, listed = await _check_key(built[0])
    if key.problem:
        return [key, *map(_not_checked, models)]
    answers = [
        _check_answer(name, model, listed=listed is None or _id(name) in listed)
        for name, model in zip(models, built, strict=True)
    ]
    return [key, *await asyncio.gather(*answers)]


def _id(model: str) -> str:
    return model.removeprefix("together:")


def _build(model: str, **address: Any) -> BaseChatModel:
    from langchain_moa._models.factory import build_model

    return build_model(model, temperature=None, max_tokens=1, timeout=_ANSWER_SECONDS, **address)


def _not_checked(model: str) -> Check:
    return Check(name=model, problem="not checked", remedy="Fix the key first.")


async def _check_key(model: Any) -> tuple[Check, set[str] | None]:
    """List the provider's models, with the client, key and base URL that `model` uses. `None`: it lists none."""
    from langchain_moa.cli.error_messages import explain

    try:
        async with asyncio.timeout(_LIST_SECONDS):
            listing = await model.root_async_client.get("/models", cast_to=object)
    except Exception as error:
        status = getattr(error, "status_code", None)
        if status == 404:  # a server of one's own need not have a list
            listing = []
        elif status in (401, 403):
            return Check(name=_KEY, problem="not accepted", remedy=_GET_A_KEY), None
        else:
            remedy = "Check the network, and --base-url or TOGETHER_API_BASE if you set one."
            return Check(name=_KEY, problem=f"can't list the models: {explain(error)}", remedy=remedy), None
    # Together lists the models bare, OpenAI and others inside an object.
    entries = listing.get("data", []) if isinstance(listing, dict) else listing
    if not entries:
        return Check(name=_KEY, found="ok, and the server lists no models"), None
    ids = {entry["id"] for entry in entries}
    return Check(name=_KEY, found=f"ok, {counted(len(ids), 'model')} listed"), ids


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
