"""What OpenLLMetry gets of a mixture: one tree with every call, beside an empty span for the graph inside."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.integration_tests.observability.conftest import installed, run_snippet
from tests.integration_tests.observability.trees import inside, lines, nodes, subtree

openllmetry = installed("opentelemetry.instrumentation.langchain")
wrapt = installed("wrapt")

pytestmark = pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
CALL = inside(["ChatMoA.chat", "execute_task MoA"], name="execute_task {}", models=["ChatTogether.chat"] * 4)
GRAPH = "invoke_agent MoA"
"""The package's own span for every run of a graph. It opens it outside of the span of the model around."""


@pytest.fixture
def spans(monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    def patch(target, name, wrapper):
        parent, attribute, original = wrapt.resolve_path(target, name)
        monkeypatch.setattr(parent, attribute, original)  # which it is again after the test
        return wrapt.wrap_function_wrapper(target, name, wrapper)

    # Its own `uninstrument` leaves most patches where they are (0.62.4: `unwrap` finds no "Class.method").
    monkeypatch.setattr(openllmetry, "wrap_function_wrapper", patch)
    yield exporter.get_finished_spans
    openllmetry.LangchainInstrumentor().uninstrument()


def tokens(spans):
    counts = [span.attributes.get("gen_ai.usage.total_tokens") for span in spans]
    return [count for count in counts if count is not None]


def test_there_is_one_tree_with_every_call_once(mixture, providers, use, spans, quiet):
    openllmetry.LangchainInstrumentor().instrument()
    use(mixture())
    tree = lines(nodes(spans()))
    assert subtree(tree, "ChatMoA.chat") == CALL
    assert tokens(spans()) == [19] * len(providers.requests)
    roots = [name for depth, name in tree if depth == 0]
    assert [name for name in roots if name != GRAPH] in (["ChatMoA.chat"], ["invoke_agent LangGraph"])


def test_the_span_of_the_graph_is_empty_and_stands_beside_the_models(mixture, ask, spans, quiet):
    openllmetry.LangchainInstrumentor().instrument()
    ask(mixture(), "Go.")
    assert lines(nodes(spans())) == [*CALL, (0, GRAPH)]
    (graph,) = [span for span in spans() if span.name == GRAPH]
    assert not tokens([graph])


def test_in_a_span_all_of_it_is_one_trace(mixture, ask, spans, quiet):
    openllmetry.LangchainInstrumentor().instrument()
    with trace.get_tracer("app").start_as_current_span("question"):
        ask(mixture(), "Go.")
    assert lines(nodes(spans())) == [(0, "question"), *((depth + 1, name) for depth, name in CALL), (1, GRAPH)]


def test_the_guides_snippet_shows_every_call(providers, spans, quiet):
    run_snippet("OpenLLMetry")
    assert lines(nodes(spans()))[:3] == [(0, "question"), (1, "ChatMoA.chat"), (2, "execute_task MoA")]
    assert tokens(spans()) == [19] * len(providers.requests)
