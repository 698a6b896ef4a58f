"""A vote that stops when it is clear, and that easy questions never reach. Needs TOGETHER_API_KEY.

A cheap model says first whether the question is easy; then the aggregator answers alone. Else one model is sampled five
times, and only if it does not agree with itself, the next one is. A lead with a probability of 0.95 closes the vote.
"""

from langchain_moa import ChatMoA, Proposer
from langchain_moa.gates import unless_easy

model = ChatMoA(
    proposers=[
        Proposer(model="google/gemma-4-31B-it", samples=5, temperature=1.0),
        Proposer(model="Qwen/Qwen3.7-Max", samples=5, temperature=1.0),
        Proposer(model="meta-llama/Llama-3.3-70B-Instruct-Turbo", samples=5, temperature=1.0),
    ],
    aggregator="Qwen/Qwen3.7-Max",
    aggregation="vote",
    wave=5,
    confidence=0.95,
    fan_out=unless_easy("google/gemma-4-31B-it"),
)
for question in ("What is 2 + 2?", "How many of the numbers from 1 to 1000 have an even sum of digits?"):
    answer = model.invoke(question)
    print(answer.text)
    account = answer.response_metadata["moa"]
    print(account["gate"], account.get("vote"), [call["status"] for call in account["layers"][0]])
