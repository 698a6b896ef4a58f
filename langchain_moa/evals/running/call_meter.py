"""What one call of a model came to, the calls inside of it included."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tracers import BaseTracer, Run


class CallMeter:
    """Counts model calls and their tokens. A composed model's inner calls count, the call around them does not."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._usage = UsageMetadataCallbackHandler()
        self._counter = _CallCounter()

    @property
    def callbacks(self) -> list[BaseCallbackHandler]:
        """What to call the model with."""
        return [self._usage, self._counter]

    @property
    def calls(self) -> int:
        """Model calls so far, failed ones too."""
        return self._counter.calls

    @property
    def usage(self) -> dict[str, UsageMetadata]:
        """Tokens so far, by the name that the provider gives the model."""
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
    """Return how many model runs there are in a trace that have none inside."""
    inside = sum(map(_leaf_calls, run.child_runs))
    return inside or int(run.run_type in ("llm", "chat_model"))


def plain(value: Any) -> Any:
    """Return a model's metadata as JSON has it: what has no form there becomes text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
