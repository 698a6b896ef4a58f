"""The same code with `ChatOpenAI` and with `ChatMoA`, against the same server: what a user sees is the same.

Packages of the group `ecosystem` that are not installed are skipped.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command
from pydantic import BaseModel

from langchain_moa import ChatMoA
from langchain_moa._messages.prompts import ACT_ON_ADVICE
from langchain_moa._models.transport import http_clients
from tests.openai_server import OpenAIServer
from tests.standard_model import answer

_ADVICE = ACT_ON_ADVICE.splitlines()[0]

Snippet = Callable[[BaseChatModel], Any]


def answer_the_user(body: dict[str, Any]) -> Any:
    """Answer what the user or a tool has said: an aggregator's last message may be, or end with, advice."""
    *before, last = body["messages"]
    if isinstance(last["content"], str) and _ADVICE in last["content"]:
        said = last["content"].partition(_ADVICE)[0].strip()
        before = [*before, {**last, "content": said}] if said else before
        return answer({**body, "messages": before})
    return answer(body)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer_the_user) as running:
        yield running


@pytest.fixture
def same(server: OpenAIServer) -> Callable[[Snippet], Any]:
    """Run a snippet with either model, check that the results are the same, and return them."""

    def run(snippet: Snippet) -> Any:
        plain = ChatOpenAI(model="writer", base_url=server.url, api_key="k", **http_clients())
        mixture = ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/writer", base_url=server.url, api_key="k")
        expected = snippet(plain)
        server.reset()
        assert snippet(mixture) == expected
        assert server.errors == []
        assert {"lab/a", "lab/b", "lab/writer"} <= {body["model"] for body in server.requests}
        return expected

    return run


def shown(messages: list[BaseMessage]) -> list[tuple[Any, ...]]:
    """What a user sees of messages: not their ids, not what they cost."""
    return [
        (message.type, message.text, [(call["name"], call["args"]) for call in getattr(message, "tool_calls", [])])
        for message in messages
    ]


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    sunny: bool


QUESTION = {"messages": [("user", "How is the weather?")]}


# -- Agents ------------------------------------------------------------------------------------------------------------


def test_an_agent_calls_its_tool_and_answers(same):
    messages = same(lambda model: shown(create_agent(model, [weather]).invoke(QUESTION)["messages"]))
    assert [kind for kind, *_ in messages] == ["human", "ai", "tool", "ai"]


def test_an_agent_streams_the_same_steps(same):
    def snippet(model):
        steps = create_agent(model, [weather]).stream(QUESTION, stream_mode="updates")
        return [(node, shown(update["messages"])) for step in steps for node, update in step.items()]

    assert [node for node, _ in same(snippet)] == ["model", "tools", "model"]


@pytest.mark.parametrize(
    "schema",
    [Weather, ToolStrategy(Weather), ProviderStrategy(Weather)],
    ids=["bare schema", "ToolStrategy", "ProviderStrategy"],
)
def test_an_agent_answers_in_a_schema(same, schema):
    def snippet(model):
        return create_agent(model, [], response_format=schema).invoke(QUESTION)["structured_response"]

    assert same(snippet) == Weather(city="a value", sunny=True)


# -- LangChain's middleware --------------------------------------------------------------------------------------------


def test_a_long_conversation_is_summarized(same):
    def snippet(model):
        middleware = SummarizationMiddleware(model=model, trigger=("messages", 4), keep=("messages", 1))
        history = [("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", "2"), ("user", "Three?")]
        return shown(create_agent(model, [], middleware=[middleware]).invoke({"messages": history})["messages"])

    assert len(same(snippet)) == 3


MIDDLEWARE = {
    "model call limit": lambda model: ModelCallLimitMiddleware(run_limit=1, exit_behavior="end"),
    "tool call limit": lambda model: ToolCallLimitMiddleware(run_limit=1),
    "fallback": lambda model: ModelFallbackMiddleware(model),
    "PII": lambda model: PIIMiddleware("email", strategy="redact"),
    "todo list": lambda model: TodoListMiddleware(),
}


@pytest.mark.parametrize("middleware", MIDDLEWARE.values(), ids=MIDDLEWARE)
def test_middleware_does_the_same(same, middleware):
    def snippet(model):
        agent = create_agent(model, [weather], middleware=[middleware(model)])
        return shown(agent.invoke({"messages": [("user", "I am me@example.com. How is the weather?")]})["messages"])

    assert len(same(snippet)) >= 3


def test_a_person_approves_a_tool_call(same):
    def snippet(model):
        middleware = HumanInTheLoopMiddleware(interrupt_on={"weather": True})
        agent = create_agent(model, [weather], middleware=[middleware], checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        asked = agent.invoke(QUESTION, config)["__interrupt__"][0].value["action_requests"]
        resumed = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
        return [(one["name"], one["args"]) for one in asked], shown(resumed["messages"])

    asked, messages = same(snippet)
    assert asked[0][0] == "weather"
    assert messages[-1][0] == "ai"


# -- Core and LangGraph ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*MessageHistory")
def test_a_message_history_is_kept(same):
    def snippet(model):
        history = InMemoryChatMessageHistory()
        chat = RunnableWithMessageHistory(model, lambda session_id: history)
        for question in ("One?", "Two?"):
            chat.invoke([HumanMessage(question)], {"configurable": {"session_id": "1"}})
        return shown(history.messages)

    assert len(same(snippet)) == 4


def test_the_functional_api_asks_it(same):
    def snippet(model):
        @task
        def ask(question: str) -> str:
            return model.invoke(question).text

        @entrypoint(checkpointer=InMemorySaver())
        def both(questions: list[str]) -> list[str]:
            return [future.result() for future in [ask(question) for question in questions]]

        return both.invoke(["One?", "Two?"], {"configurable": {"thread_id": "1"}})

    assert same(snippet) == ["You said: One?", "You said: Two?"]


def test_a_tools_result_is_answered(same):
    def snippet(model):
        call = {"id": "call_1", "name": "weather", "args": {"city": "Rome"}}
        result = ToolMessage("rain", tool_call_id="call_1")
        conversation = [HumanMessage("How is Rome?"), AIMessage("", tool_calls=[call]), result]
        return shown([model.bind_tools([weather]).invoke(conversation)])

    same(snippet)


def test_a_batch_is_answered_in_order(same):
    assert len(same(lambda model: shown(model.batch(["One?", "Two?", "Three?"])))) == 3


@pytest.mark.parametrize("package", ["pickle", "cloudpickle"])
def test_a_mixture_survives_pickling(server, package):
    # ChatOpenAI itself can't be pickled (langchain-openai 1.7): there is nothing to compare with.
    dumps = pytest.importorskip(package).dumps
    mixture = ChatMoA(proposers=["lab/a"], aggregator="lab/writer", base_url=server.url, api_key="k")
    assert pickle.loads(dumps(mixture)).invoke("Hi?").text == "You said: Hi?"


# -- Packages around LangChain -----------------------------------------------------------------------------------------

# Of these packages themselves, whoever is asked.
around = pytest.mark.filterwarnings("ignore")


@around
def test_deepagents(same):
    create_deep_agent = pytest.importorskip("deepagents").create_deep_agent

    def snippet(model):
        return shown(create_deep_agent(model=model, tools=[weather]).invoke(QUESTION)["messages"])

    assert [kind for kind, *_ in same(snippet)] == ["human", "ai", "tool", "ai"]


@around
def test_langgraph_supervisor(same):
    create_supervisor = pytest.importorskip("langgraph_supervisor").create_supervisor

    def snippet(model):
        expert = create_agent(model, [weather], name="expert")
        return shown(create_supervisor([expert], model=model).compile().invoke(QUESTION)["messages"])

    assert len(same(snippet)) > 3


@around
def test_langgraph_swarm(same):
    swarm = pytest.importorskip("langgraph_swarm")

    def snippet(model):
        alice = create_agent(model, [swarm.create_handoff_tool(agent_name="Bob")], name="Alice")
        bob = create_agent(model, [weather], name="Bob")
        app = swarm.create_swarm([alice, bob], default_active_agent="Alice").compile()
        final = app.invoke(QUESTION)
        return final["active_agent"], shown(final["messages"])

    assert same(snippet)[0] == "Bob"


@around
def test_trustcall(same):
    create_extractor = pytest.importorskip("trustcall").create_extractor

    def snippet(model):
        extractor = create_extractor(model, tools=[Weather], tool_choice="Weather")
        return extractor.invoke("It is sunny in Rome.")["responses"]

    assert same(snippet) == [Weather(city="a value", sunny=True)]


@around
def test_openevals(same):
    create_llm_as_judge = pytest.importorskip("openevals.llm").create_llm_as_judge

    def snippet(model):
        judge = create_llm_as_judge(prompt="Is {outputs} right for {inputs}?", judge=model, feedback_key="right")
        result = judge(inputs="1 + 1?", outputs="2")
        return result["key"], result["score"]

    assert same(snippet) == ("right", True)


@around
def test_agentevals(same):
    create_judge = pytest.importorskip("agentevals.trajectory.llm").create_trajectory_llm_as_judge

    def snippet(model):
        result = create_judge(judge=model)(
            outputs=[{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}]
        )
        return result["key"], result["score"]

    assert same(snippet)[1] is True


@around
def test_langmem(same):
    create_memory_manager = pytest.importorskip("langmem").create_memory_manager

    def snippet(model):
        manager = create_memory_manager(model, schemas=[Weather])
        memories = manager.invoke({"messages": [{"role": "user", "content": "It is sunny in Rome."}]})
        return [memory.content for memory in memories]

    same(snippet)


@around
def test_langchain_mcp_adapters(same):
    pytest.importorskip("langchain_mcp_adapters")
    from langchain_mcp_adapters.tools import to_fastmcp
    from mcp.server.fastmcp import FastMCP

    @tool
    def forecast(city: str) -> str:
        """Tell the weather."""
        return f"rain in {city}"

    served = FastMCP("weather", tools=[to_fastmcp(forecast)])

    def snippet(model):
        import asyncio

        from langchain_mcp_adapters.tools import load_mcp_tools
        from mcp.shared.memory import create_connected_server_and_client_session

        async def ask():
            async with create_connected_server_and_client_session(served._mcp_server) as session:
                agent = create_agent(model, await load_mcp_tools(session))
                return shown((await agent.ainvoke(QUESTION))["messages"])

        return asyncio.run(ask())

    assert [kind for kind, *_ in same(snippet)] == ["human", "ai", "tool", "ai"]


@around
def test_langchain_classic(same):
    classic = pytest.importorskip("langchain_classic.chains")
    from langchain_core.prompts import ChatPromptTemplate

    def snippet(model):
        chain = classic.LLMChain(llm=model, prompt=ChatPromptTemplate.from_template("Tell me of {topic}."))
        return chain.invoke({"topic": "monads"})

    assert same(snippet)["text"].startswith("You said: Tell me of monads.")
