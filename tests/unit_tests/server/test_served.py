import pytest

from langchain_moa import ChatMoA
from langchain_moa.lineups import LINEUPS
from langchain_moa.server import served as module
from langchain_moa.server.served import Served, UnavailableModelError, UnknownModelError
from tests.unit_tests.server.conftest import mixture


def test_the_default_ones_own_and_every_lineup_are_served():
    served = Served({"mine": mixture()})
    assert served.names() == ["moa-1", "mine", *LINEUPS]


def test_a_mixture_is_built_at_its_first_use_and_kept(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
    served = Served()
    assert served.model("cookbook") is served.model("cookbook")
    assert served.model("cookbook").model == "cookbook"


def test_the_default_is_together_with_a_key_and_the_local_model_without_one(monkeypatch):
    monkeypatch.setattr(module, "ChatMoA", lambda model, include_references: model)
    assert Served().model("moa-1") == "local"
    monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
    assert Served().model("moa-1") == "default"


def test_the_name_that_together_gave_its_endpoint_is_the_default():
    mine = mixture()
    assert Served({"moa-1": mine}).model("togethercomputer/MoA-1") is mine
    assert Served({"togethercomputer/MoA-1": mine}).model("togethercomputer/MoA-1") is mine


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UnknownModelError, match=r"^Model 'gpt-9' is unknown; choose from moa-1, default, .*, local\.$"):
        Served().model("gpt-9")


def test_what_can_not_be_built_here_says_why():
    with pytest.raises(UnavailableModelError, match=r"^Model 'bot' can't be served here: .* set TOGETHER_API_KEY"):
        Served().model("bot")


def test_variants_are_built_once_and_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr(module, "_MAX_VARIANTS", 2)
    served = Served({"mine": mixture()})
    first = served.variant("mine", {"rounds": 2, "grace": 1.0})
    assert first.rounds == 2
    assert served.variant("mine", {"grace": 1.0, "rounds": 2}) is first
    served.variant("mine", {"rounds": 3})
    served.variant("mine", {"rounds": 4})
    assert served.variant("mine", {"rounds": 2, "grace": 1.0}) is not first


def test_options_that_do_not_fit_together_are_an_error():
    with pytest.raises(ValueError, match="layers spells out every layer"):
        Served({"mine": mixture()}).variant("mine", {"layers": [["a"]], "rounds": 2})


def test_a_variant_leaves_the_mixture_as_it_is():
    mine = mixture()
    variant = Served({"mine": mine}).variant("mine", {"timeout": 5.0})
    assert isinstance(variant, ChatMoA)
    assert (variant.timeout, mine.timeout) == (5, 120)
