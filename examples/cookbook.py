"""The steps of Together's notebook "Mixture of Agents: Under the Hood": the proposals, then the aggregated answer.

Together has retired some of these models: `moa doctor cookbook` says which. Needs TOGETHER_API_KEY.
"""

from langchain_moa import ChatMoA

# A problem of the MATH dataset, as the notebook asks it.
PROMPT = r"""Tim wants to invest some money in a bank which compounds quarterly
with an annual interest rate of $7\%$. To the nearest dollar, how much money should he
invest if he wants a total of $\$60,\!000$ at the end of $5$ years?"""

answer = ChatMoA(model="cookbook", include_references=True).invoke(PROMPT)

for proposal in answer.response_metadata["moa"]["layers"][0]:
    print(f"=== {proposal['model']} ({proposal['status']})")
    print(proposal.get("text") or proposal["error"])
print(f"=== the answer of {answer.response_metadata['moa']['aggregator']['model']}")
print(answer.text)
