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
