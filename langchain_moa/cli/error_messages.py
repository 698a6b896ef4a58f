"""One-line messages for errors."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from langchain_moa.cli.terminal.text import one_line

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def is_expected(error: Exception) -> bool:
    """Whether the user can do something about an error; otherwise it is a bug, and the traceback is shown."""
    import openai
    from langchain_core.exceptions import ModelError

    from langchain_moa.exceptions import MoAError

    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough: typer ends quietly
        return False
    # The SDK's own: not every one of its errors is a `ModelError` too (422 is not).
    return isinstance(error, MoAError | ModelError | ValueError | ImportError | OSError | openai.OpenAIError)


def explain(error: BaseException) -> str:
    """Return an error message on one line, without API keys."""
    from langchain_core.exceptions import ModelAuthenticationError
    from pydantic import ValidationError

    from langchain_moa.exceptions import ProposersFailedError

    if isinstance(error, ValidationError):
        text = _field_errors(error)
    elif isinstance(error, ProposersFailedError):
        text = _proposers_failed(error)
    else:
        text = _message(error)
    if isinstance(error, ModelAuthenticationError):
        text += " Check the key; `moa doctor` tells more."
    return one_line(text)


def _message(error: BaseException) -> str:
    """Return the provider's message if there is one, rather than the whole response."""
    body, status = getattr(error, "body", None), getattr(error, "status_code", None)
    if isinstance(body, dict) and isinstance(body.get("message"), str) and status:
        return f"{body['message']} (HTTP {status})"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename!r}: {error.strerror}"
    return str(error) or type(error).__name__


def _field_errors(error: ValidationError) -> str:
    details = error.errors(include_context=False)
    # Settings that do not fit are no string and no Runnable either, which pydantic tells as well.
    telling = [detail for detail in details if detail["type"] not in ("string_type", "is_instance_of")] or details
    return "; ".join(_field_error(detail) for detail in telling)


def _field_error(detail: ErrorDetails) -> str:
    from langchain_moa.proposers import Aggregator, Proposer

    place = ".".join(str(part) for part in detail["loc"] if "[" not in str(part))
    if detail["type"] == "extra_forbidden":
        kind = Proposer if detail["loc"][0] in ("proposers", "layers") else Aggregator
        return f"{place}: there is no such setting; choose from {', '.join(kind.model_fields)}."
    if detail["msg"].startswith("Value error, "):
        return detail["msg"].removeprefix("Value error, ")
    return f"{place}: {detail['msg']}"


def _proposers_failed(error: BaseException) -> str:
    """Group the proposers by error, which is often the same for all."""
    from langchain_moa.exceptions import ProposersFailedError

    assert isinstance(error, ProposersFailedError)
    by_cause: dict[str, list[str]] = defaultdict(list)
    for proposer, cause in error.errors.items():
        by_cause[explain(cause)].append(proposer)
    causes = "; ".join(f"{', '.join(proposers)}: {cause}" for cause, proposers in by_cause.items())
    return f"Too few proposers of layer {error.layer} answered. {causes}"
