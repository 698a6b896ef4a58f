"""What MLflow's autolog stores of a mixture: one trace with every call, whose tokens are the sum."""

from __future__ import annotations

import pytest

from tests.integration_tests.observability.conftest import installed, run_snippet
from tests.integration_tests.observability.trees import Node, inside, lines, subtree

mlflow = installed("mlflow")
installed("mlflow.langchain")  # which warns as it is loaded
MlflowLangchainTracer = installed("mlflow.langchain.langchain_tracer").MlflowLangchainTracer
# It leaves connections to the garbage collector, and is deprecated here and there by what it uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Create a database, which takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        environment.setenv("MLFLOW_MODEL_CATALOG_URI", "")  # prices, which it would download
        environment.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.create_experiment("first", artifact_location=str(folder))
        yield folder
        mlflow.set_tracking_uri(None)


@pytest.fixture
def traces(database, request):
    """Read what is stored."""
    mlflow.set_experiment(experiment_id=mlflow.create_experiment(request.node.name, artifact_location=str(database)))
    yield lambda: mlflow.search_traces(return_type="list")
    mlflow.langchain.autolog(disable=True)


def nodes(trace):
    return [Node(span.span_id, span.parent_id, span.name, span.start_time_ns) for span in trace.data.spans]


def tokens(trace):
    usages = [span.get_attribute("mlflow.chat.tokenUsage") for span in trace.data.spans]
    return [usage["total_tokens"] for usage in usages if usage]


@pytest.mark.parametrize("named", [False, True], ids=["by itself", "named"])
def test_there_is_one_trace_with_every_call_once(mixture, providers, use, traces, quiet, named):
    mlflow.langchain.autolog()
    use(mixture(inner_handlers=(MlflowLangchainTracer,) if named else ()))
    (trace,) = traces()
    assert trace.info.state == "OK"
    assert subtree(lines(nodes(trace)), "ChatMoA") == inside(["ChatMoA", "MoA"])
    assert tokens(trace) == [19] * len(providers.requests)
    assert trace.info.token_usage["total_tokens"] == 19 * len(providers.requests)


def test_the_guides_snippet_shows_every_call(providers, traces, quiet):
    run_snippet("MLflow")
    (trace,) = traces()
    assert lines(nodes(trace))[:2] == [(0, "ChatMoA"), (1, "MoA")]
    assert trace.info.token_usage["total_tokens"] == 19 * len(providers.requests)
