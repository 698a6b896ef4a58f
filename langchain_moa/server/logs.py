"""Logs as JSON lines on stderr, without prompts, answers and keys."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from traceback import format_tb

# Uvicorn's own, and one line per request. Warnings of the rest of the package are left out: they quote providers, who
# may quote prompts.
_SHOWN = ("langchain_moa.server", "uvicorn.error")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record. Exceptions are logged without their message, which may quote the conversation."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = "".join(format_tb(record.exc_info[2]))
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs() -> None:
    """Log to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in _SHOWN:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
