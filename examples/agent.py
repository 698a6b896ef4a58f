"""ChatMoA as the model of an agent with two tools. Needs TOGETHER_API_KEY and `pip install langchain`."""

from langchain.agents import create_agent

from langchain_moa import ChatMoA


def weather(city: str) -> str:
    """Return the weather in a city."""
    return {"Oslo": "rain", "Rome": "sun"}.get(city, "unknown")


def packing_list(weather: str) -> str:
    """Return what to pack for some weather."""
    return {"rain": "an umbrella", "sun": "a hat"}.get(weather, "a bit of everything")


agent = create_agent(ChatMoA(), tools=[weather, packing_list])
for step in agent.stream({"messages": "What do I pack for Oslo?"}, stream_mode="values"):
    step["messages"][-1].pretty_print()
