"""An agent of Anthropic's model, with its prompt caching, and a panel that advises once per message of the user.

Needs ANTHROPIC_API_KEY, TOGETHER_API_KEY and `pip install "langchain-moa[agents]" langchain-anthropic`.
"""

from langchain.agents import create_agent
from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware

from langchain_moa.gates import unless_small_talk
from langchain_moa.middleware import MoAMiddleware


def weather(city: str) -> str:
    """Return the weather in a city."""
    return {"Oslo": "rain", "Rome": "sun"}.get(city, "unknown")


def packing_list(weather: str) -> str:
    """Return what to pack for some weather."""
    return {"rain": "an umbrella", "sun": "a hat"}.get(weather, "a bit of everything")


panel = MoAMiddleware(
    proposers=["Qwen/Qwen3.7-Max", "google/gemma-4-31B-it", "zai-org/GLM-5.3"],
    when=unless_small_talk,
    quorum=2,
    grace=5,
)
agent = create_agent(
    "anthropic:claude-sonnet-4-6",
    tools=[weather, packing_list],
    middleware=[AnthropicPromptCachingMiddleware(), panel],
)
state = agent.invoke({"messages": "What do I pack for Oslo?"})
for message in state["messages"]:
    message.pretty_print()
print("The panel used", state["moa_usage"])
