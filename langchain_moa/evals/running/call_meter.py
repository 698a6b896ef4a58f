"""Count model calls and tokens, including calls inside a composed model."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tracers import BaseTracer, Run


class CallMeter:
    """Counts model calls and tokens. Of a composed model, only the inner calls are counted."""

    def __init__(self) -> None:
        self._usage = UsageMetadataCallbackHandler()
        self._counter = _CallCounter()

    @property
    def callbacks(self) -> list[BaseCallbackHandler]:
        """The callbacks to pass to the model."""
        return [self._usage, self._counter]

    @property
    def calls(self) -> int:
        """Number of model calls so far, including failed ones."""
        return self._counter.calls

    @property
    def usage(self) -> dict[str, UsageMetadata]:
        """Token usage so far, by the provider's name for the model."""
        return dict(self._usage.usage_metadata)


class _CallCounter(BaseTracer):
    # A tracer, since a composed model may show its inner calls to tracers only, as LangSmith's is one.
    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _persist_run(self, run: Run) -> None:
        self.calls += _leaf_calls(run)


def _leaf_calls(run: Run) -> int:
    """Return the number of model runs in a trace that contain no other model run."""
    inside = sum(map(_leaf_calls, run.child_runs))
    return inside or int(run.run_type in ("llm", "chat_model"))


def plain(value: Any) -> Any:
    """Convert a model's metadata to JSON-serializable data; anything else becomes a string."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
