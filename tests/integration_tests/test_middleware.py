"""A panel beside an agent's own model, over HTTP: what is asked how often, and what the caller sees of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from contextvars import copy_context
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_anthropic import ChatAnthropic
from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware
from langchain_aws import ChatBedrockConverse
from langchain_aws.middleware import BedrockPromptCachingMiddleware
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from openai import BadRequestError
from pydantic import BaseModel

from langchain_moa import ChatMoA, Proposer, ProposersFailedError
from langchain_moa._messages.prompts import ACT_ON_ADVICE
from langchain_moa._models.transport import http_clients
from langchain_moa.gates import unless_scouts_agree, unless_small_talk
from langchain_moa.middleware import MoAMiddleware
from tests.anthropic_server import AnthropicServer
from tests.integration_tests.test_agents import (
    ANSWER,
    PROPOSERS,
    QUESTION,
    SECRETS,
    THREAD,
    TOOLS,
    asked,
    book,
    call,
    conversation,
    convert,
    script,
    times_asked,
    tokens,
    weather,
)
from tests.openai_server import OpenAIServer, Reply
from tests.traces import TreeTracer

ONE_CALL = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
REFERENCES = "\n1. Xylophones advise.\n2. Zeppelins advise."


class Caller:
    """Asks agents in one of the two ways; the async way on one event loop, which models' connections belong to."""

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self._runner = runner

    def _run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine, context=copy_context())

    def invoke(self, agent: Any, input: Any, config: Any = None) -> Any:
        input = {"messages": input} if isinstance(input, str) else input
        return self._run(agent.ainvoke(input, config)) if self._runner else agent.invoke(input, config)

    def all(self, agent: Any, input: str, configs: Sequence[Any]) -> list[Any]:
        """Ask once with each config, all at the same time."""
        if not self._runner:
            with ThreadPoolExecutor(len(configs)) as pool:
                return list(pool.map(lambda config: agent.invoke({"messages": input}, config), configs))

        async def gather() -> list[Any]:
            return await asyncio.gather(*[agent.ainvoke({"messages": input}, config) for config in configs])

        return self._run(gather())

    def close(self, client: Any) -> None:
        """Close the client of an async caller's model, which else keeps connections of a loop that has ended."""
        if self._runner:
            self._run(client.close())

    def stream(self, agent: Any, input: str, **options: Any) -> list[Any]:
        if not self._runner:
            return list(agent.stream({"messages": input}, **options))

        async def collect() -> list[Any]:
            return [item async for item in agent.astream({"messages": input}, **options)]

        return self._run(collect())

    def visit(self, file: Path, build: Any, input: Any, config: Any = THREAD) -> Any:
        """Open the database, build the agent anew over it, ask once, and close everything again."""
        if not self._runner:
            with SqliteSaver.from_conn_string(str(file)) as saver:
                return self.invoke(build(saver), input, config)

        async def visit() -> Any:
            async with AsyncExitStack() as stack:
                saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(file)))
                return await build(saver).ainvoke(input, config)

        return self._run(visit())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    if not request.param:
        yield Caller(None)
        return
    with asyncio.Runner() as runner:
        yield Caller(runner)


def own_model(server: OpenAIServer, model: str = "lab/writer", **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=server.url, api_key="k", max_retries=0, **http_clients(), **options)


def panel(**options: Any) -> MoAMiddleware:
    return MoAMiddleware(**{"proposers": PROPOSERS, **options})


def agent(server: OpenAIServer, *middleware: AgentMiddleware[Any, Any, Any], tools: Any = TOOLS, **options: Any) -> Any:
    return create_agent(own_model(server), tools, system_prompt="Be terse.", middleware=middleware, **options)


def account(message: Any) -> dict[str, Any]:
    return message.response_metadata["moa"]["panel"]


def degraded(message: Any) -> list[str]:
    return [each["reason"] for each in account(message)["degraded"]]


def sums(usage: dict[str, Any]) -> dict[str, int]:
    return {model: each["total_tokens"] for model, each in usage.items()}


# -- References at the end of requests ---------------------------------------------------------------------------------


def test_the_panel_is_asked_once_in_a_turn_and_stands_at_the_end_of_every_step(together, caller):
    server = together(script)
    state = caller.invoke(agent(server, panel()), QUESTION)
    assert state["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}
    assert not server.errors
    steps = asked(server, "lab/writer")
    tails = [body["messages"][-1]["content"].partition(ACT_ON_ADVICE)[2] for body in steps]
    assert tails[0].endswith(REFERENCES)
    assert set(tails) == {tails[0]}
    for step, following in pairwise(steps):
        assert step["messages"][-1]["role"] == "user"
        assert step["tools"] == following["tools"]
        # The first difference between two requests, byte by byte, is where the references begin.
        sent, sent_next = json.dumps(step["messages"]), json.dumps(following["messages"])
        before, _, _ = sent.partition(json.dumps(ACT_ON_ADVICE)[1:-1])
        assert sent_next.startswith(before.removesuffix("\\n\\n").removesuffix(', {"content": "'))
    assert "advise" not in str(state["messages"])


def test_the_steps_are_what_they_are_without_a_panel_but_for_its_references(together, caller):
    server = together(script)
    caller.invoke(agent(server), QUESTION)
    alone = [{**body} for body in server.requests]
    server.reset()
    caller.invoke(agent(server, panel()), QUESTION)
    beside = [{**body, "messages": conversation(body)} for body in asked(server, "lab/writer")]
    assert beside == alone


def test_the_panel_sees_what_the_model_sees_as_advisers_without_tools(together, caller):
    server = together(script)
    caller.invoke(agent(server, panel()), QUESTION)
    for body in [*asked(server, "lab/a"), *asked(server, "lab/b")]:
        assert not {"tools", "tool_choice", "parallel_tool_calls", "response_format"} & set(body)
        system, question = body["messages"]
        catalog = "- weather: Tell the weather of a city.\n- convert: Turn degrees Celsius into Fahrenheit."
        assert system["content"].startswith("Be terse.\n\n")
        assert system["content"].endswith(catalog)
        assert question == {"role": "user", "content": QUESTION}


def test_the_next_turn_asks_the_panel_again_and_the_references_before_are_gone(together, caller):
    server = together(script)
    graph = agent(server, panel(), checkpointer=InMemorySaver())
    caller.invoke(graph, QUESTION, THREAD)
    state = caller.invoke(graph, "And tomorrow?", THREAD)
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 8}
    assert json.dumps(asked(server, "lab/writer")[4]).count("Xylophones") == 1
    assert asked(server, "lab/a")[1]["messages"][-1]["content"] == "And tomorrow?"
    assert sums(state["moa_usage"]) == {"lab/a": 36, "lab/b": 36}


def test_layers_and_a_quorum_are_as_in_a_mixture(together, caller):
    has_begun, slow = threading.Event(), threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if body["model"] == "lab/slow":
            has_begun.set()
            return Reply(text="late", gate=slow)
        return Reply(text=SECRETS[body["model"]], gate=has_begun) if body["model"] in SECRETS else script(body)

    server = together(answer)
    layers = [[*PROPOSERS, "lab/slow"], ["lab/a"]]
    state = caller.invoke(agent(server, MoAMiddleware(layers=layers, quorum=0.6, prompt="fenced")), QUESTION)
    slow.set()
    assert times_asked(server) == {"lab/a": 2, "lab/b": 1, "lab/slow": 1, "lab/writer": 4}
    assert "[response 2 " in asked(server, "lab/a")[1]["messages"][-1]["content"]
    assert "[response 1 " in asked(server, "lab/writer")[0]["messages"][-1]["content"]
    assert degraded(state["messages"][1]) == ["proposer_cancelled"]


def test_a_gate_decides_once_in_a_turn(together, caller):
    server, seen = together(script), []

    def gate(messages: Sequence[Any]) -> bool:
        seen.append([message.text for message in messages])
        return unless_small_talk(messages)

    graph = agent(server, panel(when=gate), checkpointer=InMemorySaver())
    state = caller.invoke(graph, "Good morning!", THREAD)
    assert times_asked(server) == {"lab/writer": 4}
    assert seen == [["Be terse.", "Good morning!"]]
    assert account(state["messages"][1])["gate"]["asked"] is False
    assert degraded(state["messages"][1]) == []
    caller.invoke(graph, QUESTION, THREAD)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 8}
    assert len(seen) == 2


def test_what_the_models_of_a_gate_use_is_counted(together, caller):
    server = together(lambda body: "7" if body["model"].startswith("scout") else script(body))
    scouts = [own_model(server, "scout/1"), own_model(server, "scout/2")]
    state = caller.invoke(agent(server, panel(when=unless_scouts_agree(*scouts))), QUESTION)
    assert times_asked(server) == {"lab/writer": 4, "scout/1": 1, "scout/2": 1}
    assert sums(state["moa_usage"]) == {"scout/1": 18, "scout/2": 18}


def test_an_agent_answers_in_its_schema(together, caller):
    class Report(BaseModel):
        """The weather, as a form."""

        fahrenheit: int

    end = Reply(text=None, tool_calls=(call(9, "Report", fahrenheit=68),))
    server = together(partial(script, end=end))
    state = caller.invoke(agent(server, panel(), response_format=ToolStrategy(Report)), QUESTION)
    assert state["structured_response"] == Report(fahrenheit=68)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}


def test_an_agent_without_tools_has_a_panel_too(together, caller):
    server = together(partial(script, steps=[]))
    assert caller.invoke(agent(server, panel(), tools=[]), QUESTION)["messages"][-1].text == ANSWER
    assert ACT_ON_ADVICE not in str(server.requests)
    assert asked(server, "lab/writer")[0]["messages"][-1]["content"].endswith(REFERENCES)


def test_a_mixture_may_act_and_keeps_its_own_account(together, caller):
    server = together(script)
    acting = ChatMoA(proposers=["lab/b"], aggregator="lab/writer")
    state = caller.invoke(create_agent(acting, TOOLS, middleware=[panel(proposers=["lab/a"])]), QUESTION)
    assert times_asked(server)["lab/a"] == 1
    first = state["messages"][1].response_metadata["moa"]
    assert [calls[0]["proposer"] for calls in (*first["layers"], *first["panel"]["layers"])] == ["b", "a"]


# -- What is seen from outside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subgraphs", [False, True], ids=["", "subgraphs"])
@pytest.mark.parametrize("when", ["user_turn", "tool"])
def test_an_agents_stream_has_no_token_of_the_panel(together, caller, subgraphs, when):
    server = together(partial(script, steps=CONSULTING) if when == "tool" else script)
    graph = agent(server, panel(when=when))
    items = caller.stream(graph, QUESTION, stream_mode="messages", subgraphs=subgraphs)
    messages = [item[1][0] if subgraphs else item[0] for item in items]
    assert "".join(tokens(messages)) == ANSWER
    assert "advise" not in str([message for message in messages if not isinstance(message, ToolMessage)])
    assert times_asked(server)["lab/a"] == 1


@pytest.mark.parametrize("when", ["user_turn", "tool"])
async def test_an_agents_events_are_of_its_own_model_alone_and_tell_of_progress(together, when):
    server = together(partial(script, steps=CONSULTING) if when == "tool" else script)
    events = [event async for event in agent(server, panel(when=when)).astream_events({"messages": QUESTION})]
    models = {event["name"] for event in events if event["event"].startswith("on_chat_model")}
    assert models == {"ChatOpenAI"}
    streamed = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(streamed) == ANSWER
    progress = [event["name"] for event in events if event["event"] == "on_custom_event"]
    assert progress == ["moa_proposer_start"] * 2 + ["moa_proposer_end"] * 2 + ["moa_layer_end"]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")  # events v3 are in beta
def test_an_agents_events_v3_have_no_message_of_the_panel(together):
    stream = agent(together(script), panel()).stream_events({"messages": QUESTION}, version="v3")
    assert ["".join(message.text) for message in stream.messages] == ["", "", "", ANSWER]


async def test_an_agent_that_is_canceled_cancels_its_panel(together):
    server = together(lambda body: Reply(text="late", gate=threading.Event()))
    task = asyncio.create_task(agent(server, panel()).ainvoke({"messages": QUESTION}))
    await asyncio.to_thread(server.wait_for, lambda: len(server.requests) == 2)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.to_thread(server.wait_for, lambda: sorted(server.closed_by_client) == PROPOSERS)
    assert task.cancelled()


async def test_a_sync_agent_works_within_a_running_event_loop(together):
    server = together(script)
    assert agent(server, panel()).invoke({"messages": QUESTION})["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}


def test_progress_reaches_the_custom_stream(together, caller):
    items = caller.stream(agent(together(script), panel()), QUESTION, stream_mode="custom")
    assert [item["event"] for item in items][-1] == "moa_layer_end"
    assert "advise" not in str(items)


INSIDE = ["panel", "layer_1_proposer_01", "a", "layer_1_proposer_02", "b", "references"]


@pytest.mark.parametrize(("when", "above"), [("user_turn", "model"), ("tool", "consult_panel")])
def test_the_panels_calls_are_in_the_agents_trace_and_count_once(together, caller, when, above):
    server, tracer = together(partial(script, steps=CONSULTING) if when == "tool" else script), TreeTracer()
    with get_usage_metadata_callback() as usage:
        state = caller.invoke(agent(server, panel(when=when)), QUESTION, {"callbacks": [tracer]})
    assert len(tracer.roots) == 1
    assert all(run.end_time and not run.error for run in tracer.runs())
    lines = tracer.tree()
    start = next(i for i, (_, _, name) in enumerate(lines) if name == "panel")
    assert [name for _, _, name in lines[start : start + len(INSIDE)]] == INSIDE
    panels = [run for run in tracer.runs() if run.name == "panel"]
    names = {run.id: run.name for run in tracer.runs()}
    assert [names[run.parent_run_id] for run in panels] == [above]
    calls = len(server.requests)
    assert sums(usage.usage_metadata) == {"lab/a": 18, "lab/b": 18, "lab/writer": 18 * (calls - 2)}
    assert state["moa_usage"] == {name: usage.usage_metadata[name] for name in PROPOSERS}
    own = [message.usage_metadata for message in state["messages"] if isinstance(message, AIMessage)]
    assert {each["total_tokens"] for each in own} == {18}


def test_an_ordinary_callback_handler_sees_the_panels_calls(together, caller):
    class Listener(BaseCallbackHandler):
        def __init__(self) -> None:
            self.started: list[str] = []

        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            self.started.append(kwargs["name"] or "own")

    listener = Listener()
    caller.invoke(agent(together(script), panel()), QUESTION, {"callbacks": [listener]})
    assert sorted(listener.started) == ["a", "b", *["own"] * 4]


# -- Threads, interrupts, crashes --------------------------------------------------------------------------------------


def test_an_interrupted_turn_goes_on_over_the_same_database_without_asking_again(together, caller, tmp_path):
    server = together(
        partial(script, steps=[(call(1, "weather", city="Paris"),), (call(2, "book", city="Paris"),)], end="Done.")
    )

    def build(saver: Any) -> Any:  # as in another process: nothing but the database knows of the turn
        return agent(server, panel(), tools=[weather, book], checkpointer=saver)

    file = tmp_path / "threads.sqlite"
    stopped = caller.visit(file, build, {"messages": QUESTION})
    assert [each.value for each in stopped["__interrupt__"]] == ["Book Paris?"]
    state = caller.visit(file, build, Command(resume="two"))
    assert [message.text for message in state["messages"][-2:]] == ["Booked for two.", "Done."]
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 3}
    assert asked(server, "lab/writer")[-1]["messages"][-1]["content"].endswith(REFERENCES)


def test_after_a_crash_at_a_later_step_the_panel_is_not_asked_again(together, caller, tmp_path):
    crashes = [Reply(status=400)]

    def answer(body: dict[str, Any]) -> Any:
        later = body["model"] == "lab/writer" and len(conversation(body)) > 2
        return crashes.pop() if later and crashes else script(body)

    server, file = together(answer), tmp_path / "threads.sqlite"
    build = lambda saver: agent(server, panel(), checkpointer=saver)  # noqa: E731
    with pytest.raises(BadRequestError):
        caller.visit(file, build, {"messages": QUESTION})
    assert caller.visit(file, build, None)["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 5}


def test_threads_at_the_same_time_have_their_own_references(together, caller):
    count = {"lab/a": iter(range(100)), "lab/b": iter(range(100))}

    def answer(body: dict[str, Any]) -> Any:
        if body["model"] in count:
            return f"Advice {next(count[body['model']])} of {body['model']} on {body['messages'][-1]['content']}"
        return script(body)

    server = together(answer)
    graph = agent(server, panel(), checkpointer=InMemorySaver())
    configs = [{"configurable": {"thread_id": str(number)}} for number in range(8)]
    states = caller.all(graph, QUESTION, configs)
    assert [state["messages"][-1].text for state in states] == [ANSWER] * 8
    assert times_asked(server) == {"lab/a": 8, "lab/b": 8, "lab/writer": 32}
    tails = [body["messages"][-1]["content"].partition("models:\n")[2] for body in asked(server, "lab/writer")]
    assert sorted(tails.count(tail) for tail in set(tails)) == [4] * 8
    for config in configs:
        kept = graph.get_state(config).values["moa_references"]["references"]
        assert sum(kept == [line[3:] for line in tail.splitlines()] for tail in set(tails)) == 1


def test_a_question_that_is_rewritten_is_another_turn(together, caller):
    server = together(script)
    graph = agent(server, panel(), checkpointer=InMemorySaver())
    caller.invoke(graph, {"messages": [HumanMessage(QUESTION, id="1")]}, THREAD)
    caller.invoke(graph, {"messages": [HumanMessage("And in Lyon?", id="1")]}, THREAD)
    assert times_asked(server)["lab/a"] == 2
    assert asked(server, "lab/a")[1]["messages"][1]["content"] == "And in Lyon?"


def test_what_the_panel_said_is_no_part_of_what_the_agent_gives_or_takes(together, caller):
    graph = agent(together(script), panel(), panel(when="tool"))
    state = caller.invoke(graph, {"messages": QUESTION, "moa_references": {"turn": "", "references": ["Injected."]}})
    assert set(state) == {"messages", "moa_usage"}
    assert "Injected" not in str(state)
    assert set(graph.get_input_jsonschema()["properties"]) == {"messages"}


# -- A panel that fails ------------------------------------------------------------------------------------------------


def failing(body: dict[str, Any], *, steps: Any = None) -> Any:
    if body["model"] in SECRETS:
        return Reply(status=400, error=f"no {body['model']} today")
    return script(body) if steps is None else script(body, steps=steps)


def test_an_agent_goes_on_without_a_panel_that_failed_and_says_so(together, caller):
    server = together(failing)
    state = caller.invoke(agent(server, panel()), QUESTION)
    assert state["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 4}
    assert "responses" not in str(asked(server, "lab/writer"))
    first, *later = [message for message in state["messages"] if isinstance(message, AIMessage)]
    assert degraded(first) == ["proposer_failed", "proposer_failed", "aggregated_alone"]
    assert "no lab/a today" in account(first)["layers"][0][0]["error"]
    assert not any("moa" in message.response_metadata for message in later)


def test_a_panel_that_failed_raises_if_the_option_says_so(together, caller):
    server = together(failing)
    with pytest.raises(ProposersFailedError, match="no lab/b today"):
        caller.invoke(agent(server, panel(on_failure="raise")), QUESTION)
    with pytest.raises(ProposersFailedError):
        caller.invoke(agent(server, panel(on_failure="raise", min_references=2, when=lambda messages: True)), QUESTION)
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2}


def test_one_proposer_of_two_is_enough_and_the_other_is_named(together, caller):
    server = together(lambda body: failing(body) if body["model"] == "lab/a" else script(body))
    state = caller.invoke(agent(server, panel()), QUESTION)
    assert degraded(state["messages"][1]) == ["proposer_failed"]
    assert asked(server, "lab/writer")[0]["messages"][-1]["content"].endswith("\n1. Zeppelins advise.")


# -- The tool ----------------------------------------------------------------------------------------------------------

CONSULTING = [(call(1, "consult_panel", question="Is 20 C warm?"),), (call(2, "convert", celsius=20),)]


def results(state: Any) -> list[ToolMessage]:
    return [each for each in state["messages"] if isinstance(each, ToolMessage) and each.name == "consult_panel"]


def test_the_model_asks_the_panel_by_a_tool(together, caller):
    server = together(partial(script, steps=CONSULTING))
    state = caller.invoke(agent(server, panel(when="tool")), QUESTION)
    assert state["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 3}
    assert not server.errors
    assert [body["messages"] for body in asked(server, "lab/a")] == [[{"role": "user", "content": "Is 20 C warm?"}]]
    tools = {each["function"]["name"]: each["function"] for each in asked(server, "lab/writer")[0]["tools"]}
    assert list(tools["consult_panel"]["parameters"]["properties"]) == ["question"]
    [result] = results(state)
    assert (result.status, result.tool_call_id) == ("success", "call_1")
    assert result.text.startswith(ACT_ON_ADVICE)
    assert result.text.endswith(REFERENCES)
    assert {key: account(result)["usage"][key] for key in ONE_CALL} == {key: 2 * ONE_CALL[key] for key in ONE_CALL}
    assert sums(state["moa_usage"]) == {"lab/a": 18, "lab/b": 18}
    # The conversation is as the agent keeps it: nothing stands at its end.
    assert asked(server, "lab/writer")[-1]["messages"][-1]["role"] == "tool"


def consult(number: int) -> dict[str, Any]:
    return call(number, "consult_panel", question=f"Question {number}?")


def test_the_model_may_ask_so_often_in_a_turn_whether_in_one_step_or_in_several(together, caller):
    server = together(partial(script, steps=[(consult(1),), (consult(2), consult(3), consult(4)), (consult(5),)]))
    graph = agent(server, panel(when="tool", max_uses=3), checkpointer=InMemorySaver())
    state = caller.invoke(graph, QUESTION, THREAD)
    assert [result.status for result in results(state)] == ["success"] * 3 + ["error"] * 2
    assert "as often as it may be" in results(state)[-1].text
    assert times_asked(server) == {"lab/a": 3, "lab/b": 3, "lab/writer": 4}
    assert sums(state["moa_usage"]) == {"lab/a": 54, "lab/b": 54}
    state = caller.invoke(graph, "And tomorrow?", THREAD)
    assert times_asked(server) == {"lab/a": 6, "lab/b": 6, "lab/writer": 8}
    assert sums(state["moa_usage"]) == {"lab/a": 108, "lab/b": 108}


def test_an_empty_question_is_the_models_mistake(together, caller):
    server = together(partial(script, steps=[(call(1, "consult_panel", question=" "),)]))
    [result] = results(caller.invoke(agent(server, panel(when="tool")), QUESTION))
    assert result.status == "error"
    assert "question" in result.text
    assert times_asked(server) == {"lab/writer": 2}


def test_the_model_learns_that_a_panel_it_asked_has_failed(together, caller):
    server = together(partial(failing, steps=CONSULTING))
    state = caller.invoke(agent(server, panel(when="tool")), QUESTION)
    [result] = results(state)
    assert (result.status, result.text) == ("error", "The panel gave no advice. Go on without it.")
    assert degraded(result)[-1] == "aggregated_alone"
    assert state["messages"][-1].text == ANSWER
    with pytest.raises(ProposersFailedError):
        caller.invoke(agent(server, panel(when="tool", on_failure="raise")), QUESTION)


def test_an_agent_may_have_a_panel_for_each_turn_and_one_to_ask(together, caller):
    server = together(lambda body: "Cymbals advise." if body["model"] == "lab/c" else script(body, steps=CONSULTING))
    state = caller.invoke(agent(server, panel(), panel(when="tool", proposers=["lab/c"])), QUESTION)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/c": 1, "lab/writer": 3}
    assert results(state)[0].text.endswith("\n1. Cymbals advise.")
    assert [str(body["messages"]).count("Xylophones") for body in asked(server, "lab/writer")] == [1, 1, 1]
    assert sums(state["moa_usage"]) == {"lab/a": 18, "lab/b": 18, "lab/c": 18}


# -- With other middleware ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["panel outside", "panel inside"])
def test_attempts_of_one_step_ask_the_panel_once(together, caller, first):
    refusals = [Reply(status=400), Reply(status=400), Reply(status=400)]

    def answer(body: dict[str, Any]) -> Any:
        if body["model"] == "lab/writer" and refusals:
            return refusals.pop()
        return Reply(status=400) if body["model"] == "lab/writer" else script(body)

    server = together(answer)
    others = [
        ModelFallbackMiddleware(own_model(server, "lab/second")),
        ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error"),
    ]
    state = caller.invoke(agent(server, *([panel(), *others] if first else [*others, panel()])), QUESTION)
    assert state["messages"][-1].text == ANSWER
    assert times_asked(server)["lab/a"] == times_asked(server)["lab/b"] == 1
    assert times_asked(server)["lab/second"] == 4
    for body in [*asked(server, "lab/writer"), *asked(server, "lab/second")]:
        assert body["messages"][-1]["content"].endswith(REFERENCES)
    assert degraded(state["messages"][1]) == []
    assert sums(state["moa_usage"]) == {"lab/a": 18, "lab/b": 18}


def test_a_turn_that_is_summarized_within_keeps_its_references(together, caller):
    server = together(lambda body: "Summary." if body["model"] == "lab/summary" else counting(body))
    steps = iter([*[(call(n, "weather", city="Paris"),) for n in range(1, 6)], None])

    def counting(body: dict[str, Any]) -> Any:
        if body["model"] in SECRETS:
            return SECRETS[body["model"]]
        step = next(steps)
        return Reply(text=None, tool_calls=step) if step else ANSWER

    summing = SummarizationMiddleware(own_model(server, "lab/summary"), trigger=("messages", 5), keep=("messages", 2))
    graph = agent(server, panel(), panel(when="tool", max_uses=1), summing, checkpointer=InMemorySaver())
    state = caller.invoke(graph, QUESTION, THREAD)
    assert state["messages"][-1].text == ANSWER
    asked_for = times_asked(server)
    assert asked_for.pop("lab/summary") >= 2
    assert asked_for == {"lab/a": 1, "lab/b": 1, "lab/writer": 6}
    assert QUESTION not in [message.text for message in state["messages"]]
    assert all(body["messages"][-1]["content"].endswith(REFERENCES) for body in asked(server, "lab/writer"))


def test_uses_are_counted_by_turn_also_where_the_turns_message_is_summarized(together, caller):
    steps = iter(
        [(consult(1),), None, *[(call(n, "weather", city="Paris"),) for n in range(2, 6)], (consult(6),), None]
    )

    def answer(body: dict[str, Any]) -> Any:
        if body["model"] in SECRETS:
            return SECRETS[body["model"]]
        if body["model"] == "lab/summary":
            return "Summary."
        step = next(steps)
        return Reply(text=None, tool_calls=step) if step else ANSWER

    server = together(answer)
    summing = SummarizationMiddleware(own_model(server, "lab/summary"), trigger=("messages", 6), keep=("messages", 2))
    graph = agent(server, panel(when="tool", max_uses=1), summing, checkpointer=InMemorySaver())
    caller.invoke(graph, QUESTION, THREAD)
    state = caller.invoke(graph, "And tomorrow?", THREAD)
    assert "And tomorrow?" not in [message.text for message in state["messages"]]
    assert results(state)[-1].status == "success"
    assert times_asked(server)["lab/a"] == 2


def test_a_human_in_the_loop_approves_a_tool_and_the_question_to_the_panel(together, caller):
    server = together(partial(script, steps=[(consult(1), call(2, "weather", city="Paris")), (consult(3),)]))
    hitl = HumanInTheLoopMiddleware(interrupt_on={"consult_panel": True})
    graph = agent(server, panel(), panel(when="tool", max_uses=1), hitl, checkpointer=InMemorySaver())
    assert "__interrupt__" in caller.invoke(graph, QUESTION, THREAD)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 1}
    # A question that was turned down is no use.
    assert "__interrupt__" in caller.invoke(graph, Command(resume={"decisions": [{"type": "reject"}]}), THREAD)
    state = caller.invoke(graph, Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert [result.status for result in results(state)] == ["error", "success"]
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 3}
    assert asked(server, "lab/a")[1]["messages"] == [{"role": "user", "content": "Question 3?"}]


def test_a_limit_on_model_calls_counts_the_agents_own(together, caller):
    server = together(script)
    limit = ModelCallLimitMiddleware(run_limit=2, exit_behavior="end")
    caller.invoke(agent(server, panel(), limit), QUESTION)
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/writer": 2}


def test_it_gets_along_with_much_of_langchains_middleware_at_once(together, caller):
    server = together(partial(script, steps=[CONSULTING[0], (call(2, "weather", city="Paris"),)]))
    everything = [
        PIIMiddleware("email", strategy="redact"),
        SummarizationMiddleware(own_model(server, "lab/summary"), trigger=("messages", 50), keep=("messages", 20)),
        TodoListMiddleware(),
        ModelCallLimitMiddleware(run_limit=10),
        ToolCallLimitMiddleware(run_limit=10),
        ModelFallbackMiddleware(own_model(server, "lab/second")),
        panel(),
        panel(when="tool", max_uses=2),
        ModelRetryMiddleware(max_retries=1),
        ToolRetryMiddleware(max_retries=1),
        HumanInTheLoopMiddleware(interrupt_on={"weather": True}),
        AnthropicPromptCachingMiddleware(unsupported_model_behavior="ignore"),
    ]
    graph = agent(server, *everything, checkpointer=InMemorySaver())
    assert "__interrupt__" in caller.invoke(graph, f"{QUESTION} Mail me@example.com.", THREAD)
    state = caller.invoke(graph, Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert state["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 3}
    assert "me@example.com" not in str(server.requests)
    assert "[REDACTED_EMAIL]" in str(asked(server, "lab/a")[0])
    assert not server.errors


# -- Anthropic's own model, and its prompt caching ---------------------------------------------------------------------


def claude(body: dict[str, Any]) -> list[dict[str, Any]]:
    done = sum(
        block["type"] == "tool_use" for m in body["messages"] if m["role"] == "assistant" for block in m["content"]
    )
    if done == 2:
        return [{"type": "text", "text": ANSWER}]
    return [{"type": "tool_use", "id": f"toolu_{done}", "name": "weather", "input": {"city": "Paris"}}]


def blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the content blocks of a request's messages, a plain text as the block that it stands for."""
    found: list[dict[str, Any]] = []
    for message in body["messages"]:
        content = message["content"]
        found += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return found


def unmarked(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}


def test_prompt_caching_of_anthropic_caches_the_conversation_before_the_references(together, caller):
    server = together(script)
    with AnthropicServer(claude) as anthropic:
        model = ChatAnthropic(model="claude-sonnet-4-6", base_url=anthropic.url, api_key="k", max_retries=0)
        caching = AnthropicPromptCachingMiddleware(unsupported_model_behavior="raise")
        graph = create_agent(model, [weather], system_prompt="Be terse.", middleware=[caching, panel()])
        state = caller.invoke(graph, QUESTION)
        caller.close(model._async_client)
    assert state["messages"][-1].text == ANSWER
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1}
    assert len(anthropic.requests) == 3
    for body in anthropic.requests:
        assert body["system"][-1]["cache_control"] == body["tools"][-1]["cache_control"]
        assert "cache_control" not in body
        *cached, references = blocks(body)
        assert [i for i, block in enumerate(cached) if "cache_control" in block] == [len(cached) - 1]
        assert references["text"].endswith(REFERENCES)
    for body, following in pairwise(anthropic.requests):
        cached = list(map(unmarked, blocks(body)[:-1]))
        assert list(map(unmarked, blocks(following)))[: len(cached)] == cached


class Converse:
    """Stands for boto3's client, whose requests are signed and go to no other host."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def converse(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
        message = {"role": "assistant", "content": [{"text": ANSWER}]}
        return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}


def test_prompt_caching_of_bedrock_is_left_to_its_model(together):
    together(script)
    client = Converse()
    model = ChatBedrockConverse(
        model="anthropic.claude-sonnet-4-5-20250929-v1:0", client=client, bedrock_client=client, provider="anthropic"
    )
    middleware = [BedrockPromptCachingMiddleware(unsupported_model_behavior="raise"), panel()]
    state = create_agent(model, [weather], system_prompt="Be terse.", middleware=middleware).invoke(
        {"messages": QUESTION}
    )
    assert state["messages"][-1].text == ANSWER
    [request] = client.requests
    assert "cachePoint" in request["system"][-1]
    assert "cachePoint" in request["messages"][-1]["content"][-1]


# -- deepagents --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("when", ["user_turn", "tool"])
def test_a_deep_agent_and_its_subagent_have_panels_and_count_both(together, caller, when):
    deepagents = pytest.importorskip("deepagents")
    chief = [(call(1, "task", description="Find out.", subagent_type="researcher"),)]

    def answer(body: dict[str, Any]) -> Any:
        if body["model"] == "lab/c":
            return "Cymbals advise."
        if body["model"] == "lab/chief":
            return script(body, steps=[*CONSULTING[:1], *chief] if when == "tool" else chief, end="As I was told.")
        return script(body, steps=CONSULTING[:1] if when == "tool" else STEPS_OF_SUBAGENT)

    server = together(answer)
    researcher = {
        "name": "researcher",
        "description": "Finds out.",
        "system_prompt": "Find out.",
        "model": own_model(server),
        "tools": [weather, convert],
        "middleware": [panel(proposers=["lab/c"], when=when)],
    }
    graph = deepagents.create_deep_agent(
        own_model(server, "lab/chief"), [], middleware=[panel(when=when)], subagents=[researcher]
    )
    with get_usage_metadata_callback() as usage:
        state = caller.invoke(graph, QUESTION)
    assert state["messages"][-1].text == "As I was told."
    steps = 3 if when == "tool" else 2
    assert times_asked(server) == {"lab/a": 1, "lab/b": 1, "lab/c": 1, "lab/chief": steps, "lab/writer": 2}
    assert sums(state["moa_usage"]) == {"lab/a": 18, "lab/b": 18, "lab/c": 18}
    assert sums(usage.usage_metadata)["lab/c"] == 18
    assert not server.errors


STEPS_OF_SUBAGENT = [(call(2, "weather", city="Paris"),)]


# -- Options -----------------------------------------------------------------------------------------------------------


def test_a_panel_takes_what_a_mixture_takes_as_proposers(together, caller):
    server = together(script)
    expert = Proposer(model="lab/a", name="expert", samples=2, instructions="You are an expert.")
    nested = ChatMoA(proposers=["lab/b"], aggregator="lab/b")
    state = caller.invoke(agent(server, panel(proposers=[expert, nested])), QUESTION)
    assert times_asked(server) == {"lab/a": 2, "lab/b": 2, "lab/writer": 4}
    assert [each["proposer"] for each in account(state["messages"][1])["layers"][0]] == ["expert", "expert-2", "moa"]
    assert account(state["messages"][1])["usage"]["total_tokens"] == 4 * 18


def test_texts_and_order_are_in_the_account_if_wanted(together, caller):
    server = together(script)
    state = caller.invoke(agent(server, panel(shuffle=True, shuffle_seed=1, include_references=True)), QUESTION)
    told = account(state["messages"][1])
    assert [each["text"] for each in told["layers"][0]] == list(SECRETS.values())
    shown = asked(server, "lab/writer")[0]["messages"][-1]["content"].partition("models:\n")[2].splitlines()
    assert [line[3:] for line in shown] == [SECRETS[f"lab/{name}"] for name in told["order"][0]]


def test_references_that_would_overflow_the_acting_models_window_are_trimmed(together, caller):
    server = together(lambda body: "long " * 4000 if body["model"] in SECRETS else script(body))
    small = own_model(server, profile={"max_input_tokens": 4000}, max_tokens=500)
    state = caller.invoke(create_agent(small, TOOLS, middleware=[panel()]), QUESTION)
    assert degraded(state["messages"][1]) == ["references_trimmed"]
    assert all(len(json.dumps(body)) < 16_000 for body in asked(server, "lab/writer"))
