"""Calls that nobody observes take a shorter way; all that core would do for a call is still done."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter

from langchain_moa._models.unobserved import Unobserved

WAYS = ["ainvoke", "astream"]
USAGE: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


class Core(BaseChatModel):
    """A model as core asks it."""

    asked: list[Any] = []  # noqa: RUF012  # pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "core"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], stop: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append((messages, stop, kwargs))
        message = AIMessage("Hello", usage_metadata=USAGE)
        generation = ChatGeneration(message=message, generation_info={"finish_reason": "stop"})
        return ChatResult(generations=[generation], llm_output={"model_name": "m"})

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append((messages, stop, kwargs))
        for text in ("Hel", "lo"):
            yield ChatGenerationChunk(message=AIMessageChunk(text))
        last = AIMessageChunk("", usage_metadata=USAGE, response_metadata={"model_name": "m"})
        yield ChatGenerationChunk(message=last, generation_info={"finish_reason": "stop"})


class Model(Unobserved, Core):
    """The same, with the shorter way."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


async def ask(way: str, model: Any, question: Any = "Hi", config: Any = None, **kwargs: Any) -> list[Any]:
    messages = [HumanMessage(question)] if isinstance(question, str) else question
    if way == "ainvoke":
        return [await model.ainvoke(messages, config, **kwargs)]
    return [chunk async for chunk in model.astream(messages, config, **kwargs)]


def without_ids(answers: list[Any]) -> list[Any]:
    return [answer.model_dump(exclude={"id"}) for answer in answers]


async def test_answers_and_requests_are_those_of_core(way: str) -> None:
    core, model = Core(), Model()

    theirs = await ask(way, core, stop=["x"], tools=["t"])
    ours = await ask(way, model, stop=["x"], tools=["t"])

    assert without_ids(ours) == without_ids(theirs)
    assert model.asked == core.asked
    assert len({answer.id for answer in ours}) == 1
    assert ours[0].id.startswith("lc_run--")


async def test_no_run_is_opened_when_nobody_hears_of_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _watch(monkeypatch, AsyncCallbackManager, "on_chat_model_start")

    await ask(way, Core())
    assert len(opened) == 1
    await ask(way, Model())
    assert len(opened) == 1


class Ends(BaseCallbackHandler):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.texts.append(response.generations[0][0].text)


async def test_a_handler_of_the_call_hears_of_it(way: str) -> None:
    handler = Ends()

    await ask(way, Model(), config={"callbacks": [handler]})

    assert handler.texts == ["Hello"]


async def test_a_handler_of_the_model_hears_of_it(way: str) -> None:
    handler = Ends()

    await ask(way, Model(callbacks=[handler]))

    assert handler.texts == ["Hello"]


async def test_a_handler_that_gets_into_every_manager_hears_of_it(way: str) -> None:
    with get_usage_metadata_callback() as usage:
        await ask(way, Model())

    assert usage.usage_metadata == {"m": USAGE}


@pytest.mark.parametrize(("way", "method"), [("ainvoke", "agenerate"), ("astream", "astream")])
async def test_whoever_wraps_the_methods_of_core_sees_the_call(
    way: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _watch(monkeypatch, BaseChatModel, method)

    await ask(way, Model())

    assert len(seen) == 1


@pytest.fixture
def cache() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


@pytest.mark.usefixtures("cache")
async def test_a_global_cache_is_used() -> None:
    model = Model()

    await ask("ainvoke", model)
    await ask("ainvoke", model)

    assert len(model.asked) == 1


@pytest.mark.usefixtures("cache")
async def test_a_model_without_a_cache_is_asked_each_time() -> None:
    model = Model(cache=False)

    await ask("ainvoke", model)
    await ask("ainvoke", model)

    assert len(model.asked) == 2


class Limiter(BaseRateLimiter):
    def __init__(self) -> None:
        self.calls = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        raise NotImplementedError

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.calls += 1
        return True


async def test_a_rate_limiter_is_asked(way: str) -> None:
    limiter = Limiter()

    await ask(way, Model(rate_limiter=limiter))

    assert limiter.calls == 1


@pytest.mark.parametrize("options", [{"output_version": "v1"}, {"disable_streaming": True}])
async def test_options_of_core_do_the_same(way: str, options: dict[str, Any]) -> None:
    assert without_ids(await ask(way, Model(**options))) == without_ids(await ask(way, Core(**options)))


@pytest.mark.parametrize(
    "question",
    [
        [HumanMessage([{"type": "text", "text": "Hi"}])],
        [HumanMessage([{"type": "image", "source_type": "url", "url": "http://127.0.0.1/x.png"}])],
        [("user", "Hi")],
    ],
)
async def test_what_core_converts_is_converted(way: str, question: Any) -> None:
    core, model = Core(), Model()

    await ask(way, core, question)
    await ask(way, model, question)

    assert model.asked == core.asked


async def test_an_empty_stream_is_the_error_of_core() -> None:
    class Empty(Model):
        async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
            return
            yield

    with pytest.raises(ValueError, match="No generation chunks were returned"):
        await ask("astream", Empty())


def _watch(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> list[Any]:
    """Wrap a method as observers do; return its calls."""
    original: Callable[..., Any] = getattr(owner, method)
    calls: list[Any] = []

    @wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, method, watched)
    return calls
