"""The run that Together recorded in its cookbook, for a server that replays it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.openai_server import Reply

RUN: dict[str, Any] = json.loads((Path(__file__).parent / "data/cookbook_replay.json").read_text())


def replay(body: dict[str, Any]) -> Reply:
    """Answer as the models did: the aggregator is one of the proposers, and is known by its system message."""
    if body["messages"][0]["role"] == "system":
        return Reply(text=RUN["aggregator"]["text"])
    proposal = next(proposal for proposal in RUN["proposals"] if proposal["model"] == body["model"])
    return Reply(text=proposal["text"], finish_reason="length" if "WizardLM" in body["model"] else "stop")
