"""What Phoenix gets of a mixture by OpenInference: one tree with every call, and not one error in the log."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.integration_tests.observability.conftest import installed, run_snippet
from tests.integration_tests.observability.trees import inside, lines, nodes, subtree

openinference = installed("openinference.instrumentation.langchain")


@pytest.fixture
def spans(monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter.get_finished_spans
    openinference.LangChainInstrumentor().uninstrument()


def tokens(spans):
    counts = [span.attributes.get("llm.token_count.total") for span in spans]
    return [count for count in counts if count is not None]


def test_there_is_one_tree_with_every_call_once(mixture, providers, use, spans, quiet):
    openinference.LangChainInstrumentor().instrument()
    use(mixture())
    tree = lines(nodes(spans()))
    assert len([line for line in tree if line[0] == 0]) == 1
    assert subtree(tree, "ChatMoA") == inside(["ChatMoA", "MoA"])
    assert tokens(spans()) == [19] * len(providers.requests)
    assert all(span.status.is_ok for span in spans())


def test_the_guides_snippet_shows_every_call(providers, spans, quiet):
    run_snippet("Phoenix and OpenInference")
    assert lines(nodes(spans()))[:2] == [(0, "ChatMoA"), (1, "MoA")]
    assert tokens(spans()) == [19] * len(providers.requests)
