"""The options of `MoAMiddleware`, and what it needs."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature

import pytest

from langchain_moa.middleware import MoAMiddleware
from langchain_moa.options import MoAOptions
from tests.fakes import ScriptedChatModel

# What the agent's own model does instead of an aggregator, and what `when` says.
OF_WHO_WRITES = {
    "aggregator",
    "fallback_aggregators",
    "first_token_timeout",
    "deadline",
    "aggregation",
    "judge",
    "criteria",
    "judge_samples",
    "answer_key",
    "wave",
    "confidence",
    "window",
    "reserve",
    "reference_placement",
    "fan_out",
}


def test_it_takes_the_options_of_a_mixture_but_for_those_of_who_writes():
    parameters = signature(MoAMiddleware).parameters
    assert set(parameters) - {"when", "max_uses"} == set(MoAOptions.model_fields) - OF_WHO_WRITES
    defaults = {name: parameter.default for name, parameter in parameters.items() if name in MoAOptions.model_fields}
    assert defaults.pop("on_failure") == "aggregate_alone"
    assert defaults == {name: MoAOptions.model_fields[name].default for name in defaults}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when": "always"}, "when is 'always'; give 'user_turn', 'tool', or a gate"),
        ({"when": None}, "when is None; give"),
        ({"max_uses": 2}, "max_uses is 2; give at least 1, and only with when='tool'"),
        ({"when": "tool", "max_uses": 0}, "max_uses is 0; give at least 1"),
        ({"when": "tool", "max_uses": "2"}, "max_uses is '2'; give at least 1"),
        ({"quorum": 3}, "quorum is 3; layer 1 has 1 proposers"),
        ({"min_references": 2}, "min_references is 2, but layer 1 has only 1 proposers"),
        ({"proposers": []}, "Layer 1 has no proposers"),
        ({"layers": [[ScriptedChatModel()]]}, "layers"),
        ({"prompt": "verse"}, "prompt"),
        ({"model": "nope", "proposers": None}, "nope"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        MoAMiddleware(**{"proposers": [ScriptedChatModel()], **options})


def test_an_option_of_an_aggregator_is_none_of_a_panels():
    with pytest.raises(TypeError, match="aggregator"):
        MoAMiddleware(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel())


def test_proposers_of_other_providers_need_no_key_for_together():
    assert MoAMiddleware(proposers=[ScriptedChatModel()]).name == "MoAMiddleware"


def test_a_line_up_gives_its_proposers(monkeypatch):
    with pytest.raises(ValueError, match="TOGETHER_API_KEY"):
        MoAMiddleware(model="together-moa-lite")
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    assert len(MoAMiddleware(model="together-moa-lite")._last.members) == 6


def test_without_langchain_it_says_what_to_install():
    code = "import sys; sys.modules['langchain'] = None; import langchain_moa; import langchain_moa.middleware"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == (
        'ImportError: MoAMiddleware needs langchain: pip install "langchain-moa[agents]"'
    )
