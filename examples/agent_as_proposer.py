"""An agent with a tool of its own as one of the proposers. Needs TOGETHER_API_KEY and `pip install langchain`.

The aggregator does not know of the tool: it sees what the agent found out.
"""

from langchain.agents import create_agent
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA, Proposer


def population(city: str) -> str:
    """Return how many people live in a city."""
    return {"Oslo": "724,290", "Bergen": "294,029"}.get(city, "unknown")


def ask(messages: list[BaseMessage]) -> dict[str, list[BaseMessage]]:
    """Put a conversation into the form that an agent takes."""
    return {"messages": messages}


agent = create_agent("together:Qwen/Qwen3.7-Max", tools=[population])
researcher = RunnableLambda(ask) | agent | RunnableLambda(lambda state: state["messages"][-1])

model = ChatMoA(
    proposers=[Proposer(model=researcher, name="researcher"), "google/gemma-4-31B-it"],
    aggregator="Qwen/Qwen3.7-Max",
    include_references=True,
)
answer = model.invoke("How many times as many people as Bergen does Oslo have?")
for call in answer.response_metadata["moa"]["layers"][0]:
    print(f"{call['proposer']}: {call.get('text') or call['error']}")
print(f"aggregator: {answer.text}")
