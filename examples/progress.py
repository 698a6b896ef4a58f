"""Progress while the proposers work, from inside a LangGraph node. Needs TOGETHER_API_KEY."""

from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import ChatMoA

model = ChatMoA()


def ask(state: MessagesState) -> MessagesState:
    """Ask the mixture."""
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("ask", ask)
builder.add_edge(START, "ask")
graph = builder.compile()

for mode, item in graph.stream({"messages": "What is a monad?"}, stream_mode=["custom", "messages"]):
    if mode == "messages":
        print(item[0].text, end="", flush=True)
    elif item["event"] == "moa_proposer_end":
        print(f"{item['done']} of {item['total']}: {item['proposer']} {item['status']} in {item['seconds']} s")
print()
