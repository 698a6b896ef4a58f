"""The graph: one node per proposer and layer, joined by the next layer, and an aggregator at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.runnables import Runnable
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa._aggregation.aggregation import Aggregation, Mode
from langchain_moa._messages.prompts import PromptName
from langchain_moa._models.mixture import Mixture, ProposerLike, resolve_mixture
from langchain_moa._nodes.aggregator import AskAggregator
from langchain_moa._nodes.gate import AskRule
from langchain_moa._nodes.layer import Layer, ReferencePlacement, Rules
from langchain_moa._nodes.proposer import AskProposer
from langchain_moa._runtime.layer_clock import Quorum
from langchain_moa._runtime.turn_references import FanOut, Turns
from langchain_moa.answer_keys import AnswerKey
from langchain_moa.lineups import RESERVE
from langchain_moa.options import Options
from langchain_moa.state import MoAState


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
    aggregation: Mode = "synthesize",
    debias: bool = False,
    answer_key: AnswerKey | str | None = None,
    window: int | None = None,
    reserve: int = RESERVE,
    prompt: PromptName = "paper",
    reference_placement: ReferencePlacement = "auto",
    shuffle: bool = False,
    shuffle_seed: int = 0,
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
    options = Options(
        quorum=quorum,
        grace=grace,
        deadline=deadline,
        min_references=min_references,
        on_failure=on_failure,
        aggregation=aggregation,
        debias=debias,
        answer_key=answer_key,
        window=window,
        reserve=reserve,
        prompt=prompt,
        reference_placement=reference_placement,
        shuffle=shuffle,
        shuffle_seed=shuffle_seed,
        fan_out=fan_out,
        include_references=include_references,
    )
    return build_graph(mixture, options)


def build_graph(mixture: Mixture, options: Options) -> StateGraph[MoAState, None, MessagesState, MessagesState]:
    """Build the graph of those who take part. See `create_moa_graph`."""
    rules, how = options.rules(), options.how(mixture.window)
    mixture.check(rules.min_references, rules.limits)
    graph = StateGraph(MoAState, input_schema=MessagesState, output_schema=MessagesState)
    turns = Turns(options.fan_out)
    layers = _layers(mixture, rules, how)
    previous: str | list[str] = START
    if not isinstance(options.fan_out, str):
        rule = AskRule(options.fan_out, layers=list(zip(layers, mixture.layers, strict=True)))
        graph.add_node("fan_out", rule, metadata={"moa_role": "fan_out"}, destinations=(*layers[0].nodes, "aggregator"))
        graph.add_edge(START, "fan_out")
    for before, layer, members in zip([None, *layers[:-1]], layers, mixture.layers, strict=True):
        for node, member in zip(layer.nodes, members, strict=True):
            ask = AskProposer(
                member, layer=layer, node=node, before=before, turns=turns, keep_text=options.include_references
            )
            metadata = {"moa_role": "proposer", "moa_layer": layer.number, "moa_proposer": member.name}
            graph.add_node(node, ask, metadata=metadata)
            if before or isinstance(options.fan_out, str):  # a rule goes to the first layer by itself
                graph.add_edge(previous, node)
        previous = list(layer.nodes)
    write = AskAggregator(mixture.aggregators, how=how, layers=layers, turns=turns)
    graph.add_node("aggregator", write, metadata={"moa_role": "aggregator"})
    graph.add_edge(previous, "aggregator")
    return graph


def _layers(mixture: Mixture, rules: Rules, how: Aggregation) -> list[Layer]:
    """Return what the nodes need to know of their layers."""
    last = len(mixture.layers)
    return [
        Layer(
            number=number,
            of=last,
            # Padded, because LangGraph merges parallel writes in the order of the nodes' names.
            nodes=tuple(f"layer_{number}_proposer_{place:02d}" for place in range(1, len(members) + 1)),
            rules=rules,
            answer_key=how.answer_key if how.mode == "vote" and number == last else None,
        )
        for number, members in enumerate(mixture.layers, 1)
    ]
