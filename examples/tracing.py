"""One LangSmith trace of a chain with a mixture in it.

Needs TOGETHER_API_KEY, LANGSMITH_API_KEY and LANGSMITH_TRACING=true.

In LangSmith, filter by the tags `moa:proposer` and `moa:aggregator`, or by the metadata `moa_layer` and `moa_proposer`.
"""

from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.langchain import wait_for_all_tracers

from langchain_moa import ChatMoA

chain = ChatPromptTemplate.from_template("Explain {topic} to a child.") | ChatMoA()
config = {"run_name": "explain", "tags": ["example"], "metadata": {"user": "alice"}}
print(chain.invoke({"topic": "tides"}, config).text)
wait_for_all_tracers()
