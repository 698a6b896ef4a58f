"""From a string such as `together:zai-org/GLM-5.3` to a chat model."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import reduce
from math import ceil
from operator import or_
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable, RunnableBinding, RunnableParallel
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from langchain_moa.exceptions import hold_key

# The SDK tries again on 408, 409, 429, 5xx and broken connections, and honors Retry-After. Three tries in all, as
# in togethercomputer/together-cookbook, MoA_Under_the_hood.ipynb.
_MAX_RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class _Provider:
    """How the models of a provider are built."""

    package: str
    class_name: str
    keys: tuple[str, ...] = ()
    """Environment variables, one of which must hold the key."""
    converters: Mapping[str, Callable[[Any], dict[str, Any]]] = field(default_factory=dict)
    """By option, for classes that take it in another unit or place."""
    is_lean: bool = False
    """Whether the class makes its chunks of plain data as well as of the OpenAI SDK's objects."""


# Retries: some count every try. Timeouts: some want whole seconds, or milliseconds.
_PROVIDERS = {
    "together": _Provider(
        package="langchain_together", class_name="ChatTogether", keys=("TOGETHER_API_KEY",), is_lean=True
    ),
    "openai": _Provider(package="langchain_openai", class_name="ChatOpenAI", keys=("OPENAI_API_KEY",), is_lean=True),
    "azure_openai": _Provider(
        package="langchain_openai",
        class_name="AzureChatOpenAI",
        keys=("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"),
    ),
    "anthropic": _Provider(package="langchain_anthropic", class_name="ChatAnthropic", keys=("ANTHROPIC_API_KEY",)),
    "bedrock_converse": _Provider(
        package="langchain_aws",
        class_name="ChatBedrockConverse",
        converters={"timeout": lambda seconds: {"timeout": ceil(seconds)}},
    ),
    "deepseek": _Provider(
        package="langchain_deepseek", class_name="ChatDeepSeek", keys=("DEEPSEEK_API_KEY",), is_lean=True
    ),
    "fireworks": _Provider(package="langchain_fireworks", class_name="ChatFireworks", keys=("FIREWORKS_API_KEY",)),
    "google_genai": _Provider(
        package="langchain_google_genai",
        class_name="ChatGoogleGenerativeAI",
        keys=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        converters={"max_retries": lambda retries: {"max_retries": retries + 1}},
    ),
    "groq": _Provider(package="langchain_groq", class_name="ChatGroq", keys=("GROQ_API_KEY",)),
    "mistralai": _Provider(
        package="langchain_mistralai",
        class_name="ChatMistralAI",
        keys=("MISTRAL_API_KEY",),
        converters={
            "timeout": lambda seconds: {"timeout": ceil(seconds)},
            "max_retries": lambda retries: {"max_retries": retries + 1},
        },
    ),
    "ollama": _Provider(
        package="langchain_ollama",
        class_name="ChatOllama",
        converters={"timeout": lambda seconds: {"client_kwargs": {"timeout": seconds}}},
    ),
    "openrouter": _Provider(
        package="langchain_openrouter",
        class_name="ChatOpenRouter",
        keys=("OPENROUTER_API_KEY",),
        converters={"timeout": lambda seconds: {"timeout": ceil(1000 * seconds)}},
    ),
    "xai": _Provider(package="langchain_xai", class_name="ChatXAI", keys=("XAI_API_KEY",), is_lean=True),
    "local": _Provider(package="langchain_moa.local", class_name="ChatLocal"),
}

# What the classes call an option, if they don't call it by its name.
_OTHER_NAMES = {"max_tokens": ("max_output_tokens", "num_predict")}

# Options that are not for `model_kwargs`.
_OPTIONS = {
    "model",
    "temperature",
    "max_tokens",
    "timeout",
    "max_retries",
    "model_kwargs",
    "api_key",
    "base_url",
    "cache",
}

# Whose models may see what the environment says about an account at OpenAI.
_OPENAI_ACCOUNTS = ("openai", "azure_openai")


def build_model(
    spec: str,
    *,
    temperature: float | None,
    max_tokens: int | None,
    timeout: float,
    max_retries: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    api_key: SecretStr | None = None,
    base_url: str | None = None,
    cache: bool = True,
) -> BaseChatModel:
    """Build the chat model that a string names.

    Args:
        spec: `provider:model` as `init_chat_model` reads it, or a Together model id, which has a slash. `local:…` is
            the embedded model, by name or by the path of a GGUF file.
        temperature: Sampling temperature; `None` leaves it to the provider.
        max_tokens: Most tokens that a call may write; `None` leaves it to the provider.
        timeout: Seconds that one request may take.
        max_retries: How often a failed request is tried again. Default: 2, for providers that can.
        model_kwargs: Further arguments of every request.
        api_key: For Together. Default: `TOGETHER_API_KEY`.
        base_url: For Together. Default: `TOGETHER_API_BASE`, or Together's own.
        cache: Whether the model may answer from a cache; not when several samples of it are wanted.

    Raises:
        ValueError: The provider is unknown, can't take one of the options, or has no key.
        ImportError: A package for the provider is missing.
    """
    provider, name = _parse(spec)
    if provider != "together":
        for option, value in (("api_key", api_key), ("base_url", base_url)):
            if value is not None:
                msg = f"{option} is for models on Together, and {spec!r} is none: give a chat model object instead."
                raise ValueError(msg)
    options = {
        "temperature": temperature,
        "max_tokens": max_tokens,
        "timeout": timeout,
        "max_retries": max_retries,
        "model_kwargs": dict(model_kwargs) if model_kwargs else None,
        "api_key": api_key,
        "base_url": base_url,
        "cache": None if cache else False,
    }
    given = {option: value for option, value in options.items() if value is not None}
    if known := _PROVIDERS.get(provider):
        model = _build(spec, name, provider, known, given)
    else:
        model = _init_chat_model(spec, name, provider, given)
    for field_name in type(model).model_fields:
        if isinstance(secret := getattr(model, field_name, None), SecretStr):
            hold_key(secret)
    return model


def model_name(model: Runnable[Any, Any]) -> str:
    """Return the name under which a model's provider knows it, or the best that there is."""
    model = unbound(model)
    for attribute in ("model_name", "model"):
        if isinstance(name := getattr(model, attribute, None), str) and name:
            return name
    return model.get_name()


def model_profile(model: Runnable[Any, Any]) -> ModelProfile | None:
    """Return what a model says that it can take, if it says anything."""
    model = unbound(model)
    return model.profile if isinstance(model, BaseChatModel) else None


def nesting(model: Runnable[Any, Any]) -> int:
    """Return how many mixtures a model nests: 0 for an ordinary one."""
    return getattr(unbound(model), "nesting", 0)


def model_identity(model: Runnable[Any, Any]) -> Any:
    """Return what distinguishes a model from another, as plain data without keys."""
    inner = unbound(model)
    if not isinstance(inner, BaseChatModel):
        # A Runnable does not tell what it does: two of one name must not share a cache's entry.
        return f"{model.get_name()} {uuid4()}"
    # The key that core's own cache has for the model, which knows of more than `asdict` (a server's address, say).
    key = hashlib.sha256(inner._get_llm_string().encode(errors="backslashreplace")).hexdigest()
    return {**inner.asdict(), **bound_arguments(model), "key": key}


def without_streaming(model: Runnable[Any, Any], *, cache: bool = True) -> Runnable[Any, Any]:
    """Return a copy of a model that answers as a whole, whoever listens for tokens.

    Args:
        model: A chat model; another Runnable is returned as it is.
        cache: Whether it may answer from a cache.
    """
    if isinstance(model, RunnableBinding):
        return model.model_copy(update={"bound": without_streaming(model.bound, cache=cache)})
    if not isinstance(model, BaseChatModel):
        return model
    # A listener upstream would make it stream: an answer of 8,000 tokens then costs a thousand times the CPU.
    return model.model_copy(
        update={"disable_streaming": True} if cache else {"disable_streaming": True, "cache": False}
    )


def unbound(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return what a chain of `bind` and `with_config` wraps: a chat model, or the Runnable itself."""
    while not isinstance(model, BaseChatModel) and isinstance(inner := getattr(model, "bound", None), Runnable):
        model = inner
    return model


def provider_of(spec: str) -> str:
    """Return the provider of a model string.

    Raises:
        ValueError: It names none.
    """
    return _parse(spec)[0]


def bound_arguments(model: Runnable[Any, Any]) -> dict[str, Any]:
    """Return what a chain of `bind` adds to every request."""
    arguments: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        arguments = {**model.kwargs, **arguments}
        model = model.bound
    return arguments


def changed_inside(structured: Any, change: Callable[[Any], Runnable[Any, Any]]) -> Runnable[Any, Any]:
    """Change the model inside of what `with_structured_output` returns.

    Args:
        structured: A sequence: the model with arguments bound, or with `include_raw` a map to it, then parsers.
        change: From this model to another one.
    """
    asked, *parsers = structured.steps
    is_map = isinstance(asked, RunnableParallel)
    changed = RunnableParallel(raw=change(asked.steps__["raw"])) if is_map else change(asked)
    return reduce(or_, parsers, changed)


def _parse(spec: str) -> tuple[str, str]:
    """Return the provider and the name of a model."""
    provider, _, name = spec.partition(":")
    if "/" in provider:
        return "together", spec
    if not name or not provider:
        example = f"openai:{spec}" if ":" not in spec else "openai:gpt-5.4"
        msg = (
            f"Model {spec!r} must name a provider and a model: write 'provider:model', such as {example!r}, or the id "
            "of a model on Together, which has a slash, such as 'zai-org/GLM-5.3'."
        )
        raise ValueError(msg)
    return provider.replace("-", "_").lower(), name  # as `init_chat_model` does


def _build(spec: str, name: str, provider: str, known: _Provider, given: dict[str, Any]) -> BaseChatModel:
    _check_key(spec, name, provider, known, given)
    # Imported here because it loads the provider's SDK, which can take seconds on a cold start.
    try:
        cls: type[BaseChatModel] = getattr(importlib.import_module(known.package), known.class_name)
    except ModuleNotFoundError as error:
        package = (error.name or known.package).partition(".")[0]
        msg = f"Model {spec!r} needs a package: pip install {package.replace('_', '-')}"
        raise ImportError(msg, name=error.name) from error
    named = {"path": name} if provider == "local" and name.endswith(".gguf") else {"model": name}
    given = _with_fields_of(cls, given)
    arguments = {"max_retries": _MAX_RETRIES, "stream_usage": True}
    arguments = {option: value for option, value in arguments.items() if _name_in(cls, option)} | given
    converted: dict[str, Any] = {}
    for option, value in arguments.items():
        if convert := known.converters.get(option):
            converted |= convert(value)
        elif argument := _name_in(cls, option):
            converted[argument] = value
        else:
            raise _can_not_take(spec, option, cls)
    if "root_async_client" not in cls.model_fields:
        return cls(**named, **converted)
    from langchain_moa._models.openai_sdk import sdk_class, sdk_options, without_openai_account

    is_openai = provider in _OPENAI_ACCOUNTS
    asked: Any = sdk_class(cls)
    if known.is_lean:
        from langchain_moa._models.lean_completions import lean

        asked = lean(asked)
    model: BaseChatModel = asked(**named, **converted, **sdk_options(cls, is_openai=is_openai))
    if not is_openai:
        without_openai_account(model)
    return model


def _check_key(spec: str, name: str, provider: str, known: _Provider, given: dict[str, Any]) -> None:
    # Some classes fall back to OPENAI_API_KEY and would send it to another provider; some send an empty key.
    if not known.keys or "api_key" in given or any(map(os.environ.get, known.keys)):
        return
    if provider == "together":
        msg = (
            f"Model {name!r} runs on Together: set TOGETHER_API_KEY, name models of another provider as "
            "'provider:model', or use the line-up 'local', which needs no key."
        )
    else:
        msg = f"Model {spec!r} needs a key: set {known.keys[0]}."
    raise ValueError(msg)


def _name_in(cls: type[BaseChatModel], option: str) -> str | None:
    """Return under which name a class takes an option, if it does."""
    fields: dict[str, FieldInfo] = cls.model_fields
    taken = {*fields, *(info.alias for info in fields.values())}
    return next((name for name in (option, *_OTHER_NAMES.get(option, ())) if name in taken), None)


def _with_fields_of(cls: type[BaseChatModel], given: dict[str, Any]) -> dict[str, Any]:
    """Return options with those in `model_kwargs` for which the class has a field, such as `top_p`, as its own."""
    kwargs = given.get("model_kwargs", {})
    own = {name: value for name, value in kwargs.items() if _name_in(cls, name)}
    if twice := sorted(own.keys() & (_OPTIONS | given.keys())):
        msg = f"{twice[0]} is an option of its own: give it outside of model_kwargs."
        raise ValueError(msg)
    rest = {name: value for name, value in kwargs.items() if name not in own}
    given = {name: value for name, value in given.items() if name != "model_kwargs"}
    return given | own | ({"model_kwargs": rest} if rest else {})


def _can_not_take(spec: str, option: str, cls: type[BaseChatModel]) -> ValueError:
    return ValueError(f"Model {spec!r} can't take {option}: {cls.__name__} has no such option. Leave it out for it.")


def _init_chat_model(spec: str, name: str, provider: str, given: dict[str, Any]) -> BaseChatModel:
    """Build a model of a provider that is not in the table, whose class must take what is given as it is called."""
    similar = get_close_matches(provider, _PROVIDERS, n=1)
    meant = f" Did you mean '{similar[0]}:{name}'?" if similar else ""
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        if meant:
            raise ValueError(f"Provider {provider!r} of model {spec!r} is unknown.{meant}") from None
        msg = f"Model {spec!r} is built by init_chat_model: pip install langchain"
        raise ImportError(msg) from None
    try:
        model: BaseChatModel = init_chat_model(name, model_provider=provider, **given)
    except ValueError as error:
        if "nsupported" not in str(error):
            raise
        msg = f"Provider {provider!r} of model {spec!r} is unknown.{meant} Known are {', '.join(_PROVIDERS)}, and "
        raise ValueError(msg + "what init_chat_model of LangChain knows.") from error
    for option in given:
        # Most classes ignore what they don't know. A layer keeps the time of its models by itself.
        if option != "timeout" and not _name_in(type(model), option):
            raise _can_not_take(spec, option, type(model))
    return model
