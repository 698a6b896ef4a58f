"""When the proposers are asked once per user turn, for the nodes of one graph."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.call_context import CallContext
from langchain_moa._runtime.turn_references import Turn, turn_references
from langchain_moa.state import MoAState


class Turns:
    """The turns that one graph's runs belong to."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._fan_out = layers[0].options.fan_out
        # Mixtures that are built alike share what belongs to the same turn.
        self._mixture = repr([[(m.name, m.model_name, m.instructions) for m in layer.members] for layer in layers])

    def once_per_turn(self, context: CallContext) -> bool:
        """Tell whether the proposers are asked once per user turn, and not at every call."""
        return self._fan_out == "user_turn" or (self._fan_out == "auto" and context.answer_form == "tools")

    def current(self, state: MoAState, context: CallContext) -> Turn:
        """Return the turn that a run belongs to, the same for all of its nodes."""

        def begin() -> Turn:
            if not self.once_per_turn(context):
                return Turn(mixture=self._mixture)
            conversation = state["messages"] if context.messages is None else context.messages
            return turn_references.begin(conversation, mixture=self._mixture, caller=context.caller)

        return state["run"].turn(begin)
