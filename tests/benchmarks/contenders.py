"""What is compared: a `ChatMoA`, and what a user would write instead with the same models."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mixture_llm
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_together import ChatTogether
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import ChatMoA


@dataclass
class Bare:
    """Bare LangChain: `asyncio.gather`, or a pool of threads, over the proposers; then the aggregator's stream."""

    layers: Sequence[Sequence[BaseChatModel]]
    aggregator: BaseChatModel

    async def astream(self, question: str) -> AsyncIterator[Any]:
        """Stream the answer."""
        messages: list[BaseMessage] = [HumanMessage(question)]
        for layer in self.layers:
            replies = await asyncio.gather(*(model.ainvoke(messages) for model in layer))
            messages = _with_references(question, replies)
        async for chunk in self.aggregator.astream(messages):
            yield chunk

    def stream(self, question: str) -> Iterator[Any]:
        """Stream the answer."""
        messages: list[BaseMessage] = [HumanMessage(question)]
        for layer in self.layers:
            with ThreadPoolExecutor(len(layer)) as pool:
                replies = list(pool.map(lambda model, seen=messages: model.invoke(seen), layer))
            messages = _with_references(question, replies)
        yield from self.aggregator.stream(messages)


def _with_references(question: str, replies: Sequence[BaseMessage]) -> list[BaseMessage]:
    numbered = "\n".join(f"{number}. {reply.text}" for number, reply in enumerate(replies, 1))
    return [SystemMessage(f"Synthesize these responses:\n{numbered}"), HumanMessage(question)]


class SDK:
    """The bare `openai` client: the proposers' whole answers gathered, then the aggregator's stream."""

    def __init__(self, proposers: Sequence[str], aggregator: str) -> None:
        address: dict[str, Any] = {
            "api_key": os.environ["TOGETHER_API_KEY"],
            "base_url": os.environ["TOGETHER_API_BASE"],
        }
        self._client, self._async_client = openai.OpenAI(**address), openai.AsyncOpenAI(**address)
        self._proposers = proposers
        self._aggregator = aggregator

    async def astream(self, question: str) -> AsyncIterator[Any]:
        """Stream the answer."""
        create = self._async_client.chat.completions.create
        replies = await asyncio.gather(*(create(model=name, messages=_asked(question)) for name in self._proposers))
        usage: Any = {"stream_options": {"include_usage": True}}  # as LangChain asks for it
        async for chunk in await create(
            model=self._aggregator, messages=_told(question, replies), stream=True, **usage
        ):
            yield chunk

    def stream(self, question: str) -> Iterator[Any]:
        """Stream the answer."""
        create = self._client.chat.completions.create
        with ThreadPoolExecutor(len(self._proposers)) as pool:
            replies = list(pool.map(lambda name: create(model=name, messages=_asked(question)), self._proposers))
        usage: Any = {"stream_options": {"include_usage": True}}
        yield from create(model=self._aggregator, messages=_told(question, replies), stream=True, **usage)


def _asked(question: str) -> Any:
    return [{"role": "user", "content": question}]


def _told(question: str, replies: Sequence[Any]) -> Any:
    numbered = "\n".join(f"{number}. {reply.choices[0].message.content}" for number, reply in enumerate(replies, 1))
    return [{"role": "system", "content": f"Synthesize these responses:\n{numbered}"}, *_asked(question)]


class MixtureLLM:
    """The package mixture-llm, with the client of its README. It gives the answer as a whole."""

    def __init__(self, proposers: Sequence[str], aggregator: str) -> None:
        client = openai.AsyncOpenAI(base_url=os.environ["TOGETHER_API_BASE"], api_key=os.environ["TOGETHER_API_KEY"])

        async def ask(model: str, messages: Any, temp: float, max_tokens: int) -> tuple[str, int, int]:
            resp: Any = await client.chat.completions.create(
                model=model, messages=messages, temperature=temp, max_tokens=max_tokens
            )
            return resp.choices[0].message.content, resp.usage.prompt_tokens, resp.usage.completion_tokens

        self._ask = ask
        self._pipeline = [mixture_llm.Propose(list(proposers)), mixture_llm.Aggregate(aggregator)]

    async def astream(self, question: str) -> AsyncIterator[Any]:
        """Yield the answer."""
        result, history = await mixture_llm.run(self._pipeline, question, self._ask)
        errors = [call["error"] for step in history for call in step["llm_calls"] if "error" in call]
        assert result and not errors, errors  # it would go on without whom it could not ask
        yield result


Contenders = dict[str, Any]
"""`ours` and `bare`, each with a `stream` and an `astream`; and others."""


def on_together(model: str) -> str:
    """Return the string that names one of the load server's models, whose names have no slash."""
    return f"together:{model}"


def over_http(*, layers: int, proposers: int, proposer: str, aggregator: str) -> Contenders:
    """Return both with models of the load server, each as its users would write them: strings, and `ChatTogether`s."""
    names = [f"{proposer}&number={number}" for number in range(proposers)]
    bare = [ChatTogether(model=name) for name in names]
    return {
        "ours": ChatMoA(proposers=list(map(on_together, names)), rounds=layers, aggregator=on_together(aggregator)),
        "bare": Bare([bare] * layers, ChatTogether(model=aggregator)),
    }


def others_over_http(*, proposers: int, proposer: str, aggregator: str) -> Contenders:
    """Return what asks the same models without LangChain: *SDK* both ways, *mixture-llm* only by `astream`."""
    names = [f"{proposer}&number={number}" for number in range(proposers)]
    return {"SDK": SDK(names, aggregator), "mixture-llm": MixtureLLM(names, aggregator)}


def in_process(*, layers: int, proposers: int, seconds: float = 0) -> Contenders:
    """Return both with models that answer in this process."""
    models = [InstantModel(seconds=seconds) for _ in range(proposers)]
    return {
        "ours": ChatMoA(proposers=list(models), rounds=layers, aggregator=InstantModel()),
        "bare": Bare([models] * layers, InstantModel()),
    }


class InstantModel(BaseChatModel):
    """Answers at once, or after some seconds."""

    seconds: float = 0

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        time.sleep(self.seconds)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("answer"))])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("answer"))])

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("answer"))

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("answer"))


class Outer:
    """A LangGraph app whose only node asks a model, watched by `stream_mode="messages"`."""

    def __init__(self, model: BaseChatModel) -> None:
        async def ask(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        self._app = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()

    def astream(self, question: str) -> AsyncIterator[Any]:
        """Stream what the app's callers see."""
        return self._app.astream({"messages": [HumanMessage(question)]}, stream_mode="messages")


@dataclass
class Listened:
    """A model watched by `astream_events`."""

    model: BaseChatModel

    def astream(self, question: str) -> AsyncIterator[Any]:
        """Stream the events."""
        return self.model.astream_events(question, version="v2")
