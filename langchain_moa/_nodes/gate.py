"""The node that asks the user's rule whether the proposers are asked at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.types import Command

from langchain_moa._models.members import Member
from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.events import child_config
from langchain_moa._runtime.sync_bridge import AsyncNode, call
from langchain_moa._runtime.tracing import count_usage
from langchain_moa._runtime.turn_references import Rule
from langchain_moa.state import GateCall, MoAState, ProposerCall


class AskRule(AsyncNode[MoAState, Command[str]]):
    """A node: on to the first layer, or to the aggregator alone."""

    def __init__(self, rule: Rule, *, layers: Sequence[tuple[Layer, Sequence[Member]]]) -> None:
        """Keep the rule.

        Args:
            rule: The user's.
            layers: All layers with those who would be asked.
        """
        self._rule = rule if isinstance(rule, Runnable) else RunnableLambda(rule)
        self._first = list(layers[0][0].nodes)
        self._skipped = {
            node: ProposerCall(
                proposer=member.name, model=member.model_name, status="skipped", seconds=0.0, usage=None, error=None
            )
            for layer, members in layers
            for node, member in zip(layer.nodes, members, strict=True)
        }

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> Command[str]:
        """Ask the rule."""
        child, usage = count_usage(child_config(config or {}, run_name="fan_out", tag="moa:fan_out"))
        said = await call(self._rule, list(input["messages"]), child)
        told = GateCall(asked=bool(said), usage=usage.usage_metadata)
        if said:
            return Command(update={"gate": told}, goto=self._first)
        return Command(update={"gate": told, "calls": self._skipped}, goto="aggregator")
