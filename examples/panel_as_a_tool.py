"""An agent that asks a panel when it wants to, at most twice per message of the user.

Needs OPENAI_API_KEY, TOGETHER_API_KEY and `pip install "langchain-moa[agents]"`.
"""

from langchain.agents import create_agent

from langchain_moa.middleware import MoAMiddleware

panel = MoAMiddleware(
    proposers=["Qwen/Qwen3.7-Max", "google/gemma-4-31B-it"],
    when="tool",
    max_uses=2,
    prompt="fenced",
)
agent = create_agent(
    "openai:gpt-5",
    system_prompt="Ask the panel before you commit to an answer that is hard to check.",
    middleware=[panel],
)
state = agent.invoke({"messages": "A table is only appended to and read by time range. Which index should it have?"})
for message in state["messages"]:
    message.pretty_print()
print("The panel used", state["moa_usage"])
