"""From a string to the model of each provider, with the packages themselves and without a network."""

import importlib.util

import pytest

from langchain_moa._models.factory import build_model

# provider: (package, key, timeout 12.5 s, max_tokens, retries 4, streamed usage as its class calls them)
PROVIDERS = {
    "openai": ("langchain_openai", "OPENAI_API_KEY", {"request_timeout": 12.5, "max_tokens": 33, "max_retries": 4}),
    "azure_openai": (
        "langchain_openai",
        "AZURE_OPENAI_API_KEY",
        {"request_timeout": 12.5, "max_tokens": 33, "max_retries": 4},
    ),
    "anthropic": (
        "langchain_anthropic",
        "ANTHROPIC_API_KEY",
        {"default_request_timeout": 12.5, "max_tokens": 33, "max_retries": 4},
    ),
    "bedrock_converse": ("langchain_aws", None, {"timeout": 13, "max_tokens": 33, "max_retries": 4}),
    "deepseek": (
        "langchain_deepseek",
        "DEEPSEEK_API_KEY",
        {"request_timeout": 12.5, "max_tokens": 33, "max_retries": 4, "stream_usage": True},
    ),
    "fireworks": (
        "langchain_fireworks",
        "FIREWORKS_API_KEY",
        {"request_timeout": 12.5, "max_tokens": 33, "max_retries": 4},
    ),
    "google_genai": (
        "langchain_google_genai",
        "GOOGLE_API_KEY",
        {"timeout": 12.5, "max_output_tokens": 33, "max_retries": 5},
    ),
    "groq": ("langchain_groq", "GROQ_API_KEY", {"request_timeout": 12.5, "max_tokens": 33, "max_retries": 4}),
    "mistralai": ("langchain_mistralai", "MISTRAL_API_KEY", {"timeout": 13, "max_tokens": 33, "max_retries": 5}),
    "ollama": ("langchain_ollama", None, {"client_kwargs": {"timeout": 12.5}, "num_predict": 33}),
    "openrouter": (
        "langchain_openrouter",
        "OPENROUTER_API_KEY",
        {"request_timeout": 12500, "max_tokens": 33, "max_retries": 4},
    ),
    "xai": (
        "langchain_xai",
        "XAI_API_KEY",
        {"request_timeout": 12.5, "max_tokens": 33, "max_retries": 4, "stream_usage": True},
    ),
}
OPTIONS = {"temperature": 0.25, "max_tokens": 33, "timeout": 12.5}


@pytest.fixture(params=PROVIDERS)
def provider(request, monkeypatch):
    package, key, _ = PROVIDERS[request.param]
    if not importlib.util.find_spec(package):
        pytest.skip(f"{package} is not installed")
    for _, name, _ in PROVIDERS.values():
        if name:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv(key, "dummy-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://azure.invalid")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "us-east-1")
    return request.param


@pytest.mark.filterwarnings("ignore")
def test_the_options_of_a_string_arrive_as_the_class_calls_them(provider):
    expected = PROVIDERS[provider][2]
    retries = {"max_retries": 4} if "max_retries" in expected else {}
    model = build_model(f"{provider}:lab/m", **OPTIONS, **retries)
    assert {name: getattr(model, name) for name in expected} == expected
    assert model.temperature == 0.25
    assert getattr(model, "stream_usage", True) is True
    assert getattr(model, "stream_chunk_timeout", None) is None


@pytest.mark.filterwarnings("ignore")
def test_without_retries_named_a_request_is_tried_three_times(provider):
    model = build_model(f"{provider}:lab/m", **OPTIONS)
    expected = PROVIDERS[provider][2]
    if "max_retries" in expected:
        assert model.max_retries == expected["max_retries"] - 2


def test_a_missing_key_is_named(provider, monkeypatch):
    key = PROVIDERS[provider][1]
    if not key:
        pytest.skip("needs none, or finds its credentials in another way")
    monkeypatch.delenv(key)
    with pytest.raises(ValueError, match=key):
        build_model(f"{provider}:lab/m", **OPTIONS)


@pytest.mark.parametrize("option", ["api_key", "base_url"])
def test_a_key_and_an_address_are_for_together_alone(provider, option):
    with pytest.raises(ValueError, match=f"{option} is for models on Together, and '{provider}:lab/m' is none"):
        build_model(f"{provider}:lab/m", **OPTIONS, **{option: "http://given"})


@pytest.mark.parametrize(
    ("provider", "option"),
    [("ollama", "max_retries"), ("ollama", "model_kwargs"), ("bedrock_converse", "model_kwargs")],
)
def test_an_option_that_a_provider_cannot_take_is_named(provider, option):
    pytest.importorskip(PROVIDERS[provider][0])
    with pytest.raises(ValueError, match=f"'{provider}:m' can't take {option}"):
        build_model(f"{provider}:m", **OPTIONS, **{option: {"max_retries": 3, "model_kwargs": {"a": 1}}[option]})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpt-4o", "write 'provider:model', such as 'openai:gpt-4o', or the id of a model on Together"),
        ("openai:", "must name a provider and a model"),
        ("opnai:gpt-4o", "Did you mean 'openai:gpt-4o'?"),
        ("mistral:m", "Did you mean 'mistralai:m'?"),
        ("nonsense:m", "Provider 'nonsense' of model 'nonsense:m' is unknown. Known are together"),
    ],
)
def test_a_name_that_means_nothing_says_what_to_write(spec, message):
    with pytest.raises(ValueError) as error:  # the text is the point
        build_model(spec, **OPTIONS)
    assert message in str(error.value)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "dummy-key")
    monkeypatch.setitem(__import__("sys").modules, "langchain_groq", None)
    with pytest.raises(ImportError, match="pip install langchain-groq"):
        build_model("groq:m", **OPTIONS)
