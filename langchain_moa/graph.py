"""The graph: one node per proposer and layer, joined by the next layer, and an aggregator at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.runnables import Runnable
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa.aggregation import AskAggregator
from langchain_moa.layer import Layer, ReferencePlacement
from langchain_moa.limits import Limits, Quorum
from langchain_moa.mixture import Mixture, ProposerLike, resolve_mixture
from langchain_moa.proposing import AskProposer
from langchain_moa.state import MoAState
from langchain_moa.turns import FanOut, Turns


def create_moa_graph(
    *,
    model: str | None = None,
    proposers: Sequence[ProposerLike] | None = None,
    rounds: int | None = None,
    layers: Sequence[Sequence[ProposerLike]] | None = None,
    aggregator: str | Runnable[Any, Any] | None = None,
    fallback_aggregators: Sequence[str | Runnable[Any, Any]] = (),
    temperature: float | None = None,
    max_tokens: int | None = None,
    timeout: float = 120,
    quorum: Quorum = None,
    grace: float = 0,
    deadline: float | None = None,
    min_references: int = 1,
    on_failure: Literal["raise", "aggregate_alone"] = "raise",
    reference_placement: ReferencePlacement = "auto",
    fan_out: FanOut = "auto",
    include_references: bool = False,
) -> StateGraph[MoAState, None, MessagesState, MessagesState]:
    """Build the graph of a mixture, not compiled: the caller picks the checkpointer.

    The options are those of `ChatMoA`, by the same names. `deadline` bounds the layers here; the aggregator's time is
    bounded too where a `ChatMoA` runs the graph.

    Returns:
        A graph from a conversation (`{"messages": [...]}`) to the conversation with the answer at its end. The
            answer's `response_metadata["moa"]` tells what each proposer did.

    Raises:
        ValueError: The options contradict each other, or a key is missing.
    """
    mixture = resolve_mixture(
        model=model,
        proposers=proposers,
        rounds=rounds,
        layers=layers,
        aggregator=aggregator,
        fallback_aggregators=fallback_aggregators,
        temperature=temperature,
        max_tokens=max_tokens,
        timeout=timeout,
    )
    return build_graph(
        mixture,
        limits=Limits(quorum=quorum, grace=grace, deadline=deadline),
        min_references=min_references,
        on_failure=on_failure,
        reference_placement=reference_placement,
        fan_out=fan_out,
        include_references=include_references,
    )


def build_graph(
    mixture: Mixture,
    *,
    limits: Limits,
    min_references: int,
    on_failure: Literal["raise", "aggregate_alone"],
    reference_placement: ReferencePlacement,
    fan_out: FanOut,
    include_references: bool,
) -> StateGraph[MoAState, None, MessagesState, MessagesState]:
    """Build the graph of those who take part. See `create_moa_graph`."""
    mixture.check(min_references, limits)
    graph = StateGraph(MoAState, input_schema=MessagesState, output_schema=MessagesState)
    turns = Turns(fan_out)
    previous: str | list[str] = START
    stacked: list[Layer] = []
    for number, members in enumerate(mixture.layers, 1):
        # Padded, because LangGraph merges parallel writes in the order of the nodes' names.
        nodes = [f"layer_{number}_proposer_{place:02d}" for place in range(1, len(members) + 1)]
        layer = Layer(
            number=number,
            of=len(mixture.layers),
            nodes=tuple(nodes),
            limits=limits,
            min_references=min_references,
            on_failure=on_failure,
            reference_placement=reference_placement,
        )
        before = stacked[-1] if stacked else None
        for node, member in zip(nodes, members, strict=True):
            ask = AskProposer(member, layer=layer, node=node, before=before, turns=turns, keep_text=include_references)
            metadata = {"moa_role": "proposer", "moa_layer": number, "moa_proposer": member.name}
            graph.add_node(node, ask, metadata=metadata)
            graph.add_edge(previous, node)
        stacked.append(layer)
        previous = nodes
    write = AskAggregator(mixture.aggregators, layers=stacked, turns=turns)
    graph.add_node("aggregator", write, metadata={"moa_role": "aggregator"})
    graph.add_edge(previous, "aggregator")
    return graph
