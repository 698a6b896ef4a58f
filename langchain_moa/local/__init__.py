"""The embedded default model: SmolLM2-135M-Instruct in this process, through llama.cpp.

`xllamacpp` (extra `local`) brings llama.cpp's OpenAI-compatible server; `ChatOpenAI` talks to it over loopback, so that
HTTP, streaming and token counts are real. The model is for trying things out; its answers are poor.
"""

from langchain_moa.local.chat_local import ChatLocal
from langchain_moa.local.weights import download_weights, find_weights

__all__ = ["ChatLocal", "download_weights", "find_weights"]
