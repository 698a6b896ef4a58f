"""A cheap judge chooses the best of three proposals, by a criterion of ours. Needs TOGETHER_API_KEY.

Who judges and who writes are two jobs: in TrustedRouter's replays of DRACO (2026) a small model cost nothing as judge,
and half of the gain as writer. A judge favors the first place, so that it is asked twice, with the candidates in both
orders; when the verdicts differ, the aggregator writes the answer from all proposals.
"""

from langchain_moa import ChatMoA

model = ChatMoA(
    aggregation="select",
    judge="google/gemma-4-31B-it",
    criteria="The best answer is right, and short enough to be read out.",
    judge_samples=2,
)
answer = model.invoke("Why is the sky blue? Explain it to a child of six.")
print(answer.text)

account = answer.response_metadata["moa"]
for verdict in account["verdicts"]:
    print("shown:", ", ".join(verdict["order"]), "- best:", verdict["best"], "-", verdict["reason"])
print("selected:", account.get("selected", {}).get("proposer"), account["degraded"])
