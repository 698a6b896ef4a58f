"""AlpacaEval 2's judge: its prompt, and its preference as a number from 1 (first output) to 2 (second output)."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_moa.evals.judge_names import judge_fields

JudgeMode = Literal["logprobs", "text"]
"""How a preference is read: from the log-probabilities of `m` and `M`, or from the text for judges without them."""

# Source: tatsu-lab/alpaca_eval@cd543a1 (Apache-2.0),
# src/alpaca_eval/evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt
JUDGE_PROMPT = '''<|im_start|>system
You are a highly efficient assistant, who evaluates and selects the best large language model (LLMs) based on the \
quality of their responses to a given instruction. This process will be used to create a leaderboard reflecting the \
most accurate and human-preferred answers.
<|im_end|>
<|im_start|>user
I require a leaderboard for various large language models. I'll provide you with prompts given to these models and \
their corresponding outputs. Your task is to assess these responses, and select the model that produces the best \
output from a human perspective.

## Instruction

{
    "instruction": """{instruction}""",
}

## Model Outputs

Here are the unordered outputs from the models. Each output is associated with a specific model, identified by a \
unique model identifier.

{
    {
        "model_identifier": "m",
        "output": """{output_1}"""
    },
    {
        "model_identifier": "M",
        "output": """{output_2}"""
    }
}

## Task

Evaluate the models based on the quality and relevance of their outputs, and select the model that generated the \
best output. Answer by providing the model identifier of the best model. We will use your output as the name of the \
best model, so make sure your output only contains one of the following model identifiers and nothing else (no \
quotes, no spaces, no new lines, ...): m or M.

## Best Model Identifier
<|im_end|>'''

# Source: the same repository, evaluators_configs/weighted_alpaca_eval_gpt4_turbo/configs.yaml. A sampled token makes no
# difference: the log-probabilities are read.
LOGPROBS_DECODING: Mapping[str, Any] = {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": 5}

# A word of its own; not the m of "I'm".
_IDENTIFIER = re.compile(r"(?<!\w)(?<!\w['\u2019])[mM](?!\w)")


def is_switched(instruction: str) -> bool:
    """Whether the judge sees the system's output first and the baseline's second; the same in every run.

    Source: tatsu-lab/alpaca_eval, `annotators/pairwise_evaluator.py` and `utils.py::random_seeded_choice`, seed 0.
    """
    seed = f"is_switched_outputs{instruction}0"
    return random.Random(seed).choices([False, True], k=1)[0]


def judge_messages(instruction: str, first: str, second: str) -> list[BaseMessage]:
    """Return the judge's messages for two outputs, called `m` and `M`.

    The ChatML prompt is parsed before it is filled in, so that markers inside an output stay text. The original parses
    it afterwards, so an output could end the prompt early or inject messages.
    """
    # ChatML: role on the first line, content up to the end marker.
    parts = [part.partition("\n")[2].partition("<|im_end|>")[0] for part in JUDGE_PROMPT.split("<|im_start|>")[1:]]
    system, user = (part.strip() for part in parts)
    # Not `str.format`: the prompt's own braces stand for themselves, and so do those of an output.
    for name, text in {"instruction": instruction, "output_1": first, "output_2": second}.items():
        user = user.replace(f"{{{name}}}", text, 1)
    return [SystemMessage(system), HumanMessage(user)]


def find_logprobs(logprobs: Any) -> dict[str, float] | None:
    """Return the log-probabilities of `m` and `M` as the first token, as far as they are among the likeliest.

    Args:
        logprobs: As OpenAI's API sends them, and LangChain keeps them in `response_metadata["logprobs"]`.

    Returns:
        `None`: there are no log-probabilities.
    """
    try:
        likeliest = logprobs["content"][0]["top_logprobs"]
        return {entry["token"]: entry["logprob"] for entry in likeliest if entry["token"] in ("m", "M")}
    except (KeyError, IndexError, TypeError):
        return None


def preference(logprobs: Mapping[str, float]) -> float | None:
    """Return the preference, from 1 (certainly `m`) to 2 (certainly `M`).

    Args:
        logprobs: Log-probabilities by token. A missing token has probability 0.

    Returns:
        `None` if both tokens are missing. Source: tatsu-lab/alpaca_eval, `completion_parsers.py::logprob_parser`.
    """
    if not logprobs:
        return None
    highest = max(logprobs.values())
    m, other = (math.exp(logprobs.get(token, -math.inf) - highest) for token in ("m", "M"))
    return 2 - m / (m + other)


def parse_preference(text: str) -> float | None:
    """Return 1 for `m` and 2 for `M`.

    Returns:
        `None`: the text names neither, or both.
    """
    named = set(_IDENTIFIER.findall(text))
    return {"m": 1.0, "M": 2.0}[named.pop()] if len(named) == 1 else None


def read_logprobs(reply: AIMessage, *, switched: bool) -> tuple[float | None, Mapping[str, Any]]:
    """Return the preference for the system's output from log-probabilities, and the judgment's fields."""
    logprobs = find_logprobs(reply.response_metadata.get("logprobs"))
    fields = {"switched": switched, "logprobs": logprobs, **judge_fields(reply)}
    return _unswitch(preference(logprobs or {}), switched), fields


def read_choice(reply: AIMessage, *, switched: bool) -> tuple[float | None, Mapping[str, Any]]:
    """Return the preference for the system's output from the reply's text, and the judgment's fields."""
    fields = {"switched": switched, "discrete": True, **judge_fields(reply)}
    return _unswitch(parse_preference(reply.text), switched), fields


def _unswitch(score: float | None, switched: bool) -> float | None:
    return 3 - score if score is not None and switched else score
