import sys

import pytest

from langchain_moa.evals.report.prices import load_prices
from tests.sample_evaluation import usage


@pytest.fixture
def write(tmp_path):
    def write_prices(text):
        path = tmp_path / "prices.json"
        path.write_text(text)
        return str(path)

    return write_prices


def test_tokens_cost_what_the_file_says_for_a_million(write):
    prices = load_prices(write('{"m": {"input": 2, "output": 8}}'))
    assert prices.cost("m", usage(500_000, 250_000)) == 3.0
    assert prices.source == "prices.json"


def test_an_unknown_model_has_no_price_rather_than_none_to_pay(write):
    assert load_prices(write('{"m": {"input": 2, "output": 8}}')).cost("other", usage(1, 1)) is None


def test_a_free_model_costs_nothing(write):
    assert load_prices(write('{"m": {"input": 0, "output": 0}}')).cost("m", usage(10, 10)) == 0


@pytest.mark.parametrize(("cached", "dollars"), [("", 2.0), (', "cached": 0.5', 0.8)])
def test_cached_tokens_have_a_price_of_their_own_if_the_file_names_one(write, cached, dollars):
    prices = load_prices(write(f'{{"m": {{"input": 2, "output": 8{cached}}}}}'))
    used = {**usage(1_000_000, 0), "input_token_details": {"cache_read": 800_000}}
    assert prices.cost("m", used) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not list"),
        ('{"m": 3}', "'m' is 3"),
        ('{"m": {"input": 1}}', "'m'"),
        ('{"m": {"input": 1, "output": -1}}', "'m'"),
        ('{"m": {"input": 1, "output": "2"}}', "'m'"),
        ('{"m": {"input": true, "output": 2}}', "'m'"),
        ('{"m": {"input": NaN, "output": 2}}', "'m'"),
        ('{"m": {"input": 1, "output": 2, "ouput": 3}}', "'m'"),
    ],
)
def test_a_malformed_file_is_refused_by_name(write, text, message):
    with pytest.raises(ValueError, match=rf"prices\.json: .*{message}"):
        load_prices(write(text))


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_prices(str(tmp_path / "none.json"))


def test_without_the_package_its_prices_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ImportError, match="pip install genai-prices"):
        load_prices("genai-prices")


def test_the_package_knows_common_models_and_togethers():
    pytest.importorskip("genai_prices", reason="the optional package genai-prices is not installed")
    prices = load_prices("genai-prices")
    # Source: openai.com/api/pricing, gpt-4o-2024-05-13: 5 and 15 USD for a million tokens.
    assert prices.cost("gpt-4o-2024-05-13", usage(1_000_000, 1_000_000)) == pytest.approx(20)
    assert prices.cost("meta-llama/Llama-3.3-70B-Instruct-Turbo", usage(1_000_000, 1_000_000)) > 0
    assert prices.cost("no-such-model", usage(1, 1)) is None
    assert prices.source.startswith("genai-prices 0.")
