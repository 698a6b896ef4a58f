"""The node that asks the user's gate whether the proposers are asked at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import merge_configs
from langgraph.types import Command

from langchain_moa._aggregation.outcome import reason
from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.bills import bill
from langchain_moa._runtime.call_context import call_context, child_config
from langchain_moa._runtime.sync_bridge import AsyncNode, call
from langchain_moa._runtime.tracing import count_usage
from langchain_moa.options import Gate
from langchain_moa.state import GateCall, MoAState


class AskGate(AsyncNode[MoAState, Command[str]]):
    """A node: on to the first layer, or past all of them."""

    def __init__(self, gate: Gate, *, layers: Sequence[Layer], otherwise: str) -> None:
        """Prepare the node.

        Args:
            gate: The user's.
            layers: The layers that are left out when the gate says no.
            otherwise: The node that is next then.
        """
        self._gate = gate if isinstance(gate, Runnable) else RunnableLambda(gate)
        self._first = layers[0].entry
        self._otherwise = otherwise
        self._skipped = {node: call for layer in layers for node, call in layer.skipped(layer.nodes).items()}
        self._prices = layers[0].prices

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> Command[str]:
        """Ask the gate."""
        config = config or {}
        given = call_context(config).messages
        errors = _ModelErrors()
        child, usage = count_usage(child_config(config, run_name="gate", tag="moa:gate", prices=self._prices))
        child = merge_configs(child, {"callbacks": [errors]})
        is_asked = bool(await call(self._gate, list(input["messages"] if given is None else given), child))
        told = GateCall(asked=is_asked, usage=usage.usage_metadata)
        if usage.usage_metadata:
            told = {**told, **await bill(self._prices, usage.usage_metadata)}
        if errors.errors:
            told["degraded"] = [reason("gate_model_failed", error) for error in errors.errors]
        if is_asked:
            return Command(update={"gate_call": told}, goto=self._first)
        return Command(update={"gate_call": told, "calls": self._skipped}, goto=self._otherwise)


class _ModelErrors(BaseCallbackHandler):
    """Collects the errors of a gate's models, which the gate itself may have worked around."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        """Keep the error."""
        if isinstance(error, Exception) and not any(error is known for known in self.errors):
            self.errors.append(error)

    # A chat model finds out that its provider sent no choices when its own run has ended, and raises in the chain.
    on_chain_error = on_llm_error
