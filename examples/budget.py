"""What an answer costs, and a budget for it. Needs TOGETHER_API_KEY, and `pip install "langchain-moa[prices]"`.

Before each layer but the first, and before the answer, the mixture estimates what that would cost from what the last
layer's calls did cost. What would pass the budget is left out.
"""

from langchain_moa import ChatMoA

OWN = {"google/gemma-4-31B-it": {"input": 0.20, "output": 0.50}}  # USD per million tokens, before all other prices

model = ChatMoA(rounds=3, prices=OWN, max_cost=0.02)
answer = model.invoke("What is a monad?")
print(answer.text)

account = answer.response_metadata["moa"]
for call in (*(call for layer in account["layers"] for call in layer), account["aggregator"]):
    if call and "cost" in call:
        print(f"{call['model']}: {call['cost']:.6f} USD")
print(account["cost"], account["degraded"])
