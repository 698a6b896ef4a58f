"""Mixture-of-Agents as one LangChain chat model."""

from importlib.metadata import version

from langchain_moa.chat_models import ChatMoA
from langchain_moa.exceptions import MoAError, ProposersFailedError
from langchain_moa.graph import create_moa_graph
from langchain_moa.proposers import Proposer
from langchain_moa.state import MoAState, Reference

__version__ = version("langchain-moa")

__all__ = [
    "ChatMoA",
    "MoAError",
    "MoAState",
    "Proposer",
    "ProposersFailedError",
    "Reference",
    "__version__",
    "create_moa_graph",
]
