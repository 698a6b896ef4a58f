import sys

import pytest

from langchain_moa.lineups import LINEUPS
from langchain_moa.prices import find_prices, load_prices
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
    assert prices.cost("m", usage(500_000, 250_000)) == (3.0, 1.0, 2.0)
    assert prices.source == "prices.json"


def test_an_unknown_model_has_no_price_rather_than_none_to_pay(write):
    assert load_prices(write('{"m": {"input": 2, "output": 8}}')).cost("other", usage(1, 1)) is None


def test_a_free_model_costs_nothing(write):
    assert load_prices(write('{"m": {"input": 0, "output": 0}}')).cost("m", usage(10, 10)) == (0, 0, 0)


@pytest.mark.parametrize(("cached", "dollars"), [("", 2.0), (', "cached": 0.5', 0.8)])
def test_cached_tokens_have_a_price_of_their_own_if_the_file_names_one(write, cached, dollars):
    prices = load_prices(write(f'{{"m": {{"input": 2, "output": 8{cached}}}}}'))
    used = {**usage(1_000_000, 0), "input_token_details": {"cache_read": 800_000}}
    assert prices.cost("m", used).total == pytest.approx(dollars)


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
    with pytest.raises(ImportError, match=r"langchain-moa\[prices\]"):
        load_prices("genai-prices")


def test_the_package_knows_common_models_and_togethers():
    prices = load_prices("genai-prices")
    # Source: openai.com/api/pricing, gpt-4o-2024-05-13: 5 and 15 USD for a million tokens.
    assert prices.cost("gpt-4o-2024-05-13", usage(1_000_000, 1_000_000)) == pytest.approx((20, 5, 15))
    assert prices.cost("meta-llama/Llama-3.3-70B-Instruct-Turbo", usage(1_000_000, 1_000_000)).total > 0
    assert prices.cost("no-such-model", usage(1, 1)) is None
    assert prices.source.startswith("genai-prices 0.")


def test_a_model_has_the_price_of_whoever_serves_it():
    prices, used = load_prices("genai-prices"), usage(1_000_000, 0)
    assert prices.cost("openai/gpt-oss-120b", used) == prices.cost("openai/gpt-oss-120b", used, "together")
    assert prices.cost("openai/gpt-oss-120b", used, "groq") is not None
    assert prices.cost("openai/gpt-oss-120b", used, "openai") is None
    assert prices.cost("llama3.2", used, "ollama") is None


def test_tokens_that_were_written_to_a_cache_or_read_from_it_have_their_own_prices():
    # Source: anthropic.com/pricing, claude-haiku-4-5 in USD for a million tokens: input 1, output 5, writes 1.25 for
    # five minutes and 2 for an hour, reads 0.1.
    details = {"cache_read": 1_000, "cache_creation": 0, "ephemeral_5m_input_tokens": 2_000}
    details |= {"ephemeral_1h_input_tokens": 3_000}
    used = {**usage(10_000, 1_000), "input_token_details": details, "output_token_details": {"reasoning": None}}
    cost = load_prices("genai-prices").cost("claude-haiku-4-5", used, "anthropic")
    assert cost.input == pytest.approx((4_000 * 1 + 1_000 * 0.1 + 2_000 * 1.25 + 3_000 * 2) / 1e6)
    assert cost.output == pytest.approx(1_000 * 5 / 1e6)


def test_reasoning_is_a_part_of_the_output_and_not_paid_twice():
    prices = load_prices("genai-prices")
    thought = {**usage(0, 1_000), "output_token_details": {"reasoning": 900}}
    assert prices.cost("gpt-5", thought, "openai") == prices.cost("gpt-5", usage(0, 1_000), "openai")


def test_a_usage_that_contradicts_itself_has_no_cost():
    used = {**usage(10, 0), "input_token_details": {"cache_read": 11}}
    assert load_prices("genai-prices").cost("gpt-5", used, "openai") is None


def test_the_line_ups_of_today_have_prices():
    prices = load_prices("genai-prices")
    for name in ("default", "self-moa", "self-moa-seq", "local"):
        lineup = LINEUPS[name]
        for model in (lineup.aggregator, *(getattr(each, "model", each) for each in lineup.proposers)):
            assert prices.cost(model.removeprefix("local:"), usage(1, 1)) is not None


def test_a_table_comes_before_the_package_and_the_package_before_rows_of_our_own():
    used = usage(1_000_000, 0)
    prices = find_prices({"Qwen/Qwen3.7-Max": {"input": 7, "output": 7}, "lab/a": {"input": 1, "output": 1}})
    assert prices.cost("Qwen/Qwen3.7-Max", used) == (7, 7, 0)
    assert prices.cost("lab/a", used) == (1, 1, 0)
    assert prices.cost("google/gemma-4-31B-it", used) == pytest.approx((0.2, 0.2, 0))
    assert prices.cost("lab/b", used) is None


def test_without_a_table_and_without_the_package_there_are_no_prices(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert find_prices(None) is None
    assert find_prices({}).cost("gpt-4o", usage(1, 1)) is None
