"""The node that ends a panel: what its last layer gave, for a model outside of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa._messages.answers import total_usage
from langchain_moa._messages.costs import calls_of, total_of
from langchain_moa._nodes.budget import Budget
from langchain_moa._nodes.layer import Layer, degraded_layers, last_asked, with_bills
from langchain_moa._runtime.call_context import call_context
from langchain_moa._runtime.sync_bridge import AsyncNode
from langchain_moa.state import MoAState


class CollectReferences(AsyncNode[MoAState, dict[str, Any]]):
    """A node: a message with one text block per reference, and what the proposers did in its metadata."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Prepare the node.

        Args:
            layers: All layers, first to last.
        """
        self._layers = layers

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Collect the references.

        Raises:
            ProposersFailedError: There are too few, and `on_failure` is `"raise"`.
        """
        last = last_asked(self._layers, input)
        input = await with_bills(input, last.prices)
        await call_context(config or {}).emit(last.ended(input))
        references = last.references(input)
        account: dict[str, Any] = {
            "layers": [layer.calls(input) for layer in self._layers],
            "degraded": degraded_layers(self._layers, input),
        }
        if "gate_call" in input:
            account["gate"] = input["gate_call"]
        if last.options.shuffle:
            account["order"] = [layer.order(input) for layer in self._layers]
        calls = list(calls_of({**account, "aggregator": None}))
        account["degraded"] += Budget(last.options).degraded(calls)
        account["usage"] = total_usage({**account, "aggregator": None})
        if last.prices:
            account["cost"] = total_of(calls)
        content: list[str | dict[Any, Any]] = [{"type": "text", "text": each["content"]} for each in references]
        return {"messages": [AIMessage(content, response_metadata={"moa": account})]}
