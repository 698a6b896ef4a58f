"""Ask the default line-up, stream the answer, and see what it took. Needs TOGETHER_API_KEY."""

from langchain_moa import ChatMoA

model = ChatMoA()
answer = None
for chunk in model.stream("Which is larger, 9.11 or 9.9, and why?"):
    print(chunk.text, end="", flush=True)
    answer = chunk if answer is None else answer + chunk
print()

for call in answer.response_metadata["moa"]["layers"][0]:
    print(f"{call['proposer']:40} {call['status']:10} {call['seconds']:6.1f} s")
print(answer.usage_metadata)
