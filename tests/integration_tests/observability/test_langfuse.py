"""What Langfuse gets of a mixture: one generation with the sum, or every call."""

from __future__ import annotations

import json

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.integration_tests.observability.conftest import installed, run_snippet
from tests.integration_tests.observability.trees import inside, lines, nodes, subtree

langfuse = installed("langfuse")
langchain = installed("langfuse.langchain")


@pytest.fixture
def spans(monkeypatch):
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-test")
    exporter = InMemorySpanExporter()
    client = langfuse.Langfuse(
        public_key="pk-test",
        secret_key="sk-test",
        base_url="http://127.0.0.1:9",
        span_exporter=exporter,
        tracer_provider=TracerProvider(),
    )

    def finished():
        client.flush()
        return exporter.get_finished_spans()

    yield finished
    client.shutdown()
    langfuse._client.resource_manager.LangfuseResourceManager.reset()  # else the next client would be this one


def tokens(spans):
    usages = [json.loads(span.attributes.get("langfuse.observation.usage_details", "{}")) for span in spans]
    return [usage["total"] for usage in usages if usage]


def generations(spans):
    return sorted(span.name for span in spans if span.attributes["langfuse.observation.type"] == "generation")


def test_by_default_there_is_one_generation_with_the_sum(mixture, providers, use, spans, quiet):
    use(mixture(), {"callbacks": [langchain.CallbackHandler()]})
    tree = lines(nodes(spans()))
    assert len([line for line in tree if line[0] == 0]) == 1
    assert subtree(tree, "ChatMoA") == [(0, "ChatMoA")]
    assert set(generations(spans())) == {"ChatMoA"}
    assert sum(tokens(spans())) == 19 * len(providers.requests)


def test_a_named_handler_shows_every_call_once(mixture, providers, use, spans, quiet):
    handler = langchain.CallbackHandler()
    use(mixture(inner_handlers=(langchain.CallbackHandler,)), {"callbacks": [handler]})
    tree = lines(nodes(spans()))
    assert len([line for line in tree if line[0] == 0]) == 1
    assert subtree(tree, "ChatMoA") == inside(["ChatMoA", "MoA"])
    assert tokens(spans()) == [19] * len(providers.requests)


def test_the_guides_snippet_shows_every_call(providers, spans, quiet):
    run_snippet("Langfuse")
    assert lines(nodes(spans()))[:2] == [(0, "ChatMoA"), (1, "MoA")]
    assert tokens(spans()) == [19] * len(providers.requests)


PRICES = {f"lab/{name}": {"input": 1_000, "output": 2_000} for name in ("a", "b", "c", "writer")}
# Of 11 tokens in and 8 out.
COST = {"input": 0.011, "output": 0.016, "total": 0.027}


def costs(spans):
    return [json.loads(told) for span in spans if (told := span.attributes.get("langfuse.observation.cost_details"))]


def test_the_one_generation_has_the_cost_of_all_calls(mixture, providers, use, spans, quiet):
    use(mixture(prices=PRICES), {"callbacks": [langchain.CallbackHandler()]})
    assert sum(each["total"] for each in costs(spans())) == pytest.approx(COST["total"] * len(providers.requests))
    assert sum(tokens(spans())) == 19 * len(providers.requests)


def test_a_cost_of_which_a_part_is_unknown_is_not_told_as_the_whole(mixture, providers, spans, quiet):
    mixture(prices={"lab/a": PRICES["lab/a"]}).invoke("Go.", {"callbacks": [langchain.CallbackHandler()]})
    assert costs(spans()) == []


def test_a_named_handler_shows_every_calls_cost_once(mixture, providers, use, spans, quiet):
    handler = langchain.CallbackHandler()
    use(mixture(inner_handlers=(langchain.CallbackHandler,), prices=PRICES), {"callbacks": [handler]})
    assert costs(spans()) == [pytest.approx(COST)] * len(providers.requests)
    assert tokens(spans()) == [19] * len(providers.requests)
