"""What holds for sync callers, whose calls run on an event loop of the package's own."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langchain_moa import ChatMoA
from langchain_moa._runtime import sync_bridge
from langchain_moa._runtime.sync_bridge import LeftBehindError, check_not_left_behind, in_thread, when_left_behind
from tests.fakes import ScriptedChatModel


def mixture(proposer=None, **options):
    return ChatMoA(proposers=[proposer or ScriptedChatModel()], aggregator=ScriptedChatModel(reply="done"), **options)


class AsksAnother(BaseCallbackHandler):
    """A handler that asks a model of its own before the call goes on."""

    run_inline = True

    def __init__(self, model):
        self.model = model
        self.heard = []

    def on_custom_event(self, name, data, **kwargs):
        if name == "moa_proposer_start":
            self.heard.append(self.model.invoke("Go.").text)


@pytest.mark.parametrize("as_graph", [False, True], ids=["ChatMoA", "graph"])
def test_a_handler_that_waits_for_another_mixture_hangs_nothing(as_graph):
    handler = AsksAnother(mixture())
    asked = mixture().graph if as_graph else mixture()
    asked.invoke({"messages": "Go."} if as_graph else "Go.", {"callbacks": [handler]})
    assert handler.heard
    assert set(handler.heard) == {"done"}


def test_a_model_that_exits_ends_its_own_call_and_no_other():
    class Exits(ScriptedChatModel):
        def _generate(self, *args, **kwargs):
            raise SystemExit("enough")

    with pytest.raises(SystemExit, match="enough"):
        mixture(Exits()).invoke("Go.")
    assert mixture().invoke("Go.").text == "done"


def test_a_models_timeout_error_reaches_the_caller_as_it_is():
    """The futures of asyncio raise one of their own in its place, without its traceback."""
    error = TimeoutError("slow")
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(error=error))
    for ask in (
        model.invoke,
        lambda text: list(model.stream(text)),
        lambda text: model.graph.invoke({"messages": text}),
    ):
        with pytest.raises(TimeoutError) as raised:
            ask("Go.")
        assert raised.value is error


def test_sync_callers_are_served_by_the_models_sync_methods():
    class SyncOnly(ScriptedChatModel):
        async def _agenerate(self, *args, **kwargs):
            raise AssertionError("asked by its async method")

        _astream = _agenerate

    def everybody(messages):
        assert threading.current_thread().name == "moa", "a rule may wait for something"
        return True

    model = ChatMoA(
        proposers=[SyncOnly(reply=name) for name in "aaa"],
        aggregator=SyncOnly(reply="b"),
        window=2,
        reserve=1,
        fan_out=everybody,
    )
    assert model.invoke("Go.").text == "b"
    assert "".join(chunk.text for chunk in model.stream("Go.")) == "b"
    assert model.graph.invoke({"messages": "Go."})["messages"][-1].text == "b"


def test_a_thread_that_comes_after_its_caller_left_does_nothing(monkeypatch):
    begun, jobs = [], []

    def run_late(function):
        jobs.append(function)
        return Future()

    monkeypatch.setattr(sync_bridge, "run_in_thread", run_late)

    async def leave():
        asking = asyncio.ensure_future(in_thread(lambda: begun.append(1)))
        while not jobs:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])

    asyncio.run(leave())
    with pytest.raises(LeftBehindError):
        jobs[0]()
    assert begun == []


def test_what_is_to_be_closed_when_the_caller_leaves_is_refused_when_it_has_left():
    begun, left, refused = threading.Event(), threading.Event(), threading.Event()

    def watch():
        begun.set()
        left.wait(30)
        try:
            when_left_behind(lambda: None)
        except LeftBehindError:
            refused.set()

    async def leave():
        asking = asyncio.ensure_future(in_thread(watch))
        await asyncio.to_thread(begun.wait)
        asking.cancel()
        await asyncio.wait([asking])

    asyncio.run(leave())
    left.set()
    assert refused.wait(30)


def test_who_is_asked_by_a_call_that_is_left_behind_is_left_behind_too():
    is_asked, is_told, said = threading.Event(), threading.Event(), []

    class Inner(ScriptedChatModel):
        def _generate(self, *args, **kwargs):
            is_asked.set()
            is_told.wait(10)
            try:
                check_not_left_behind()
            except LeftBehindError:
                said.append("left behind")
            return super()._generate(*args, **kwargs)

    waits = ScriptedChatModel(reply="fast", waits_for=is_asked)
    model = ChatMoA(proposers=[mixture(Inner()), waits], aggregator=ScriptedChatModel(reply="done"), quorum=1)
    assert model.invoke("Go.").text == "done"
    is_told.set()
    for thread in threading.enumerate():
        if thread.name == "moa":
            thread.join(10)
    assert said == ["left behind"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_can_ask_too():
    code = """
import os
from tests.fakes import ScriptedChatModel
from langchain_moa import ChatMoA

model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(reply="done"))
assert model.invoke("Go.").text == "done"
child = os.fork()
if child == 0:
    os._exit(0 if model.invoke("Go.").text == "done" else 1)
assert os.waitpid(child, 0)[1] == 0
assert model.invoke("Go.").text == "done"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_another_thread_keeps_a_turn_can_ask_too():
    code = """
import os, signal
from tests.fakes import ScriptedChatModel
from langchain_moa import ChatMoA
from langchain_moa._runtime.turn_references import turn_references

mixture = {"proposers": [ScriptedChatModel()], "aggregator": ScriptedChatModel(reply="done"), "fan_out": "user_turn"}
with turn_references._lock:  # as another thread may at any time
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if ChatMoA(**mixture).invoke("Go.").text == "done" else 1)
    assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_a_process_that_has_asked_ends_without_a_warning():
    code = """
from tests.fakes import ScriptedChatModel
from langchain_moa import ChatMoA

print(ChatMoA(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(reply="done")).invoke("Go.").text)
"""
    ended = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", "-c", code], check=True, capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("done\n", "")
