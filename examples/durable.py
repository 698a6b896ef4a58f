"""A graph that goes on where it was killed. Needs TOGETHER_API_KEY and `pip install langgraph-checkpoint-sqlite`.

Kill it while it works, and run it again: nobody who has answered is asked a second time.
"""

from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_moa import create_moa_graph

thread = {"configurable": {"thread_id": "1"}}
question = {"messages": "Which is larger, 9.11 or 9.9, and why?"}

with SqliteSaver.from_conn_string("durable.sqlite") as saver:
    graph = create_moa_graph().compile(checkpointer=saver)
    unfinished = graph.get_state(thread).next
    print("Goes on with", ", ".join(unfinished) or "a new question")
    for update in graph.stream(None if unfinished else question, thread, stream_mode="updates"):
        was_done = update.pop("__metadata__", {}).get("cached")
        print(*update, "had answered" if was_done else "has answered", flush=True)
    print(graph.get_state(thread).values["messages"][-1].text)
