"""Mixture-of-Agents as one LangChain chat model."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.exceptions import MoAError, ProposersFailedError
    from langchain_moa.graph import create_moa_graph
    from langchain_moa.proposers import Aggregator, Proposer
    from langchain_moa.registration import register
    from langchain_moa.state import MoAState, Reference

__version__ = version("langchain-moa")

# Loaded at first use: LangGraph and LangChain take seconds to import on a cold start, and `moa --help` needs neither.
_MODULES = {
    "Aggregator": "proposers",
    "ChatMoA": "chat_models",
    "MoAError": "exceptions",
    "MoAState": "state",
    "Proposer": "proposers",
    "ProposersFailedError": "exceptions",
    "Reference": "state",
    "create_moa_graph": "graph",
    "register": "registration",
}

__all__ = [
    "Aggregator",
    "ChatMoA",
    "MoAError",
    "MoAState",
    "Proposer",
    "ProposersFailedError",
    "Reference",
    "__version__",
    "create_moa_graph",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"langchain_moa.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
