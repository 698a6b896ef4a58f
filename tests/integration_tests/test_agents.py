"""A mixture in agents and graphs as people write them, over HTTP: nobody but the server sees that it is one."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt
from openai import BadRequestError
from pydantic import BaseModel

from langchain_moa import ChatMoA, create_moa_graph
from langchain_moa._messages.prompts import ACT_ON_ADVICE
from langchain_moa._runtime.turn_references import turn_references
from tests.openai_server import OpenAIServer, Reply
from tests.traces import TreeTracer

PROPOSERS = ["lab/a", "lab/b"]
SECRETS = {"lab/a": "Xylophones advise.", "lab/b": "Zeppelins advise."}
QUESTION = "How warm is it in Paris?"
ANSWER = "It is 68 F in Paris."
THREAD = {"configurable": {"thread_id": "1"}}

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"20 C in {city}"


@tool
def convert(celsius: int) -> str:
    """Turn degrees Celsius into Fahrenheit."""
    return f"{celsius * 9 // 5 + 32} F"


@tool
def book(city: str) -> str:
    """Book a journey, once the user agrees."""
    return f"Booked for {interrupt(f'Book {city}?')}."


TOOLS = [weather, convert]


# -- The model behind the server ---------------------------------------------------------------------------------------


def call(number: int, name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


STEPS: list[tuple[dict[str, Any], ...]] = [
    (call(1, "weather", city="Paris"),),
    (call(2, "convert", celsius=20),),
    (call(3, "weather", city="Lyon"), call(4, "convert", celsius=18)),
]
"""What the writer calls in each turn before it answers: one tool, the other, both at once."""


def conversation(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a request to the aggregator without the references at their end."""
    *before, last = body["messages"]
    own, mark, _ = (last["content"] or "").partition(ACT_ON_ADVICE)
    if not mark:
        return body["messages"]
    return [*before, {**last, "content": own.removesuffix("\n\n")}] if own else before


def steps_of_the_turn(body: dict[str, Any]) -> int:
    """Return how often the model called tools since the user's last message."""
    roles = [("calls" if message.get("tool_calls") else message["role"]) for message in conversation(body)]
    return roles[::-1][: roles[::-1].index("user")].count("calls")


def script(body: dict[str, Any], *, steps: Sequence[tuple[dict[str, Any], ...]] = STEPS, end: Any = ANSWER) -> Any:
    """Advise as a proposer; as the writer go through the steps, then answer."""
    if body["model"] in SECRETS:
        return SECRETS[body["model"]]
    done = steps_of_the_turn(body)
    return Reply(text=None, tool_calls=steps[done]) if done < len(steps) else end


def mixture(**options: Any) -> ChatMoA:
    return ChatMoA(**{"proposers": PROPOSERS, "aggregator": "lab/writer", **options})


def asked(server: OpenAIServer, model: str) -> list[dict[str, Any]]:
    return [body for body in server.requests if body["model"] == model]


def times_asked(server: OpenAIServer) -> dict[str, int]:
    return {model: len(asked(server, model)) for model in sorted({body["model"] for body in server.requests})}


# -- Asking ------------------------------------------------------------------------------------------------------------


def run(graph: Any, input: Any, *, asynchronous: bool, config: Any = None) -> Any:
    return asyncio.run(graph.ainvoke(input, config)) if asynchronous else graph.invoke(input, config)


def streamed(graph: Any, *, asynchronous: bool, **options: Any) -> list[Any]:
    if not asynchronous:
        return list(graph.stream({"messages": QUESTION}, **options))

    async def collect() -> list[Any]:
        return [item async for item in graph.astream({"messages": QUESTION}, **options)]

    return asyncio.run(collect())


def visit(
    file: Path, graph: StateGraph[Any, Any, Any, Any], input: Any, *, asynchronous: bool, config: Any = THREAD
) -> Any:
    """Open the database, compile the graph anew over it, ask once, and close everything again."""

    async def avisit() -> Any:
        async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
            return await graph.compile(checkpointer=saver).ainvoke(input, config)

    if asynchronous:
        return asyncio.run(avisit())
    with SqliteSaver.from_conn_string(str(file)) as saver:
        return graph.compile(checkpointer=saver).invoke(input, config)


def written(file: Path) -> bytes:
    """Return all that the database keeps, its write-ahead log included."""
    return b"".join(path.read_bytes() for path in sorted(file.parent.iterdir()))


def tokens(messages: Sequence[BaseMessage]) -> list[str]:
    """Return what the models among the writers of a stream said."""
    return [message.text for message in messages if not isinstance(message, ToolMessage) and message.text]


# -- create_agent ------------------------------------------------------------------------------------------------------


def agent(model: Any = None, **options: Any) -> Any:
    return create_agent(model or mixture(), TOOLS, system_prompt="Be terse.", **options)


@both
def test_an_agent_calls_its_tools_step_by_step_and_answers(together, asynchronous):
    server = together(script)
    state = run(agent(), {"messages": QUESTION}, asynchronous=asynchronous)
    assert state["messages"][-1].text == ANSWER
    results = [message.text for message in state["messages"] if isinstance(message, ToolMessage)]
    assert results == ["20 C in Paris", "68 F", "20 C in Lyon", "64 F"]
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}
    assert not server.errors


@both
def test_an_agents_proposers_are_advisers_without_tools(together, asynchronous):
    server = together(script)
    run(agent(), {"messages": QUESTION}, asynchronous=asynchronous)
    for body in [*asked(server, "lab/a"), *asked(server, "lab/b")]:
        assert not {"tools", "tool_choice", "parallel_tool_calls", "response_format"} & set(body)
        system, question = body["messages"]
        assert system["content"].startswith("Be terse.\n\n")
        catalog = "- weather: Tell the weather of a city.\n- convert: Turn degrees Celsius into Fahrenheit."
        assert system["content"].endswith(catalog)
        assert question == {"role": "user", "content": QUESTION}
    for body in asked(server, "lab/writer"):
        assert [each["function"]["name"] for each in body["tools"]] == ["weather", "convert"]


@both
def test_every_step_of_a_turn_ends_on_its_references_and_shares_the_prefix_before_them(together, asynchronous):
    server = together(script)
    run(agent(), {"messages": QUESTION}, asynchronous=asynchronous)
    steps = asked(server, "lab/writer")
    tails = [body["messages"][-1]["content"].partition(ACT_ON_ADVICE)[2] for body in steps]
    assert tails[0].endswith("\n1. Xylophones advise.\n2. Zeppelins advise.")
    assert set(tails) == {tails[0]}
    for step, following in pairwise(steps):
        assert step["messages"][-1]["role"] == "user"
        assert step["tools"] == following["tools"]
        sent, sent_next = json.dumps(step["messages"]), json.dumps(following["messages"])
        assert sent_next.startswith(json.dumps(conversation(step)).removesuffix("]") + ", ")
        # A prompt cache compares the requests as they were sent: the first difference is where the references begin.
        before, _, _ = sent.partition(json.dumps(ACT_ON_ADVICE)[1:-1])
        assert sent_next.startswith(before.removesuffix("\\n\\n").removesuffix(', {"content": "'))


@both
def test_the_users_next_turn_asks_the_proposers_again(together, asynchronous):
    server = together(script)
    graph = agent()
    state = run(graph, {"messages": QUESTION}, asynchronous=asynchronous)
    again = [*state["messages"], {"role": "user", "content": "And tomorrow?"}]
    assert run(graph, {"messages": again}, asynchronous=asynchronous)["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 8}
    seen = asked(server, "lab/a")[1]["messages"]
    assert [message["role"] for message in seen] == ["system", *["user", "assistant"] * 4, "user"]
    assert '[called tool: weather({"city": "Paris"})]' in seen[2]["content"]
    assert seen[3]["content"] == "[tool result of weather: 20 C in Paris]"
    assert seen[-1]["content"] == "And tomorrow?"
    # The references of the turn before are gone: the conversation is as the agent keeps it.
    assert json.dumps(asked(server, "lab/writer")[4]).count("Xylophones") == 1


@both
@pytest.mark.parametrize("subgraphs", [False, True], ids=["", "subgraphs"])
def test_an_agents_stream_is_the_tokens_of_its_answer_once(together, asynchronous, subgraphs):
    server = together(script)
    items = streamed(agent(), asynchronous=asynchronous, stream_mode="messages", subgraphs=subgraphs)
    messages = [item[1][0] if subgraphs else item[0] for item in items]
    assert "".join(tokens(messages)) == ANSWER
    assert "advise" not in str(items)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}
    # Steps of the agent: one message each, of which a tool call's chunks are a part.
    ids = [message.id for message in messages if isinstance(message, AIMessageChunk)]
    assert len(set(ids)) == 4


@both
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")  # events v3 are in beta
def test_an_agents_events_v3_are_the_tokens_of_its_answer_once(together, asynchronous):
    together(script)
    graph, question = agent(), {"messages": QUESTION}

    async def collect() -> list[list[str]]:
        stream = await graph.astream_events(question, version="v3")
        return [[token async for token in message.text] async for message in stream.messages]

    def messages() -> list[list[str]]:
        return [list(message.text) for message in graph.stream_events(question, version="v3").messages]

    heard = asyncio.run(collect()) if asynchronous else messages()
    assert ["".join(each) for each in heard] == ["", "", "", ANSWER]


class Report(BaseModel):
    """The weather, as a form."""

    city: str
    fahrenheit: int


@both
@pytest.mark.parametrize(
    "wanted", [Report, ToolStrategy(Report), ProviderStrategy(Report)], ids=["auto", "tool", "provider"]
)
def test_an_agent_answers_in_the_schema_that_it_was_given(together, asynchronous, wanted):
    def end(body: dict[str, Any]) -> Reply | str:
        if "response_format" in body:
            return '{"city": "Paris", "fahrenheit": 68}'
        return Reply(text=None, tool_calls=(call(9, "Report", city="Paris", fahrenheit=68),))

    server = together(lambda body: end(body) if script(body) == ANSWER else script(body))
    state = run(agent(response_format=wanted), {"messages": QUESTION}, asynchronous=asynchronous)
    assert state["structured_response"] == Report(city="Paris", fahrenheit=68)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}
    for body in [*asked(server, "lab/a"), *asked(server, "lab/b")]:
        assert not {"tools", "tool_choice", "parallel_tool_calls", "response_format"} & set(body)
    assert not server.errors


# -- A graph written by hand, with a database --------------------------------------------------------------------------


BOOKING = partial(script, steps=[(call(1, "weather", city="Paris"),), (call(2, "book", city="Paris"),)], end="Done.")


def react(model: ChatMoA, *, asynchronous: bool) -> StateGraph[Any, Any, Any, Any]:
    tools = [weather, book]
    bound = model.bind_tools(tools)

    def ask(state: MessagesState) -> Any:
        return {"messages": [bound.invoke(state["messages"])]}

    async def aask(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", aask if asynchronous else ask)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph


@both
def test_an_interrupted_turn_goes_on_in_a_new_graph_over_the_same_database(together, tmp_path, asynchronous):
    server, model, file = together(BOOKING), mixture(), tmp_path / "thread.sqlite"
    stopped = visit(file, react(model, asynchronous=asynchronous), {"messages": QUESTION}, asynchronous=asynchronous)
    assert [each.value for each in stopped["__interrupt__"]] == ["Book Paris?"]
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 2}

    graph = react(model, asynchronous=asynchronous)
    state = visit(file, graph, Command(resume="two"), asynchronous=asynchronous)
    assert [message.text for message in state["messages"][-2:]] == ["Booked for two.", "Done."]
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 3}
    assert "Xylophones" in asked(server, "lab/writer")[-1]["messages"][-1]["content"]

    state = visit(file, graph, {"messages": "Once more."}, asynchronous=asynchronous)
    assert "__interrupt__" in state
    assert times_asked(server)["lab/a"] == 2


@both
def test_after_a_crash_at_a_later_step_no_proposer_is_asked_again(together, tmp_path, asynchronous):
    crashes = [Reply(status=400)]

    def answer(body: dict[str, Any]) -> Any:
        later = body["model"] == "lab/writer" and steps_of_the_turn(body) == 1
        return crashes.pop() if later and crashes else BOOKING(body)

    server, file = together(answer), tmp_path / "thread.sqlite"
    graph = react(mixture(), asynchronous=asynchronous)
    with pytest.raises(BadRequestError):
        visit(file, graph, {"messages": QUESTION}, asynchronous=asynchronous)
    assert "__interrupt__" in visit(file, graph, None, asynchronous=asynchronous)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 3}


@both
def test_a_model_built_anew_goes_on_with_the_references_of_the_turn(together, tmp_path, asynchronous):
    server, file = together(BOOKING), tmp_path / "thread.sqlite"
    for input in ({"messages": QUESTION}, Command(resume="two")):
        state = visit(file, react(mixture(), asynchronous=asynchronous), input, asynchronous=asynchronous)
    assert state["messages"][-1].text == "Done."
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 3}


@both
def test_a_process_that_knows_nothing_of_the_turn_asks_the_proposers_once_more(
    together, tmp_path, asynchronous, monkeypatch
):
    server, file = together(BOOKING), tmp_path / "thread.sqlite"
    visit(file, react(mixture(), asynchronous=asynchronous), {"messages": QUESTION}, asynchronous=asynchronous)
    monkeypatch.setattr(turn_references, "_kept", OrderedDict())  # as in a new process
    graph = react(mixture(), asynchronous=asynchronous)
    state = visit(file, graph, Command(resume="two"), asynchronous=asynchronous)
    assert state["messages"][-1].text == "Done."
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 3}
    assert asked(server, "lab/a")[1]["messages"][-1]["content"] == "[tool result of book: Booked for two.]"


@both
def test_the_database_of_a_graph_around_a_mixture_holds_nothing_of_the_proposals(together, tmp_path, asynchronous):
    together(BOOKING)
    model, file = mixture(), tmp_path / "thread.sqlite"
    graph = react(model, asynchronous=asynchronous)
    for input in ({"messages": QUESTION}, Command(resume="two")):
        visit(file, graph, input, asynchronous=asynchronous)
    assert b"Booked for two." in written(file)
    assert b"advise" not in written(file)
    with SqliteSaver.from_conn_string(str(file)) as saver:
        checkpoints = list(saver.list(THREAD))
    assert {checkpoint.config["configurable"]["checkpoint_ns"] for checkpoint in checkpoints} == {""}
    assert "Booked for two." in str(checkpoints)
    assert "advise" not in str(checkpoints)


# -- The graph inside, used by itself ----------------------------------------------------------------------------------


@both
def test_the_graph_inside_is_a_node_of_a_graph_with_a_database(together, tmp_path, asynchronous):
    server, file = together(partial(script, steps=[])), tmp_path / "thread.sqlite"
    for turn in (1, 2):
        graph = StateGraph(MessagesState).add_node("moa", mixture().graph).add_edge(START, "moa")
        state = visit(file, graph, {"messages": f"Turn {turn}."}, asynchronous=asynchronous)
        assert state["messages"][-1].text == ANSWER
        assert len(state["messages"]) == 2 * turn
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 2}
    assert [str(body["messages"]).count("advise") for body in asked(server, "lab/writer")] == [2, 2]
    assert b"Turn 2." in written(file)
    assert b"advise" not in written(file)


def crashing(body: dict[str, Any], crashes: list[Reply]) -> Any:
    return crashes.pop() if body["model"] == "lab/writer" and crashes else script(body, steps=[])


def durable() -> StateGraph[Any, Any, Any, Any]:
    return create_moa_graph(proposers=PROPOSERS, aggregator="lab/writer")


@both
def test_after_a_crash_in_the_aggregator_a_new_graph_asks_it_alone(together, tmp_path, asynchronous):
    server, file = together(partial(crashing, crashes=[Reply(status=400)])), tmp_path / "thread.sqlite"
    with pytest.raises(BadRequestError):
        visit(file, durable(), {"messages": QUESTION}, asynchronous=asynchronous)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 1}
    state = visit(file, durable(), None, asynchronous=asynchronous)
    assert [message.text for message in state["messages"]] == [QUESTION, ANSWER]
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 2}
    first, second = asked(server, "lab/writer")
    assert first["messages"] == second["messages"]


@both
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_proposers_failure_survives_the_crash_too(together, tmp_path, asynchronous, rounds):
    crashes = [Reply(status=400)]

    def answer(body: dict[str, Any]) -> Any:
        return Reply(status=400, error="no b today") if body["model"] == "lab/b" else crashing(body, crashes)

    server, file = together(answer), tmp_path / "thread.sqlite"
    graph = create_moa_graph(proposers=PROPOSERS, rounds=rounds, aggregator="lab/writer")
    with pytest.raises(BadRequestError):
        visit(file, graph, {"messages": QUESTION}, asynchronous=asynchronous)
    state = visit(file, graph, None, asynchronous=asynchronous)
    assert times_asked(server) == {"lab/a": rounds, "lab/b": rounds, "lab/writer": 2}
    assert asked(server, "lab/writer")[1]["messages"][0]["content"].endswith("models:\n1. Xylophones advise.")
    moa = state["messages"][-1].response_metadata["moa"]
    assert [each["proposer"] for each in moa["degraded"]] == ["b"] * rounds
    assert "no b today" in moa["layers"][-1][1]["error"]


@both
def test_references_do_not_grow_from_turn_to_turn(together, tmp_path, asynchronous):
    server, file = together(partial(script, steps=[])), tmp_path / "thread.sqlite"
    for turn in (1, 2, 3):
        state = visit(file, durable(), {"messages": f"Turn {turn}."}, asynchronous=asynchronous)
        assert len(state["messages"]) == 2 * turn
    for body in asked(server, "lab/writer"):
        contents = "\n".join(message["content"] for message in body["messages"])
        assert contents.count("\n1. Xylophones advise.\n2. Zeppelins advise.") == contents.count("advise.") / 2 == 1
    with SqliteSaver.from_conn_string(str(file)) as saver:
        held = [each.checkpoint["channel_values"].get("references", []) for each in saver.list(THREAD)]
    assert max(map(len, held)) == 2


# -- Agents within graphs, as langgraph-supervisor builds them ---------------------------------------------------------


@tool
def transfer_to_researcher(runtime: ToolRuntime) -> Command[Any]:
    """Let the researcher find out."""
    handed = ToolMessage("Transferred.", tool_call_id=runtime.tool_call_id, name="transfer_to_researcher")
    update = {"messages": [*runtime.state["messages"], handed]}
    return Command(goto="researcher", graph=Command.PARENT, update=update)


def team(*, asynchronous: bool, called: bool = False) -> Any:
    """A supervisor that hands over to a researcher, both agents with a mixture of their own, in a graph of theirs.

    Args:
        asynchronous: How a node calls the researcher.
        called: The researcher is called within a node, as langgraph-supervisor does, rather than being the node.
    """
    researcher = create_agent(mixture(), TOOLS, name="researcher")

    def call_it(state: MessagesState) -> Any:
        return researcher.invoke(state)

    async def acall_it(state: MessagesState) -> Any:
        return await researcher.ainvoke(state)

    calling = acall_it if asynchronous else call_it
    chief = mixture(proposers=["lab/c"], aggregator="lab/chief")
    graph = StateGraph(MessagesState)
    graph.add_node("supervisor", create_agent(chief, [transfer_to_researcher], name="supervisor"))
    graph.add_node("researcher", calling if called else researcher)
    graph.add_edge(START, "supervisor")
    graph.add_edge("researcher", "supervisor")
    return graph.compile()


def team_script(body: dict[str, Any]) -> Any:
    if body["model"] == "lab/c":
        return "Cymbals advise."
    if body["model"] != "lab/chief":
        # The handover is a step of the same user turn, but not one of the researcher's.
        return script(body, steps=[(call(0, "transfer_to_researcher"),), *STEPS])
    if steps_of_the_turn(body) == 0:
        return Reply(text=None, tool_calls=(call(0, "transfer_to_researcher"),))
    return "As I said."


every_nesting = pytest.mark.parametrize("called", [False, True], ids=["a subgraph", "called in a node"])


@both
@every_nesting
def test_agents_in_a_graph_hand_over_and_each_asks_its_proposers_once(together, asynchronous, called):
    server, tracer = together(team_script), TreeTracer()
    state = run(
        team(asynchronous=asynchronous, called=called),
        {"messages": QUESTION},
        asynchronous=asynchronous,
        config={"callbacks": [tracer]},
    )
    assert [message.text for message in state["messages"]][-2:] == [ANSWER, "As I said."]
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/c": 1, "lab/chief": 2, "lab/writer": 4}
    assert not server.errors
    assert len(tracer.roots) == 1
    names = [name for _, kind, name in tracer.tree() if kind == "llm"]
    assert sorted(names) == sorted(["ChatMoA", "aggregator"] * 6 + ["a", "b", "c"])
    assert all(each.end_time for each in tracer.runs())
    parents = {each.id: each.name for each in tracer.runs()}
    assert {parents[each.parent_run_id] for each in tracer.runs() if each.name == "ChatMoA"} == {"model"}


@both
@every_nesting
def test_the_stream_of_agents_in_a_graph_has_every_token_once(together, asynchronous, called):
    together(team_script)
    graph = team(asynchronous=asynchronous, called=called)
    items = streamed(graph, asynchronous=asynchronous, stream_mode="messages", subgraphs=True)
    assert "".join(tokens([message for _, (message, _) in items])) == f"{ANSWER}As I said."
    assert "advise" not in str(items)
