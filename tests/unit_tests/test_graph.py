"""The graph by itself: drawn, watched, compiled by a caller, and as a part of another graph."""

import pickle
from copy import deepcopy

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import ChatMoA, MoAState, create_moa_graph
from langchain_moa._runtime.run_state import RunState
from langchain_moa._runtime.turn_references import Turn
from tests.fakes import ScriptedChatModel


def mixture(**options):
    proposers = [ScriptedChatModel(reply=name, model_name=f"lab/{name.upper()}") for name in ("a", "b")]
    return {"proposers": proposers, "aggregator": ScriptedChatModel(reply="the end"), **options}


def test_the_drawing_shows_each_proposer_of_each_layer_and_the_aggregator():
    graph = ChatMoA(**mixture(rounds=2)).graph.get_graph()
    drawing = graph.draw_mermaid(with_styles=False)
    edges = {line.strip() for line in drawing.splitlines() if "-->" in line}
    assert edges == {
        "__start__ --> layer_1_proposer_01;",
        "__start__ --> layer_1_proposer_02;",
        "layer_1_proposer_01 --> layer_2_proposer_01;",
        "layer_1_proposer_01 --> layer_2_proposer_02;",
        "layer_1_proposer_02 --> layer_2_proposer_01;",
        "layer_1_proposer_02 --> layer_2_proposer_02;",
        "layer_2_proposer_01 --> aggregator;",
        "layer_2_proposer_02 --> aggregator;",
        "aggregator --> __end__;",
    }
    assert "moa_proposer = b" in graph.draw_mermaid()


def test_messages_go_in_and_messages_come_out(ask):
    state = ChatMoA(**mixture()).graph.invoke({"messages": "Go."})
    assert set(state) == {"messages"}
    assert [message.text for message in state["messages"]] == ["Go.", "the end"]


def test_progress_can_be_watched():
    graph = ChatMoA(**mixture()).graph
    events = list(graph.stream({"messages": "Go."}, stream_mode="custom"))
    names = [event["event"] for event in events]
    assert sorted(names[:4]) == ["moa_proposer_end"] * 2 + ["moa_proposer_start"] * 2
    assert names[4:] == ["moa_layer_end", "moa_aggregator_start"]
    end = next(event for event in events if event["event"] == "moa_proposer_end" and event["proposer"] == "b")
    assert (end["layer"], end["model"], end["status"], end["total"]) == (1, "lab/B", "ok", 2)
    assert events[4] == {"event": "moa_layer_end", "layer": 1, "done": 2, "total": 2}


def test_it_is_a_node_of_another_graph_as_it_stands():
    outer = StateGraph(MessagesState)
    outer.add_node("moa", ChatMoA(**mixture()).graph)
    outer.add_edge(START, "moa")
    state = outer.compile().invoke({"messages": "Go."})
    assert [message.text for message in state["messages"]] == ["Go.", "the end"]


async def test_it_is_a_node_of_another_graph_as_it_stands_async():
    outer = StateGraph(MoAState)
    outer.add_node("moa", create_moa_graph(**mixture(rounds=2)).compile())
    outer.add_edge(START, "moa")
    state = await outer.compile().ainvoke({"messages": "Go."})
    assert [message.text for message in state["messages"]] == ["Go.", "the end"]


def test_references_do_not_grow_over_layers_or_turns():
    options = mixture(rounds=3, reference_placement="system")
    graph = create_moa_graph(**options).compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    for turn in range(1, 4):
        graph.invoke({"messages": f"turn {turn}"}, thread)
        assert options["aggregator"].seen[-1][0].text.endswith("models:\n1. a\n2. b")
        assert len(options["aggregator"].seen[-1]) == 2 * turn
    held = [snapshot.values.get("references", []) for snapshot in graph.get_state_history(thread)]
    assert max(map(len, held)) == 2
    assert len(graph.get_state(thread).values["messages"]) == 6


def test_after_a_crash_no_finished_proposer_is_asked_again():
    options = mixture()
    options["aggregator"] = ScriptedChatModel(error=RuntimeError("power cut"))
    saver = InMemorySaver()
    thread = {"configurable": {"thread_id": "1"}}
    with pytest.raises(RuntimeError, match="power cut"):
        create_moa_graph(**options).compile(checkpointer=saver).invoke({"messages": "Go."}, thread)
    options["aggregator"] = ScriptedChatModel(reply="back again")
    state = create_moa_graph(**options).compile(checkpointer=saver).invoke(None, thread)
    assert state["messages"][-1].text == "back again"
    assert [len(proposer.seen) for proposer in options["proposers"]] == [1, 1]
    assert options["aggregator"].seen[0][0].text.endswith("models:\n1. a\n2. b")


def test_a_failure_survives_a_checkpoint():
    options = mixture(min_references=2)
    options["proposers"][0] = ScriptedChatModel(error=ValueError("no"), model_name="bad")
    graph = create_moa_graph(**options).compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        with pytest.raises(Exception, match=r"gave 1 references, and needs 2\. bad: .*no"):
            graph.invoke({"messages": "Go."} if _ == 0 else None, thread)


async def test_what_the_nodes_of_a_run_share_is_dumped_as_nothing():
    """A server that keeps a thread's state by pickling it would fail on the clocks."""
    run = RunState()
    run.turn = Turn(mixture="one")
    assert len(pickle.loads(pickle.dumps(run))) == len(deepcopy(run)) == 0
