r"""Five samples of one model vote on a sum. Needs TOGETHER_API_KEY.

A vote is what the answer key reads in a proposal; without a key, what stands in `\boxed{}`, else an option letter, else
a number. Asking stops as soon as the leader can't be overtaken, and no aggregator is asked unless there is a tie.
"""

from langchain_moa import ChatMoA, Proposer
from langchain_moa.answer_keys import number

model = ChatMoA(
    proposers=[Proposer(model="Qwen/Qwen3.7-Max", samples=5, temperature=1.0)],
    aggregator="Qwen/Qwen3.7-Max",
    aggregation="vote",
    answer_key=number,
)
answer = model.invoke("A bat and a ball cost 1.10 together, the bat 1 more than the ball. What does the ball cost?")
print(answer.text)

account = answer.response_metadata["moa"]
print(account["aggregation"], account["vote"], [call["status"] for call in account["layers"][0]])
