"""`create_moa_graph`: one node per proposer and layer, joined by the next layer, and an aggregator at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from langchain_moa._models.mixture import Mixture, resolve_mixture
from langchain_moa._nodes.aggregator import AskAggregator
from langchain_moa._nodes.gate import AskGate
from langchain_moa._nodes.layer import Layer
from langchain_moa._nodes.proposer import AskProposer
from langchain_moa._nodes.references import CollectReferences
from langchain_moa._nodes.wave import AskWave
from langchain_moa.answer_keys import AnswerKey, final_answer, matching
from langchain_moa.lineups import RESERVE
from langchain_moa.options import AggregatorLike, Gate, MoAOptions, ProposerLike
from langchain_moa.state import MoAState


def create_moa_graph(
    *,
    model: str = "default",
    proposers: Sequence[ProposerLike] | None = None,
    rounds: int | None = None,
    layers: Sequence[Sequence[ProposerLike]] | None = None,
    aggregator: AggregatorLike | None = None,
    fallback_aggregators: Sequence[AggregatorLike] = (),
    judge: AggregatorLike | None = None,
    criteria: str | None = None,
    judge_samples: int = 1,
    temperature: float | None = None,
    max_tokens: int | None = None,
    timeout: float = 120,
    max_retries: int | None = None,
    model_kwargs: dict[str, Any] | None = None,
    api_key: SecretStr | None = None,
    base_url: str | None = None,
    quorum: int | float | None = None,
    grace: float = 0,
    deadline: float | None = None,
    first_token_timeout: float | None = None,
    min_references: int = 1,
    on_failure: Literal["raise", "aggregate_alone"] = "raise",
    aggregation: Literal["synthesize", "select", "vote", "analyze"] = "synthesize",
    answer_key: AnswerKey | str | None = None,
    wave: int | None = None,
    confidence: float | None = None,
    window: int | None = None,
    reserve: int = RESERVE,
    prompt: str | Callable[[Sequence[str]], str] = "paper",
    reference_placement: Literal["auto", "system", "tail"] = "auto",
    shuffle: bool = False,
    shuffle_seed: int = 0,
    fan_out: Literal["auto", "always", "user_turn"] | Gate = "auto",
    prices: Mapping[str, Any] | None = None,
    max_cost: float | None = None,
    max_total_tokens: int | None = None,
    include_references: bool = False,
) -> StateGraph[MoAState, None, MessagesState, MessagesState]:
    """Build the graph of a mixture, uncompiled: the caller chooses the checkpointer.

    It takes the options of `ChatMoA`, see `MoAOptions`. `deadline` bounds the layers only; in a `ChatMoA` it bounds the
    aggregator too.

    Returns:
        A graph from a conversation (`{"messages": [...]}`) to the conversation with the answer at its end. The
            answer's `response_metadata["moa"]` tells what each proposer did.

    Raises:
        ValueError: The options contradict each other, or a key is missing.
    """
    options = MoAOptions(**locals())
    return build_graph(resolve_mixture(options), options)


def build_graph(
    mixture: Mixture, options: MoAOptions, *, end: Literal["aggregator", "references"] = "aggregator"
) -> StateGraph[MoAState, None, MessagesState, MessagesState]:
    """Build the graph of a mixture's models. See `create_moa_graph`.

    Args:
        mixture: The models.
        options: The user's.
        end: The last node. `"references"` is for a panel, whose references go to a model outside of the graph: it ends
            with a message as `CollectReferences` makes it.
    """
    graph = StateGraph(MoAState, input_schema=MessagesState, output_schema=MessagesState)
    layers = to_layers(mixture, options)
    key = options.answer_key
    answer_key = matching(key) if isinstance(key, str) else key or final_answer
    previous: str | list[str] = START
    gate = None if isinstance(options.fan_out, str) else options.fan_out
    if gate is not None:
        ask_gate = AskGate(gate, layers=layers, otherwise=end)
        destinations = (*layers[0].entry, end)
        graph.add_node("gate", ask_gate, metadata={"moa_role": "gate"}, destinations=destinations)
        graph.add_edge(START, "gate")
    for layer in layers:
        earlier = layers[: layer.number - 1]
        for node, member in zip(layer.nodes, layer.members, strict=True):
            ask = AskProposer(member, layer=layer, node=node, earlier=earlier, answer_key=answer_key)
            metadata = {"moa_role": "proposer", "moa_layer": layer.number, "moa_proposer": member.name}
            graph.add_node(node, ask, metadata=metadata)
        if layer.comes_in_waves:
            _add_waves(graph, layer, earlier, answer_key, end=end)
        if earlier or gate is None:  # a gate goes to the first layer by itself
            for node in layer.entry:
                graph.add_edge(previous, node)
        previous = list(layer.nodes)
    if end == "aggregator":
        last: AskAggregator | CollectReferences = AskAggregator(
            mixture.aggregators, judges=mixture.judges, layers=layers, answer_key=answer_key, window=mixture.window
        )
    else:
        last = CollectReferences(layers)
    graph.add_node(end, last, metadata={"moa_role": end})
    if not layers[-1].comes_in_waves:  # after the last wave its node goes on by itself
        graph.add_edge(previous, end)
    return graph


def to_layers(mixture: Mixture, options: MoAOptions) -> list[Layer]:
    """Return a mixture's layers, first to last, as its nodes see them."""
    common: dict[str, Any] = {
        "of": len(mixture.layers),
        "options": options,
        "mixture": mixture.proposers,
        "is_published": mixture.is_published,
        "prices": mixture.prices,
    }
    return [Layer(number=n, members=members, **common) for n, members in enumerate(mixture.layers, 1)]


def _add_waves(
    graph: StateGraph[Any, Any, Any, Any],
    layer: Layer,
    earlier: Sequence[Layer],
    answer_key: AnswerKey,
    *,
    end: str,
) -> None:
    """Have the proposers of a layer asked a few at a time."""
    for name in ("first_wave", "next_wave"):
        ask = AskWave(layer, earlier=earlier, is_first=name == "first_wave", answer_key=answer_key, otherwise=end)
        graph.add_node(name, ask, metadata={"moa_role": "wave"}, destinations=(*layer.nodes, end))
    for node in layer.nodes:
        graph.add_edge(node, "next_wave")
