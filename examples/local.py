"""No key and no network: three samples of a small model in this process, and a fourth call that aggregates them.

Needs the extra `local` and the weights: `moa download`.
"""

from langchain_moa import ChatMoA

model = ChatMoA(model="local", include_references=True)
answer = model.invoke("What is the capital of France?")
for call in answer.response_metadata["moa"]["layers"][0]:
    print(f"{call['proposer']}: {call['text']}")
print(f"aggregator: {answer.text}")
