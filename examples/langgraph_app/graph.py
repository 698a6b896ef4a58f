"""The graph that the server serves, built once per process; the server adds its checkpointer."""

import os

from langchain_moa import create_moa_graph

graph = create_moa_graph(model="default" if os.environ.get("TOGETHER_API_KEY") else "local").compile(name="moa")
