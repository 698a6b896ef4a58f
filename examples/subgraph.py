"""The mixture's graph as a node of another graph, with a database that survives a crash. Needs TOGETHER_API_KEY.

Also needs `pip install langgraph-checkpoint-sqlite`.
"""

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import create_moa_graph


def shorten(state: MessagesState) -> MessagesState:
    """Keep the last question only."""
    return {"messages": state["messages"][-1:]}


builder = StateGraph(MessagesState)
builder.add_node("shorten", shorten)
builder.add_node("moa", create_moa_graph().compile())
builder.add_edge(START, "shorten")
builder.add_edge("shorten", "moa")

with SqliteSaver.from_conn_string(":memory:") as saver:
    graph = builder.compile(checkpointer=saver)
    thread = {"configurable": {"thread_id": "1"}}
    for node, update in graph.stream({"messages": "What is a monad?"}, thread, stream_mode="updates", subgraphs=True):
        print(node, *update)
    print(graph.get_state(thread).values["messages"][-1].text)
