"""An agent behind the server: its client strips metadata, and the proposers are asked once per user turn even so."""

from functools import reduce
from operator import add

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA
from tests.fakes import CallingChatModel, ScriptedChatModel

TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Look it up.", "parameters": {}}}]


@pytest.fixture(params=["invoke", "stream"])
def ask(request):
    """Ask in one of the two ways that differ to a server."""

    def ask_client(client, conversation):
        if request.param == "invoke":
            return client.invoke(conversation)
        return reduce(add, client.stream(conversation))

    return ask_client


def served(serve):
    """Serve a mixture whose aggregator calls a tool, and return its parts and a function that makes clients of it."""
    proposer, aggregator = ScriptedChatModel(reply="advice"), CallingChatModel(reply="")
    http = serve(ChatMoA(proposers=[proposer], aggregator=aggregator))

    def client(**options):
        headers = {"x-app": http.headers["x-app"]}
        url = f"{http.base_url}/v1"
        options |= {"base_url": url, "api_key": "none", "default_headers": headers, "http_client": http}
        return ChatOpenAI(model="moa-1", **options).bind_tools(TOOLS)

    return proposer, aggregator, client


def step(answer):
    """Return what an agent adds to the conversation."""
    return [answer, *(ToolMessage("found", tool_call_id=call["id"]) for call in answer.tool_calls)]


def test_the_proposers_are_asked_once_per_user_turn(ask, serve):
    proposer, aggregator, client = served(serve)
    conversation = [HumanMessage("What is my balance?")]
    for _ in range(3):
        answer = ask(client(), conversation)
        assert "moa" not in answer.response_metadata
        conversation += step(answer)
    assert (len(proposer.seen), len(aggregator.seen)) == (1, 3)
    assert all("advice" in seen[-1].text for seen in aggregator.seen)
    ask(client(), [*conversation, HumanMessage("And now?")])
    assert len(proposer.seen) == 2


def test_two_users_with_the_same_words_never_share(ask, serve):
    proposer, _, client = served(serve)
    conversation = [HumanMessage("What is my balance?")]
    alice = ask(client(model_kwargs={"user": "alice"}), conversation)
    ask(client(model_kwargs={"user": "bob"}), conversation)
    assert len(proposer.seen) == 2
    ask(client(model_kwargs={"user": "bob"}), [*conversation, *step(alice)])  # bob knows the ids of alice's calls
    assert len(proposer.seen) == 3
    ask(client(model_kwargs={"user": "alice"}), [*conversation, *step(alice)])
    assert len(proposer.seen) == 3


@pytest.mark.parametrize("id_", ["call_1", "0", "call_12345", "look_up"])
def test_ids_that_anybody_may_have_prove_nothing(ask, serve, id_):
    proposer, aggregator, client = served(serve)
    aggregator.call_id = lambda: id_
    conversation = [HumanMessage("What is my balance?")]
    ask(client(), [*conversation, *step(ask(client(), conversation))])
    assert len(proposer.seen) == 2
