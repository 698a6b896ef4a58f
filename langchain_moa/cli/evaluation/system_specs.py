"""Resolve `NAME=SPEC` from the command line to a system."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from langchain_moa.cli.config import load_users_config
from langchain_moa.cli.error_messages import is_expected
from langchain_moa.cli.mixture_options import MixtureOptions

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_moa.evals.systems import System
    from langchain_moa.lineups import Lineup

# Seconds that one request may take: a judge's long explanation, or a model that reasons first.
_TIMEOUT = 300.0

_Build = Callable[[Mapping[str, Any]], "BaseChatModel"]


def split_name(option: str) -> tuple[str, str]:
    """Split `NAME=SPEC`; a SPEC alone is named after itself."""
    name, equals, spec = option.partition("=")
    if equals and name and spec:
        return name, spec
    if equals:
        msg = f"{option!r} is not of the form NAME=SPEC."
        raise typer.BadParameter(msg)
    return as_name(option), option


def as_name(text: str) -> str:
    """Return a text with what the name of a system or a file can't have replaced by dashes."""
    return re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.")


def resolve(option: str) -> System:
    """Return the system for `NAME=SPEC`.

    Raises:
        ValueError: SPEC is unknown.
    """
    from langchain_moa.lineups import LINEUPS

    name, spec = split_name(option)
    if spec in LINEUPS:
        return _of_lineup(name, spec, LINEUPS[spec])
    config = load_users_config()
    if spec in config.mixtures:
        return _of_factory(name, spec, MixtureOptions(given={"model": spec}, config=config).build)
    if factory := _find_factory(spec):
        return _of_factory(name, spec, factory)
    if ":" not in spec and "/" not in spec:
        msg = (
            f"System {spec!r} is unknown: give a line-up ({', '.join(LINEUPS)}), a mixture of the configuration file, "
            "a model (a Together id, or provider:model), or module:factory."
        )
        raise ValueError(msg)
    return _of_model(name, spec)


def resolve_all(options: Sequence[str]) -> list[System]:
    """Return the systems for several `NAME=SPEC`.

    Raises:
        ValueError: A SPEC is unknown, or two systems have the same name.
    """
    systems = [resolve(option) for option in options]
    if twice := find_twice([system.name for system in systems]):
        msg = f"Two systems are named {twice!r}: give them different names, --system NAME=SPEC."
        raise ValueError(msg)
    return systems


def resolve_models(options: Sequence[str], sampling: Mapping[str, Any]) -> dict[str, System]:
    """Return the systems for several `NAME=MODEL`, by name. No line-up or factory is one.

    Args:
        options: As on the command line.
        sampling: `temperature` and `max_tokens`, unless the benchmark prescribes them.

    Raises:
        ValueError: One is no model, or two have the same name.
    """
    from langchain_moa._models.factory import provider_of
    from langchain_moa.evals.results.keys import key_of

    pairs = [split_name(option) for option in options]
    if twice := find_twice([name for name, _ in pairs]):
        msg = f"Two models are named {twice!r}: give them different names, --model NAME=MODEL."
        raise ValueError(msg)
    found = {}
    for name, spec in pairs:
        provider_of(spec)
        plain = _of_model(name, spec)
        build = partial(_build_with, plain, sampling)
        found[name] = replace(plain, build=build, fingerprint=key_of(spec, dict(sampling)))
    return found


def _build_with(system: System, sampling: Mapping[str, Any], decoding: Mapping[str, Any]) -> BaseChatModel:
    return system.model({**sampling, **decoding})


def find_twice(names: Sequence[str]) -> str | None:
    """Return the first duplicate name, or `None`."""
    return next((name for name in names if names.count(name) > 1), None)


def _of_lineup(name: str, spec: str, lineup: Lineup) -> System:
    from langchain_moa.evals.results.keys import key_of
    from langchain_moa.evals.systems import System

    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        from langchain_moa.chat_models import ChatMoA

        # With the references, `leave-one-out` needs only the aggregator's calls.
        return ChatMoA(model=spec, include_references=True, **decoding)

    proposers = [repr(proposer) for proposer in lineup.proposers]
    return System(
        name=name,
        fingerprint=key_of(
            proposers, lineup.aggregator, lineup.rounds, lineup.window, lineup.temperature, lineup.max_tokens
        ),
        build=build,
        spec=spec,
    )


def _of_model(name: str, spec: str) -> System:
    from langchain_moa.evals.results.keys import key_of
    from langchain_moa.evals.systems import System

    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        from langchain_moa._models.factory import build_model

        return build_model(
            spec,
            temperature=decoding.get("temperature"),
            max_tokens=decoding.get("max_tokens"),
            timeout=_TIMEOUT,
        )

    return System(name=name, fingerprint=key_of(spec), build=build, spec=spec)


def _of_factory(name: str, spec: str, factory: Callable[..., Any]) -> System:
    from langchain_moa.evals.systems import System, fingerprint_of

    build = _building(spec, factory)
    return System(name=name, fingerprint=fingerprint_of(build({})), build=build, spec=spec)


def _building(spec: str, factory: Callable[..., Any]) -> _Build:
    parameters = inspect.signature(factory).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    taken = {parameter.name for parameter in parameters}

    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        from langchain_core.language_models import BaseChatModel

        with _told_of(spec):
            model = factory(**{name: value for name, value in decoding.items() if takes_any or name in taken})
        if not isinstance(model, BaseChatModel):
            msg = f"{spec!r} returned a {type(model).__name__}: it must return a chat model."
            raise ValueError(msg)
        return model

    return build


def _find_factory(spec: str) -> Callable[..., Any] | None:
    """Import `module:factory`. `None`: there is no such module, or it has no such function.

    Raises:
        ValueError: Importing fails, or a module in the current directory lacks the function.
    """
    module, _, name = spec.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return None
    try:
        there = find_spec(module)
    except ImportError:  # a package around it is missing
        there = None
    if there is None:
        return None
    with _told_of(spec):
        factory = getattr(import_module(module), name, None)
    if callable(factory):
        return cast("Callable[..., Any]", factory)
    if Path(there.origin or "").parent == Path.cwd().joinpath(*module.split(".")[:-1]):
        msg = f"{spec!r}: {there.origin!r} has no function {name!r}."
        raise ValueError(msg)
    return None


@contextmanager
def _told_of(spec: str) -> Iterator[None]:
    """Name the user's code in errors that it raises.

    Raises:
        ValueError: The user's code raised an unexpected error.
    """
    try:
        yield
    except Exception as error:
        if is_expected(error):
            raise
        from langchain_moa.exceptions import describe

        msg = f"{spec!r} failed: {describe(error)}"
        raise ValueError(msg) from error
